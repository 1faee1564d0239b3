"""Records in the topics of a real Kafka that are much larger than they should be: no worker stops.

Rows have to fit into their changelogs, which take 1 MB; the topics of requests and events take 8 MB.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.defaults import SETTINGS
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.workers import Worker, get_json
from tests.services.kafka import KafkaBroker
from tests.unit.demo.helpers import body_of
from weir import envelope, topics
from weir.chat import frames, requests
from weir.chat.frames import Frame, FrameKind, Status, Terminal
from weir.envelope import Json
from weir.log.kafka.client import KafkaLog
from weir.log.log import Partition
from weir.log.partitioner import partition_for
from weir.topics import Topic

pytestmark = pytest.mark.kafka

LONG = "x" * 700_000
ERROR = {"message": LONG, "type": LONG, "param": LONG, "code": LONG, "status": 400}
RECORD_BYTES = 8 << 20
FOUND_S = 30.0


@asynccontextmanager
async def log_of(kafka: KafkaBroker) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(kafka.bootstrap, max_request_size=RECORD_BYTES)
    await log.start()
    try:
        yield log
    finally:
        await log.stop()


def ended(uid: str, **more: object) -> bytes:
    """A trace event as an older version wrote it, with no field cut."""
    data: Json = {
        "uid": uid,
        "trace_id": uid,
        "rid": "evt-1",
        "action": "failed",
        "error": ERROR,
        "finish_reason": LONG,
    }
    return envelope.encode("evt-9", "request.failed", "acme", {**data, "usage": {"note": LONG}, **more})


async def put(log: KafkaLog, topic: Topic, uid: str, value: bytes) -> None:
    await log.append(topic.name, partition_for(uid.encode(), topic.partitions_by(SETTINGS)), uid.encode()[:100], value)


async def answers(worker: Worker, text: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{worker.url}/v1/chat/completions", json=body_of("demo", text)) as answer,
    ):
        assert answer.status == 200


async def test_a_worker_whose_topics_hold_a_row_that_does_not_fit_starts_and_answers(
    e2e_kafka: KafkaBroker, make_worker: Start
) -> None:
    """A worker would otherwise stop at that event, and at each start again."""
    worker = await make_worker(kafka_env(e2e_kafka)).start()
    async with log_of(e2e_kafka) as log:
        await put(log, topics.AGENT_TRACES, "poisoned", ended("poisoned", username=LONG, session_id=LONG))
    row = await get_json(f"{worker.url}/requests/poisoned")
    assert row["state"] == "failed"
    assert len(str(row)) < 100_000
    await answers(worker, "before")
    worker.kill()
    await worker.start()
    assert await get_json(f"{worker.url}/requests/poisoned") == row
    await answers(worker, "after")


TOO_LONG: list[tuple[str, Json]] = [
    ("data.uid", {"uid": LONG}),
    ("data.username", {"username": LONG}),
    ("data.body.model", {"body": {**body_of("demo", "hi"), "model": LONG}}),
    ("data.deadline", {"deadline": LONG}),
    ("data.fingerprint", {"fingerprint": LONG}),
    ("data.accepted_at", {"accepted_at": LONG}),
    ("data.replay_of", {"replay": "r", "replay_of": LONG}),
    ("not a request", {"chunks_from": LONG}),
]


async def test_a_request_with_a_field_that_is_too_long_is_a_dead_letter_that_names_it(
    e2e_kafka: KafkaBroker, make_worker: Start
) -> None:
    worker = await make_worker(kafka_env(e2e_kafka)).start()
    async with log_of(e2e_kafka) as log:
        for field, change in TOO_LONG:
            uid = f"long-{field.replace(' ', '-')}"
            data = {"uid": uid, "body": body_of("demo", "hi"), **change}
            await put(log, topics.CHAT_REQUESTS, uid, envelope.encode("evt-1", requests.EVENT_TYPE, "acme", data))
            letter = await _letter(log, uid)
            assert field in str(letter["reason"])
            assert len(str(letter["reason"])) < 2000
    await answers(worker, "after all of them")


async def test_an_answer_whose_stored_end_is_too_large_is_served_and_told(
    e2e_kafka: KafkaBroker, make_worker: Start
) -> None:
    """A terminal of an older version: another worker wrote it, and died before it was settled."""
    uid = "large-end"
    worker = await make_worker(kafka_env(e2e_kafka)).start()
    end = Terminal(status=Status.FAILED, error={"message": "no", "type": "t", "code": "c", "status": 400})
    begin = Frame(uid=uid, rid="evt-1", kind=FrameKind.BEGIN, attempt="att-1", fingerprint="f")
    value = frames.encode(
        Frame(uid=uid, rid="evt-1", kind=FrameKind.TERMINAL, attempt="att-1", terminal=end), event_id="e", tenant="acme"
    )
    large = value.replace(b'":"t"', b'":"%b"' % LONG.encode()).replace(b'":"c"', b'":"%b"' % LONG.encode())
    async with log_of(e2e_kafka) as log:
        await put(log, topics.CHAT_CHUNKS, uid, frames.encode(begin, event_id="att-1", tenant="acme"))
        await put(log, topics.CHAT_CHUNKS, uid, large)
        data = {"uid": uid, "body": body_of("demo", "hi"), "stream": True}
        await put(log, topics.CHAT_REQUESTS, uid, envelope.encode("evt-1", requests.EVENT_TYPE, "acme", data))
        letter = await _letter(log, uid)
    assert len(str(letter["error"])) < 10_000
    async with asyncio.timeout(FOUND_S):
        while not (row := await get_json(f"{worker.url}/requests/{uid}")).get("ended_at"):
            await asyncio.sleep(0.1)
    assert row["state"] == "failed"
    assert len(str(row)) < 10_000


async def _letter(log: KafkaLog, uid: str) -> Json:
    """The dead letter of a record with that key."""
    key = uid.encode()[:100]
    at = Partition(topics.CHAT_DEAD_LETTERS.name, partition_for(key, topics.CHAT_DEAD_LETTERS.partitions))
    position = 0
    async with asyncio.timeout(FOUND_S):
        while True:
            for record in await log.read(at, position):
                position = record.offset + 1
                if record.key == key:
                    return envelope.decode(record.value).data
            await asyncio.sleep(0.1)
