"""Streams that survive: resumed, shared, cancelled, left, named by a key, bounded by a deadline (promises P1-P4)."""

import asyncio
import base64
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest

from app.engine import log_client
from demo.text import expected_content
from tests.defaults import CHAT_PARTITIONS
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.test_crash import GOES_ON, ended, own_uid, uid_of, until
from tests.e2e.test_two_workers import both_own, called_again
from tests.e2e.workers import Worker, get_json
from tests.services.kafka import KafkaBroker
from tests.unit.demo.helpers import Received, body_of, calls, hurry, streamed
from weir import topics
from weir.log.log import LogClient, Partition, Record
from weir.log.partitioner import partition_for
from weir.settings import load_settings

STREAMS = 40


@dataclass
class Read:
    """The events that one reader has received."""

    status: int = 0
    ids: list[str] = field(default_factory=list)
    chunks: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False

    @property
    def text(self) -> str:
        return "".join(c["choices"][0]["delta"].get("content") or "" for c in self.chunks if c["choices"])

    @property
    def finish_reasons(self) -> list[str]:
        return [
            c["choices"][0]["finish_reason"] for c in self.chunks if c["choices"] and c["choices"][0]["finish_reason"]
        ]


@asynccontextmanager
async def asked(worker: Worker, body: dict[str, Any], **headers: str) -> AsyncIterator[aiohttp.ClientResponse]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{worker.url}/v1/chat/completions", json={"stream": True, **body}, headers=headers) as response,
    ):
        yield response


async def read(response: aiohttp.ClientResponse, into: Read, *, events: int = 1 << 30) -> Read:
    """Read so many events, or all."""
    into.status = response.status
    async for raw in response.content:
        line = raw.decode().rstrip("\n")
        if line.startswith("id: "):
            into.ids.append(line.removeprefix("id: "))
        elif line == "data: [DONE]":
            into.done = True
        elif line.startswith("data: "):
            event = orjson.loads(line.removeprefix("data: "))
            (into.errors if "error" in event else into.chunks).append(event)
            if len(into.chunks) >= events:
                break
    return into


async def begun(worker: Worker, body: dict[str, Any], events: int) -> tuple[Read, str]:
    """Ask, read some events, and hang up; returns the events and the uid."""
    into = Read()
    async with asked(worker, body) as response:
        await read(response, into, events=events)
    return into, into.chunks[0]["id"].removeprefix("chatcmpl-")


async def resumed(worker: Worker, uid: str, after: str | None = None) -> Read:
    headers = {} if after is None else {"Last-Event-ID": after}
    url = f"{worker.url}/v1/chat/completions/chatcmpl-{uid}/stream"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as response:
        into = Read(status=response.status)
        if response.content_type != "text/event-stream":
            into.errors.append(await response.json() if response.content_length else {})
            return into
        return await read(response, into)


async def cancelled(worker: Worker, uid: str) -> str:
    url = f"{worker.url}/v1/chat/completions/chatcmpl-{uid}/cancel"
    async with aiohttp.ClientSession() as session, session.post(url) as response:
        told = await response.json()
        assert response.status == 200, told
        return str(told["status"])


@asynccontextmanager
async def log_of(worker: Worker) -> AsyncIterator[LogClient]:
    """A client for a worker's log, in this process while the worker runs."""
    log = log_client(load_settings({**worker.env, "WEIR_DATA_DIR": str(worker.folder / "data")}))
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


async def called(upstream: str) -> dict[str, int]:
    """How often the model was called, by prompt."""
    by_key: Any = (await calls(upstream))["by_key"]
    return dict(by_key)


# -- resume


async def test_a_stream_goes_on_after_any_of_its_events(broker: dict[str, str], make_worker: Start) -> None:
    worker = await make_worker(broker).start()
    body = body_of("demo:tokens=60,delay_ms=20")
    into, uid = await begun(worker, body, events=7)
    rest = await resumed(worker, uid, into.ids[-1])
    assert into.text + rest.text == expected_content(body)
    assert (rest.done, rest.finish_reasons) == (True, ["stop"])

    whole = await resumed(worker, uid)
    assert (whole.text, whole.done) == (expected_content(body), True)
    for place, event_id in enumerate(whole.ids[:-1]):
        part = await resumed(worker, uid, event_id)
        assert part.ids == whole.ids[place + 1 :]
        assert part.text == "".join(
            c["choices"][0]["delta"].get("content") or "" for c in whole.chunks[place + 1 :] if c["choices"]
        )


