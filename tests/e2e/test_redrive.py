"""The LLM was down for an hour: failed requests are sent again, each once, and are answered under their old names."""

import asyncio
import subprocess
from collections import Counter
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson
import pytest

from app.engine import log_client
from demo.model import serving
from demo.text import expected_content
from tests.e2e.amqp import Client, new_name, until_connected, values
from tests.e2e.commands import ended, killed, launched, ran, reported, run_of
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.workers import Worker, get_json
from tests.services.kafka import KafkaBroker
from tests.services.process import free_ports
from tests.unit.demo.helpers import body_of, calls
from weir.envelope import utc_iso
from weir.log.log import LogClient, Partition
from weir.log.partitioner import partition_for
from weir.settings import Settings
from weir.topics import AGENT_METRICS, AI_INSIGHTS, AI_LEARNING_SIGNALS, TOPICS

BY_HTTP, BY_RABBITMQ = 40, 20
MODEL = "demo:tokens=20"


class Outage:
    """An LLM that is down, until it is served at its address."""

    def __init__(self) -> None:
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.env = {"OPENAI_URL": self.url, "UPSTREAM_RETRIES": "0"}


async def asked(worker: Worker, body: Mapping[str, Any]) -> int:
    """The status of a request by HTTP."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{worker.url}/v1/chat/completions", json=body) as answer,
    ):
        await answer.read()
        return answer.status


async def row_of(worker: Worker, uid: str) -> dict[str, Any]:
    row: dict[str, Any] = await get_json(f"{worker.url}/requests/{uid}")
    return row


async def text_of(worker: Worker, uid: str) -> str:
    stored: Any = await get_json(f"{worker.url}/v1/chat/completions/{uid}")
    return str(stored["choices"][0]["message"]["content"])


class Log:
    """The log, read without the worker."""

    def __init__(self, worker: Worker) -> None:
        fields = {name.lower(): value for name, value in worker.env.items()}
        self._client = log_client(Settings(**{**fields, "weir_data_dir": worker.folder / "data"}))

    async def __aenter__(self) -> LogClient:
        await self._client.start()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.stop()


async def ends_of(worker: Worker) -> dict[str, list[int]]:
    """The ends of all topics, except those to which workers write by the clock."""
    async with Log(worker) as log:
        return {
            spec.name: [(await log.bounds(Partition(spec.name, n))).end for n in range(log.partitions(spec.name))]
            for spec in TOPICS
            if spec not in {AGENT_METRICS, AI_INSIGHTS, AI_LEARNING_SIGNALS}
        }


async def failed_letters(worker: Worker, uids: set[str]) -> list[dict[str, Any]]:
    """The letters about these uids, once there is one for each."""
    async with asyncio.timeout(60):
        while True:
            found = [one for one in await values(worker, "chat-dead-letters") if one["data"].get("uid") in uids]
            if {one["data"]["uid"] for one in found} == uids:
                return found
            await asyncio.sleep(0.2)


async def all_is_told(worker: Worker, uids: set[str]) -> None:
    """Wait until workers have published the ends of these requests, which they do last."""
    async with asyncio.timeout(60):
        while True:
            traces = await values(worker, "agent-trace-events")
            if {one["data"]["uid"] for one in traces if one["event_type"] == "request.failed"} >= uids:
                return
            await asyncio.sleep(0.2)


async def killed_in_the_middle(worker: Worker, run: "subprocess.Popen[str]", enough: int) -> str:
    """kill -9 when so many letters are sent; returns the run's id."""
    run_id = await run_of(run)
    async with asyncio.timeout(60):
        while sum("redriven" in one["data"] for one in await values(worker, "chat-requests")) < enough:
            await asyncio.sleep(0.05)
    killed(run)
    return run_id


