"""The events that a worker publishes about its work, on both brokers: read from the topics, checked by the schemas."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import pytest
from jsonschema import Draft202012Validator

from tests.defaults import CHAT_PARTITIONS, SPECS
from tests.e2e.conftest import Start
from tests.e2e.test_crash import ended, own_uid, uid_of, until
from tests.e2e.test_streams import asked, begun, cancelled, log_of
from tests.e2e.workers import Worker, get_json
from tests.unit.demo.helpers import Received, body_of, streamed
from weir import envelope, topics
from weir.chat import requests
from weir.envelope import Event, utc_iso
from weir.events import catalogue
from weir.events.ingress import Ingress
from weir.log.log import LogClient, Partition, Record
from weir.log.partitioner import partition_for

KEY = "sk-abcdefghijklmnopqrstuvwx"
TOLD = [topics.AGENT_TRACES, topics.AGENT_DECISIONS, topics.AGENT_METRICS, topics.AGENT_THINKING, topics.AUDIT]
OF_AN_ANSWER = {
    "request.accepted",
    "attempt.started",
    "request.completed",
    "decision.made",
    "decision.outcome",
    "metrics.recorded",
    "thinking.started",
    "thinking.step",
    "thinking.api_call",
    "thinking.completed",
}


@dataclass
class Told:
    """One event, and the record that it is in."""

    event: Event
    record: Record

    @property
    def about(self) -> str:
        data = self.event.data
        return str(data.get("uid") or data.get("trace_id") or data.get("resource_id"))


async def everything(log: LogClient) -> list[Told]:
    """All events of the topics, each checked against its schema, its key and its headers."""
    told = []
    for spec in TOLD:
        for number in range(log.partitions(spec.name)):
            at, position = Partition(spec.name, number), 0
            while records := await log.read(at, position):
                told += [Told(envelope.decode(record.value), record) for record in records]
                position = records[-1].offset + 1
    return told


def check(one: Told) -> None:
    """Check one event against docs/schemas."""
    model = catalogue.BY_NAME[one.event.event_type]
    Draft202012Validator(catalogue.schema(model)).validate(orjson.loads(one.record.value or b""))
    headers = dict(one.record.headers)
    assert headers["event_type"].decode() == one.event.event_type
    assert headers["schema_version"] == str(model.VERSION).encode()
    assert one.record.key is not None
    specs = {spec.name: spec for spec in SPECS}
    assert one.record.partition == partition_for(one.record.key, specs[one.record.topic].partitions)


@asynccontextmanager
async def reading(worker: Worker) -> AsyncIterator[LogClient]:
    async with log_of(worker) as log:
        await log.create_topics(SPECS, replication=1)
        yield log


async def told_of(worker: Worker, uid: str, event_types: set[str]) -> list[Told]:
    """The events about a request, once all of them are in the log."""
    async with reading(worker) as log, asyncio.timeout(60):
        while True:
            told = [one for one in await everything(log) if one.about == uid]
            if event_types <= {one.event.event_type for one in told}:
                return told
            await asyncio.sleep(0.1)


def only(told: list[Told], event_type: str) -> dict[str, Any]:
    (one,) = [one for one in told if one.event.event_type == event_type]
    return one.event.data


async def test_an_answer_is_told_in_full_and_each_event_is_what_its_schema_says(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker = await make_worker(broker).start()
    body = body_of("demo-thinking:tokens=30", f"What is a weir? My key is {KEY}.", username="ada", uid="told")
    await streamed(worker.client(), {**body, "metadata": {"session_id": "s-1"}})
    told = await told_of(worker, "told", OF_AN_ANSWER | {"audit.recorded"})
    for one in told:
        check(one)
        assert KEY.encode() not in (one.record.value or b"")
    metrics, end = only(told, "metrics.recorded"), only(told, "request.completed")
    assert metrics["latency_ms"] >= metrics["ttft_ms"] > 0
    assert (metrics["status"], metrics["attempts"]) == ("completed", 1)
    assert end["session_id"] == "s-1"
    assert end["tokens_output"] == metrics["output_tokens"] > 0
    completed = only(told, "thinking.completed")
    assert completed["path_taken"] == ["INTENT_ANALYSIS", "RESPONSE"]
    assert only(told, "thinking.started")["goal"] == "What is a weir? My key is [redacted]."
    assert only(told, "decision.outcome")["decision_id"] == only(told, "decision.made")["decision_id"]
    audit = only(told, "audit.recorded")
    assert (audit["action"], audit["actor_id"], audit["ip_address"]) == ("request.submit", "ada", "127.0.0.1")

    trace: Any = await get_json(f"{worker.url}/thinking/chatcmpl-told?include_steps=true&include_api_calls=true")
    assert [step["step_type"] for step in trace["steps"]] == ["INTENT_ANALYSIS", "RESPONSE"]
    assert trace["api_calls"][0]["output_tokens"] == metrics["output_tokens"]
    sums: Any = await get_json(f"{worker.url}/thinking/told/metrics")
    assert sums["total_output_tokens"] == metrics["output_tokens"]


async def test_thinking_can_be_watched_while_it_lasts(broker: dict[str, str], make_worker: Start) -> None:
    worker = await make_worker(broker).start()
    async with asked(worker, body_of("demo-thinking:tokens=200,delay_ms=50", uid="live")) as response:
        await response.content.readline()
        async with asyncio.timeout(60):
            while True:
                trace: Any = await get_json(f"{worker.url}/thinking/live/steps")
                if trace["steps"] and trace["steps"][0]["reasoning"]:
                    break
                await asyncio.sleep(0.1)
    assert (trace["status"], trace["steps"][0]["step_type"]) == ("active", "INTENT_ANALYSIS")


async def test_after_kill_9_each_answer_is_told_and_nothing_has_two_ids(
    broker: dict[str, str], make_worker: Start
) -> None:
    """Killed when answers have just ended: some are settled and not published, others published and not committed."""
    worker = await make_worker(broker).start()
    bodies = [body_of("demo:tokens=20,delay_ms=10", f"told {n}", **own_uid(n, "told")) for n in range(120)]
    received = [Received() for _ in bodies]
    streams = [
        asyncio.create_task(streamed(worker.client(), body, into)) for body, into in zip(bodies, received, strict=True)
    ]
    await until(lambda: any(into.finish_reasons() for into in received) and all(into.chunks for into in received))
    worker.kill()
    await asyncio.gather(*streams, return_exceptions=True)
    await worker.start()
    uids = [uid_of(into) for into in received]
    for uid in uids:
        assert (await ended(worker, uid))["state"] == "completed"
    about_ends = OF_AN_ANSWER - {"request.accepted", "attempt.started", "decision.made", "thinking.started"}
    wanted = {(uid, event_type) for uid in uids for event_type in about_ends}
    deadline = time.monotonic() + 30
    async with reading(worker) as log:
        while True:
            told = [one for one in await everything(log) if one.about in uids]
            missing = wanted - {(one.about, one.event.event_type) for one in told}
            if not missing or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.2)
    assert not missing
    ids = {(one.about, one.event.event_type): one.event.event_id for one in told}
    for one in told:
        if one.event.event_type in about_ends - {"thinking.step", "thinking.api_call"}:
            # published twice, perhaps, but with the same id
            assert one.event.event_id == ids[one.about, one.event.event_type]


async def test_audit_events_name_the_client_and_the_act_and_never_the_content(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker = await make_worker(broker).start()
    _, uid = await begun(worker, body_of("demo:tokens=400,delay_ms=50", "a secret plan", username="ada"), events=3)
    assert await cancelled(worker, uid) == "cancelled"
    await get_json(f"{worker.url}/requests/{uid}")
    async with aiohttp.ClientSession() as session:
        refused = session.post(f"{worker.url}/v1/chat/completions", json={"messages": "a secret plan"})
        async with refused as answer:
            assert answer.status == 400
            refused_id = answer.headers["X-Request-ID"]
        async with session.get(f"{worker.url}/requests", headers={"X-Tenant-ID": "acme"}) as answer:
            assert answer.status == 200
    async with reading(worker) as log:
        request = requests.ChatRequest(
            uid="by-kafka",
            event_id="evt-by-kafka",
            tenant="acme",
            ingress=Ingress.KAFKA,
            accepted_at=utc_iso(),
            body=body_of("demo:tokens=2", "a secret plan"),
            fingerprint="f",
            stream=False,
        )
        at = Partition(topics.CHAT_REQUESTS.name, partition_for(b"by-kafka", CHAT_PARTITIONS))
        await log.append(at.topic, at.partition, b"by-kafka", requests.encode(request))
        async with asyncio.timeout(60):
            while True:
                audits = [one for one in await everything(log) if one.record.topic == topics.AUDIT.name]
                told = Counter(
                    (one.event.data["action"], one.event.data["success"])
                    for one in audits
                    # A refused request has no uid, but the id that its client got with the error.
                    if one.about in {uid, "by-kafka", "None", refused_id}
                )
                if told["request.submit", True] == 2 and told["request.submit", False] and told["request.list", True]:
                    break
                await asyncio.sleep(0.1)
    assert told["request.cancel", True] == 1
    assert told["request.read", True] >= 1
    for one in audits:
        check(one)
        assert b"secret plan" not in (one.record.value or b"")
    (of_acme,) = [one for one in audits if one.event.data["action"] == "request.list"]
    assert of_acme.event.tenant_id == "acme"
    submitted = [one.event.data for one in audits if one.event.data["action"] == "request.submit"]
    (wrong,) = [data for data in submitted if not data["success"]]
    assert (wrong["response_status"], wrong["resource_id"]) == (400, refused_id)


@pytest.mark.parametrize("name", ["feedback.submitted", "metrics.recorded", "audit.recorded"])
async def test_schemas_are_served(make_worker: Start, name: str) -> None:
    worker = await make_worker({}).start()
    schema: Any = await get_json(f"{worker.url}/schemas/{name}")
    Draft202012Validator.check_schema(schema)
    assert schema["title"] == name