async def test_a_client_that_has_the_end_gets_no_content(broker: dict[str, str], make_worker: Start) -> None:
    worker = await make_worker(broker).start()
    into, uid = await begun(worker, body_of("demo:tokens=20"), events=1 << 30)
    assert into.done
    assert (await resumed(worker, uid, into.ids[-1])).status == 204


async def test_an_event_of_another_stream_is_refused(broker: dict[str, str], make_worker: Start) -> None:
    worker = await make_worker(broker).start()
    one, uid = await begun(worker, body_of("demo:tokens=5", uid="a"), events=1 << 30)
    _, other = await begun(worker, body_of("demo:tokens=5", uid="b"), events=1 << 30)
    for uid_, after in ((other, one.ids[0]), (uid, "9-0-0"), (uid, "nonsense")):
        refused = await resumed(worker, uid_, after)
        assert refused.status == 400, (uid_, after)
        assert refused.errors[0]["error"]["param"] == "Last-Event-ID"
    behind = await resumed(worker, uid, f"{one.ids[0][0]}-{10**12}-0")  # of an earlier log
    assert (behind.status, behind.errors[0]["error"]["code"]) == (410, "gone")
    assert (await resumed(worker, "unknown")).status == 404


async def test_several_readers_of_one_stream_get_the_same(broker: dict[str, str], make_worker: Start) -> None:
    worker = await make_worker(broker).start()
    body = body_of("demo:tokens=80,delay_ms=20")
    into, uid = await begun(worker, body, events=10)
    readers = await asyncio.gather(*(resumed(worker, uid, after) for after in (None, *into.ids, None)))
    assert {reader.text for reader in (readers[0], readers[-1])} == {expected_content(body)}
    for place, reader in enumerate(readers[1:-1]):
        assert reader.text == expected_content(body)[len(text_before(into, place + 1)) :]


def text_before(into: Read, events: int) -> str:
    return Read(chunks=into.chunks[:events]).text


async def test_a_stream_is_resumed_from_the_other_worker_while_its_own_is_killed(
    e2e_kafka: KafkaBroker, make_worker: Start, upstream: str
) -> None:
    env = kafka_env(e2e_kafka)
    first, second = (make_worker(env, OPENAI_CONTINUATION="prefill") for _ in range(2))
    first.launch()
    second.launch()
    await asyncio.gather(first.up(), second.up())
    await both_own(first, second)
    bodies = [body_of(f"demo:{GOES_ON}", f"kill {n}", **own_uid(n, "resume")) for n in range(STREAMS)]
    begun_ = await asyncio.gather(*(begun(first, body, events=5) for body in bodies))
    live = [asyncio.create_task(resumed(second, uid, into.ids[-1])) for into, uid in begun_]
    await asyncio.sleep(0.5)
    first.kill()
    await called_again(upstream, "kill", STREAMS)
    await hurry(upstream)
    for body, (into, _), rest in zip(bodies, begun_, await asyncio.gather(*live), strict=True):
        assert rest.errors == []
        assert into.text + rest.text == expected_content(body)  # no token twice, none missing
    by_key = await called(upstream)
    repeated = [by_key[f"kill {n}"] for n in range(STREAMS)]
    assert set(repeated) == {1, 2}  # answers of the dead worker were continued


async def test_a_live_stream_goes_on_when_its_worker_stops_before_the_end(
    e2e_kafka: KafkaBroker, make_worker: Start, upstream: str
) -> None:
    """A handoff: the next worker does not wait for the lease."""
    env = {**kafka_env(e2e_kafka), "LEASE_S": "600", "DRAIN_S": "0.5", "OPENAI_CONTINUATION": "prefill"}
    first, second = make_worker(env), make_worker(env)
    first.launch()
    second.launch()
    await asyncio.gather(first.up(), second.up())
    await both_own(first, second)
    bodies = [body_of(f"demo:{GOES_ON}", f"stop {n}", **own_uid(n, "stop")) for n in range(STREAMS)]
    received = [Received() for _ in bodies]
    streams = [
        asyncio.create_task(streamed(second.client(), body, into)) for body, into in zip(bodies, received, strict=True)
    ]
    await until(lambda: all(into.chunks for into in received))
    assert await first.stop() == 0
    await hurry(upstream)
    async with asyncio.timeout(120):
        await asyncio.gather(*streams)
    for body, into in zip(bodies, received, strict=True):
        assert "".join(into.deltas("content")) == expected_content(body)
    by_key = await called(upstream)
    assert {by_key[f"stop {n}"] for n in range(STREAMS)} == {1, 2}
    row = await ended(second, uid_of(received[0]))
    assert row["state"] == "completed"