@pytest.mark.rabbitmq
async def test_after_an_outage_all_is_answered_once_though_the_command_is_killed(
    broker: dict[str, str], make_worker: Start, rabbitmq_url: str
) -> None:
    outage, queue, since = Outage(), new_name("asked"), utc_iso()
    env = {**broker, **outage.env, "RABBITMQ_URL": rabbitmq_url, "RABBITMQ_QUEUE": queue}
    worker = await until_connected(make_worker(env))
    by_http = {new_name("http"): f"over http {n}" for n in range(BY_HTTP)}
    by_rabbitmq = {new_name("rmq"): f"over rabbitmq {n}" for n in range(BY_RABBITMQ)}
    bodies = {uid: body_of(MODEL, text, uid=uid, stream=True) for uid, text in by_rabbitmq.items()}
    bodies |= {uid: body_of(MODEL, text, uid=uid) for uid, text in by_http.items()}
    async with Client.connected(rabbitmq_url, queue) as client:
        for uid in by_rabbitmq:
            await client.send(bodies[uid], correlation_id=f"c-{uid}")
        assert set(await asyncio.gather(*(asked(worker, bodies[uid]) for uid in by_http))) == {502}
        for uid in by_rabbitmq:
            assert (await client.answer(f"response_{uid}")).check(uid).last["status"] == "failed"
        await failed_letters(worker, set(bodies))
        await all_is_told(worker, set(bodies))

        async with serving(port=outage.port):
            before = await ends_of(worker)
            looked = await reported(worker, "replay", "dead-letters", "--from", since, "--dry-run")
            assert (looked["letters"], len(looked["by"]), looked["sent"]) == (60, 1, 0)
            assert await ends_of(worker) == before

            run = launched(worker, "replay", "dead-letters", "--from", since, "--rate", "10")
            run_id = await killed_in_the_middle(worker, run, 25)
            sent = sum("redriven" in one["data"] for one in await values(worker, "chat-requests"))
            assert sent < len(bodies)
            done = await reported(worker, "replay", "dead-letters", "--resume", run_id)
            assert (done["sent"], done["requests"]["ends"]) == (60, {"completed": 60})
            assert done["rabbitmq"] == {"ordered": BY_RABBITMQ, "gone": 0}

            by_key: Any = (await calls(outage.url))["by_key"]
            assert by_key == dict.fromkeys([*by_http.values(), *by_rabbitmq.values()], 1)
            for uid, body in bodies.items():
                assert await text_of(worker, uid) == expected_content(body)
            for uid in by_rabbitmq:
                answer = (await client.answer(f"response_{uid}")).check(uid)
                assert (answer.text, answer.last["status"]) == (expected_content(bodies[uid]), "completed")
                assert answer.messages[0].correlation_id == f"c-{uid}"
            row = await row_of(worker, next(iter(by_http)))
            assert (row["state"], row["error"]) == ("completed", None)
            assert [(life["state"], life["attempts"]) for life in row["history"]] == [("failed", 1)]
            redriven = [one for one in await values(worker, "chat-requests") if "redriven" in one["data"]]
            assert Counter(one["data"]["uid"] for one in redriven) == dict.fromkeys(bodies, 1)

            again = await reported(worker, "replay", "dead-letters", "--from", since)
            assert again["requests"]["ends"] == {"completed": 60}
            assert (await calls(outage.url))["by_key"] == by_key
            for uid in by_rabbitmq:
                assert await client.count(f"response_{uid}") == 0
    assert await reported(worker, "replay", "dead-letters", "--resume", run_id) == done
    told = [one["data"] for one in await values(worker, "chat-replay-results") if one["data"]["run"] == run_id]
    assert Counter(one["uid"] for one in told) == dict.fromkeys(bodies, 1)
    started = [one for one in await values(worker, "audit-events") if one["data"]["action"] == "replay.start"]
    assert {one["data"]["resource_id"] for one in started} >= {run_id, again["run"]}


async def test_what_fails_again_is_a_letter_again_and_is_answered_by_a_later_run(
    broker: dict[str, str], make_worker: Start
) -> None:
    outage, since = Outage(), utc_iso()
    worker = await make_worker({**broker, **outage.env}).start()
    uids = [new_name("down") for _ in range(5)]
    for uid in uids:
        assert await asked(worker, body_of(MODEL, f"ask {uid}", uid=uid)) == 502
    await failed_letters(worker, set(uids))
    first = await reported(worker, "replay", "dead-letters", "--from", since)
    assert first["requests"]["ends"] == {"failed": 5}
    async with asyncio.timeout(60):
        while len(await failed_letters(worker, set(uids))) < 10:
            await asyncio.sleep(0.2)
    async with serving(port=outage.port):
        second = await reported(worker, "replay", "dead-letters", "--from", since)
        assert (second["letters"], second["repeated"], second["requests"]["ends"]) == (5, 5, {"completed": 5})
        by_key: Any = (await calls(outage.url))["by_key"]
        assert by_key == {f"ask {uid}": 1 for uid in uids}
    row = await row_of(worker, uids[0])
    assert [life["state"] for life in row["history"]] == ["failed", "failed"]
    # A client that asks again gets the answer, and no second call.
    assert await asked(worker, body_of(MODEL, f"ask {uids[0]}", uid=uids[0])) == 200