async def test_a_paused_worker_cannot_spoil_what_was_taken_over(
    e2e_kafka: KafkaBroker, make_worker: Start, upstream: str
) -> None:
    """SIGSTOP for longer than lease and session, in mid-answer; then it goes on where it was, with frames to write."""
    env = {**kafka_env(e2e_kafka), "OPENAI_CONTINUATION": "prefill"}
    first, second = make_worker(env), make_worker(env)
    first.launch()
    second.launch()
    await asyncio.gather(first.up(), second.up())
    await both_own(first, second)
    bodies = [body_of(f"demo:{GOES_ON}", f"pause {n}", **own_uid(n, "pause")) for n in range(STREAMS)]
    received = [Received() for _ in bodies]
    streams = [
        asyncio.create_task(streamed(second.client(), body, into)) for body, into in zip(bodies, received, strict=True)
    ]
    await until(lambda: all(into.chunks for into in received))
    assert first.process is not None
    first.process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(6)
    await called_again(upstream, "pause", STREAMS)
    first.process.send_signal(signal.SIGCONT)
    await hurry(upstream)
    async with asyncio.timeout(120):
        await asyncio.gather(*streams)
    for body, into in zip(bodies, received, strict=True):
        assert "".join(into.deltas("content")) == expected_content(body)
        whole = await resumed(second, uid_of(into))
        assert whole.text == expected_content(body)
    by_key = await called(upstream)
    assert {by_key[f"pause {n}"] for n in range(STREAMS)} == {1, 2}
    await first.up()  # and it serves again


# -- cancel


async def test_a_cancelled_answer_ends_at_the_same_token_for_all_readers(
    broker: dict[str, str], make_worker: Start, upstream: str
) -> None:
    worker = await make_worker(broker).start()
    body = body_of("demo:tokens=5000,delay_ms=20")
    _, uid = await begun(worker, body, events=10)
    readers = [asyncio.create_task(resumed(worker, uid)) for _ in range(3)]
    await asyncio.sleep(0.3)
    assert await cancelled(worker, uid) == "cancelled"
    while (counted := await calls(upstream))["open"]:
        await asyncio.sleep(0.01)
    assert counted["closed_early"] == 1
    texts = [(one.text, one.finish_reasons, one.done, one.errors) for one in await asyncio.gather(*readers)]
    assert texts == [texts[0]] * 3
    assert texts[0][1:] == (["cancelled"], True, [])
    stored: Any = await get_json(f"{worker.url}/v1/chat/completions/{uid}")
    assert stored["choices"][0]["message"]["content"] == texts[0][0]
    assert expected_content(body).startswith(texts[0][0]) != (texts[0][0] == "")
    row = await ended(worker, uid)
    assert row["state"] == "cancelled"
    assert await cancelled(worker, uid) == "cancelled"  # a second cancel has the same result


async def test_a_request_is_cancelled_before_it_begins(
    broker: dict[str, str], make_worker: Start, upstream: str
) -> None:
    worker = await make_worker(broker, MAX_IN_FLIGHT="1").start()
    _, busy = await begun(worker, body_of("demo:tokens=5000,delay_ms=20", "busy"), events=1)
    waiting = asyncio.create_task(begun(worker, body_of("demo", "waiting", uid="waiting"), events=1 << 30))
    await asyncio.sleep(0.3)
    assert await cancelled(worker, "waiting") == "cancelled"
    async with asyncio.timeout(60):
        into, _ = await waiting
    assert (into.text, into.finish_reasons, into.done) == ("", ["cancelled"], True)
    assert await cancelled(worker, busy) == "cancelled"
    assert (await ended(worker, "waiting"))["state"] == "cancelled"
    assert "waiting" not in await called(upstream)


async def test_a_request_is_cancelled_though_a_later_submission_is_all_that_is_known_of_it(
    broker: dict[str, str], make_worker: Start, upstream: str
) -> None:
    """A worker that dies may take its event of the first submission with it; the client has sent it again meanwhile."""
    worker = await make_worker(broker, MAX_IN_FLIGHT="1").start()
    _, busy = await begun(worker, body_of("demo:tokens=5000,delay_ms=20", "busy"), events=1)
    uid = f"twice-{time.time_ns()}"
    body = body_of("demo", uid)
    await produced(worker, uid, body)  # no door reports it
    again = asyncio.create_task(begun(worker, {**body, "uid": uid}, events=1 << 30))
    async with asyncio.timeout(60):
        assert await cancelled(worker, uid) == "cancelled"
        into, _ = await again
    assert (into.text, into.finish_reasons, into.done) == ("", ["cancelled"], True)
    assert await cancelled(worker, busy) == "cancelled"
    assert (await ended(worker, uid))["state"] == "cancelled"
    assert uid not in await called(upstream)
    whole = await resumed(worker, uid)
    assert (whole.text, whole.finish_reasons, whole.done) == ("", ["cancelled"], True)


async def test_a_stream_is_read_from_its_start_though_a_later_submission_is_all_that_is_known_of_it(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker = await make_worker(broker, MAX_IN_FLIGHT="1").start()
    _, busy = await begun(worker, body_of("demo:tokens=5000,delay_ms=20", "busy"), events=1)
    uid = f"twice-{time.time_ns()}"
    body = body_of("demo:tokens=30", uid)
    await produced(worker, uid, body)
    again = asyncio.create_task(begun(worker, {**body, "uid": uid}, events=1 << 30))
    reading = asyncio.create_task(resumed(worker, uid))
    await asyncio.sleep(0.5)
    assert await cancelled(worker, busy) == "cancelled"
    async with asyncio.timeout(60):
        assert (await reading).text == (await again)[0].text == expected_content(body)


async def produced(worker: Worker, uid: str, body: dict[str, Any]) -> None:
    """A request that comes by the Kafka door."""
    request = {"event_id": f"evt-{uid}", "event_type": "chat.requested", "tenant_id": "default"}
    async with log_of(worker) as log:
        partition = partition_for(uid.encode(), CHAT_PARTITIONS)
        value = orjson.dumps({**request, "data": {"uid": uid, "body": body}})
        await log.append(topics.CHAT_REQUESTS.name, partition, uid.encode(), value)


async def test_what_has_ended_cannot_be_cancelled(broker: dict[str, str], make_worker: Start) -> None:
    worker = await make_worker(broker).start()
    _, uid = await begun(worker, body_of("demo:tokens=5"), events=1 << 30)
    await ended(worker, uid)
    assert await cancelled(worker, uid) == "completed"
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{worker.url}/v1/chat/completions/unknown/cancel") as response,
    ):
        assert response.status == 404


async def test_a_request_without_a_name_is_cancelled_when_its_client_has_left(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker = await make_worker(broker, DISCONNECT_GRACE_S="0.5").start()
    slow = "demo:tokens=300,delay_ms=20"
    _, gone = await begun(worker, body_of(slow, "gone", on_disconnect="cancel"), events=3)
    _, stays = await begun(worker, body_of(slow, "stays", on_disconnect="continue"), events=3)
    _, named = await begun(worker, body_of(slow, "named", uid="named"), events=3)
    _, nameless = await begun(worker, body_of(slow, "nameless"), events=3)
    into, back = await begun(worker, body_of(slow, "back", on_disconnect="cancel"), events=3)
    rest = asyncio.create_task(resumed(worker, back, into.ids[-1]))
    for uid in (gone, nameless):
        assert (await ended(worker, uid))["state"] == "cancelled"
    assert into.text + (await rest).text == expected_content(body_of(slow, "back"))
    for uid in (stays, named):
        assert (await ended(worker, uid))["state"] == "completed"
    assert (await ended(worker, back))["state"] == "completed"


async def test_a_client_that_leaves_before_its_request_begins_cancels_it(
    broker: dict[str, str], make_worker: Start, upstream: str
) -> None:
    worker = await make_worker(broker, DISCONNECT_GRACE_S="0.3", MAX_IN_FLIGHT="1").start()
    _, busy = await begun(worker, body_of("demo:tokens=150,delay_ms=20", "busy", uid="busy"), events=1)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.3)) as session:
        username = f"impatient-{time.time_ns()}"
        impatient = body_of("demo", "impatient", on_disconnect="cancel", username=username)
        with pytest.raises(TimeoutError):
            await session.post(f"{worker.url}/v1/chat/completions", json=impatient)
    listed: Any = await get_json(f"{worker.url}/requests")
    (gone,) = [row["uid"] for row in listed["requests"] if row["username"] == username]
    assert (await ended(worker, gone))["state"] == "cancelled"
    assert (await ended(worker, busy))["state"] == "completed"
    assert "impatient" not in await called(upstream)