async def test_a_worker_that_dies_while_it_answers_again_leaves_that_to_the_next_one(
    broker: dict[str, str], make_worker: Start
) -> None:
    outage, since, uid = Outage(), utc_iso(), new_name("slow")
    worker = await make_worker({**broker, **outage.env}).start()
    body = body_of("demo:tokens=60,delay_ms=50", f"ask {uid}", uid=uid)
    assert await asked(worker, body) == 502
    await failed_letters(worker, {uid})
    async with serving(port=outage.port):
        run = launched(worker, "replay", "dead-letters", "--from", since, "--json")
        async with asyncio.timeout(60):
            while not (await calls(outage.url))["by_key"]:  # its row shows that it runs a moment before
                await asyncio.sleep(0.05)
        worker.kill()
        await worker.start()
        done = await ended(run)
        assert done.code == 0, done.err
        assert orjson.loads(done.out)["requests"]["ends"] == {"completed": 1}
        assert await text_of(worker, uid) == expected_content(body)
        assert (await calls(outage.url))["by_key"] == {f"ask {uid}": 2}  # one before the crash, one after


async def test_workers_that_join_while_it_is_answered_again_follow_and_call_no_llm(
    e2e_kafka: KafkaBroker, make_worker: Start
) -> None:
    outage, since = Outage(), utc_iso()
    env = {**kafka_env(e2e_kafka), **outage.env}
    first, second = make_worker(env), make_worker(env)
    await first.start()
    bodies = {
        uid: body_of("demo:tokens=60,delay_ms=100", f"ask {uid}", uid=uid) for uid in map(new_name, ["slow"] * 12)
    }
    assert set(await asyncio.gather(*(asked(first, body) for body in bodies.values()))) == {502}
    await failed_letters(first, set(bodies))
    async with serving(port=outage.port):
        run = launched(first, "replay", "dead-letters", "--from", since, "--json")
        async with asyncio.timeout(60):
            while int(str((await calls(outage.url))["open"])) < len(bodies):
                await asyncio.sleep(0.05)
        await second.start()  # partitions move: it gets old and new records again
        done = await ended(run)
        assert done.code == 0, done.err
        assert orjson.loads(done.out)["requests"]["ends"] == {"completed": len(bodies)}
        assert (await calls(outage.url))["by_key"] == {f"ask {uid}": 1 for uid in bodies}
    for uid, body in bodies.items():
        assert await text_of(second, uid) == expected_content(body)
        assert [life["state"] for life in (await row_of(second, uid))["history"]] == ["failed"]


async def test_what_is_malformed_comes_back_once_and_is_a_letter_again_with_its_history(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker, since = await make_worker(broker).start(), utc_iso()
    key, name = new_name("bad").encode(), new_name("mine")
    async with Log(worker) as log:
        for topic in ("chat-requests", "ai-feedback-events"):
            at = partition_for(key, 6)
            await log.append(topic, at, key, b"no JSON \xff", [(name, b"kept")])
    for run in range(1, 4):
        letters = await letters_with(worker, name, 2 * run)
        done = await reported(worker, "replay", "dead-letters", "--from", since)
        assert (done["sent"], done["repeated"], done["requests"]["sent"]) == (2, 2 * run - 2, 0)
    letters = await letters_with(worker, name, 8)
    histories = Counter(len([one for one in letter["headers"] if one[0] == "weir-redriven"]) for letter in letters)
    assert histories == {0: 2, 1: 2, 2: 2, 3: 2}
    assert len({(letter["key"], letter["value"]) for letter in letters}) == 1


async def letters_with(worker: Worker, header: str, count: int) -> list[dict[str, Any]]:
    """So many letters whose records have a header."""
    async with asyncio.timeout(60):
        while True:
            letters = [one["data"] for one in await values(worker, "chat-dead-letters")]
            found = [one for one in letters if any(name == header for name, _ in one["headers"])]
            if len(found) >= count:
                assert len(found) == count
                return found
            await asyncio.sleep(0.2)


async def test_what_cannot_be_done_is_told_in_one_line(make_worker: Start) -> None:
    worker = await make_worker({}).start()
    for args, code, reason in (
        (["--from", "earliest"], 3, "no record in this range"),
        (["--resume", "20261121T120000Z-3f2a91c4"], 2, "there is no run"),
    ):
        told = await ran(worker, "replay", "dead-letters", *args, code=code)
        assert told.startswith("weir: ")
        assert reason in told
        assert told.count("\n") == 1