async def test_a_reader_that_comes_back_and_leaves_again_is_gone(broker: dict[str, str], make_worker: Start) -> None:
    worker = await make_worker(broker, DISCONNECT_GRACE_S="0.5", ON_DISCONNECT="cancel").start()
    into, uid = await begun(worker, body_of("demo:tokens=500,delay_ms=20"), events=3)
    url = f"{worker.url}/v1/chat/completions/{uid}/stream?after={into.ids[-1]}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        await read(response, Read(), events=40)  # longer than the grace
    assert (await ended(worker, uid))["state"] == "cancelled"


# -- names and bounds


async def test_an_idempotency_key_is_answered_once_for_each_tenant(
    broker: dict[str, str], make_worker: Start, upstream: str
) -> None:
    worker = await make_worker(broker).start()
    body = body_of("demo:tokens=20", "keyed")
    reads = []
    for tenant in ("acme", "acme", "other"):
        async with asked(worker, body, **{"Idempotency-Key": "k-1", "X-Tenant-ID": tenant}) as response:
            reads.append(await read(response, Read()))
    assert [one.text for one in reads] == [expected_content(body)] * 3
    assert reads[0].chunks[0]["id"] == reads[1].chunks[0]["id"] != reads[2].chunks[0]["id"]
    assert (await called(upstream))["keyed"] == 2
    other = body_of("demo:tokens=20", "another question")
    async with asked(worker, other, **{"Idempotency-Key": "k-1", "X-Tenant-ID": "acme"}) as response:
        assert response.status == 422
        assert (await response.json())["error"]["code"] == "idempotency_key_reused"
    async with asked(worker, {**body, "uid": "u"}, **{"Idempotency-Key": "k-1"}) as response:
        assert response.status == 400


async def test_a_uid_belongs_to_its_tenant(broker: dict[str, str], make_worker: Start) -> None:
    worker = await make_worker(broker).start()
    body = body_of("demo:tokens=5", uid="mine")
    async with asked(worker, body, **{"X-Tenant-ID": "acme"}) as response:
        await read(response, Read())
    async with asked(worker, body, **{"X-Tenant-ID": "other"}) as response:
        assert response.status == 409


async def test_a_request_past_its_deadline_is_not_sent_to_the_model(
    broker: dict[str, str], make_worker: Start, upstream: str
) -> None:
    worker = await make_worker(broker, MAX_IN_FLIGHT="1").start()
    _, busy = await begun(worker, body_of("demo:tokens=75,delay_ms=20", "busy"), events=1)
    async with asked(worker, body_of("demo", "late", uid="late", deadline_s=0.3, stream=False)) as response:
        assert response.status == 504
        assert (await response.json())["error"]["code"] == "deadline_exceeded"
    assert (await ended(worker, "late"))["state"] == "expired"
    assert (await ended(worker, busy))["state"] == "completed"
    assert "late" not in await called(upstream)
    async with asked(worker, body_of("demo", deadline_s=-1)) as response:
        assert (await response.json())["error"]["param"] == "deadline_s"


# -- final failures


async def letters(worker: Worker) -> list[dict[str, Any]]:
    """The dead letters."""
    records = list[Record]()
    async with log_of(worker) as log:
        for partition in range(log.partitions(topics.CHAT_DEAD_LETTERS.name)):
            records += await log.read(Partition(topics.CHAT_DEAD_LETTERS.name, partition), 0)
    return [orjson.loads(record.value or b"{}")["data"] for record in records]


async def test_what_failed_for_good_is_among_the_dead_letters(broker: dict[str, str], make_worker: Start) -> None:
    worker = await make_worker(broker, UPSTREAM_RETRIES="0").start()
    uid = f"dead-{time.time_ns()}"
    body = body_of("demo-error", "broken", uid=uid)
    async with asked(worker, body) as response:
        assert response.status == 500
    await ended(worker, uid)
    (letter,) = [one for one in await letters(worker) if one.get("uid") == uid]
    assert (letter["topic"], letter["attempts"]) == ("chat-requests", 1)
    assert letter["reason"].startswith("failed: ")
    assert letter["error"]["status"] == 500
    assert letter["offset"] >= 0
    sent = orjson.loads(base64.b64decode(letter["value"]))["data"]
    assert (sent["uid"], sent["body"]["messages"]) == (uid, body["messages"])


async def test_what_did_not_fail_is_not(broker: dict[str, str], make_worker: Start) -> None:
    worker = await make_worker(broker).start()
    uid = f"alive-{time.time_ns()}"
    async with asked(worker, body_of("demo:tokens=5", uid=uid)) as response:
        await read(response, Read())
    await ended(worker, uid)
    assert [one for one in await letters(worker) if one.get("uid") == uid] == []
