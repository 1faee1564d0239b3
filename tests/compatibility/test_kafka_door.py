"""Every record is answered once, wherever it was put, or becomes a dead letter with the reason."""

import asyncio
import base64
from typing import Any

import aiohttp
import orjson
import pytest

from tests.compatibility.kafka_door import QUESTION, SHEET, KafkaCase, place_of
from tests.compatibility.paths import Lab
from tests.compatibility.upstream import chunk, said
from tests.defaults import CHAT_PARTITIONS
from tests.e2e.test_events import reading
from weir import envelope, topics
from weir.chat import requests
from weir.envelope import Json
from weir.log.log import LogClient, Partition
from weir.log.partitioner import partition_for

TENANT = "acme"
WITHIN_S = 30.0
DEFAULT_MODEL = "kafka-default-model"


@pytest.fixture(scope="module")
def lab_env() -> dict[str, str]:
    return {"OPENAI_MODEL": DEFAULT_MODEL}


def model_of(case: KafkaCase) -> str:
    return str(case.body.get("model", case.id) or DEFAULT_MODEL)


def record_of(case: KafkaCase) -> bytes:
    body = {"model": case.id, **case.body}
    data: Json = {"uid": case.uid or case.id, "body": body, **case.data}
    event: Json = {
        "event_id": f"evt-{case.id}",
        "event_type": requests.EVENT_TYPE,
        "tenant_id": TENANT,
        "timestamp": envelope.utc_iso(),
        "source": "a client",
        "data": data,
        **case.envelope,
    }
    return orjson.dumps(event)


async def put(log: LogClient, case: KafkaCase, value: bytes) -> int:
    """Write the record as its client does; return the partition."""
    key = str(case.uid or case.id).encode()
    partition = place_of(case.partitioner, key, CHAT_PARTITIONS)
    await log.append(topics.CHAT_REQUESTS.name, partition, key, value, case.headers)
    return partition


async def letter_about(log: LogClient, value: bytes) -> Json:
    """Return the dead letter of a record."""
    kept = base64.b64encode(value).decode()
    async with asyncio.timeout(WITHIN_S):
        while True:
            for number in range(log.partitions(topics.CHAT_DEAD_LETTERS.name)):
                at = Partition(topics.CHAT_DEAD_LETTERS.name, number)
                await log.bounds(at)  # an embedded log then reads the records of other processes
                for record in await log.read(at, 0, limit=1000):
                    data = envelope.decode(record.value).data
                    if data["value"] == kept:
                        return data
            await asyncio.sleep(0.1)


async def stored(session: aiohttp.ClientSession, url: str) -> tuple[int, Any]:
    """Return the stored answer, once there is one; or the error that the request ended with."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            async with session.get(url) as answer:
                if answer.status not in {202, 404, 503}:
                    return answer.status, await answer.json()
            await asyncio.sleep(0.1)


@SHEET.parametrize()
async def test_a_record_is_answered_once_or_is_a_dead_letter(lab: Lab, case: KafkaCase) -> None:
    model, url = model_of(case), f"{lab.worker.url}/v1/chat/completions"
    lab.upstream.play(model, said(chunk({"content": "It is "}), chunk({"content": "said."}, "stop")))
    refused = case.reason and ("KAFKA_BOOTSTRAP_SERVERS" in lab.worker.env or not case.on_kafka_only)
    async with reading(lab.worker) as log, aiohttp.ClientSession() as session:
        value = record_of(case)
        partition = await put(log, case, value)
        if refused:
            check_refused(lab, case, await letter_about(log, value))
            if case.refused == "log_truncated":
                status, answer = await stored(session, f"{url}/chatcmpl-{case.id}")
                assert (status, answer["error"]["code"]) == (410, "log_truncated")
            return
        status, answer = await stored(session, f"{url}/chatcmpl-{case.id}")
        assert (status, answer["choices"][0]["message"]["content"]) == (200, "It is said.")
        (call,) = lab.upstream.calls(model)
        own = {"model", "messages", "stream", "stream_options"}
        assert call.body["messages"] == case.body.get("messages", QUESTION)
        assert {name: value for name, value in call.body.items() if name not in own} == case.asked
        moved = partition != partition_for(case.id.encode(), CHAT_PARTITIONS)
        assert moved == (case.partitioner == "none") or case.partitioner == "librdkafka"
        if case.by_http:
            body = {"model": case.id, **case.body, "uid": case.id, "stream": False}
            async with session.post(url, json=body, headers={"X-Tenant-ID": TENANT}) as again:
                assert again.status == 200, await again.text()
                assert (await again.json())["choices"] == answer["choices"]
            assert len(lab.upstream.calls(model)) == 1


def check_refused(lab: Lab, case: KafkaCase, letter: Json) -> None:
    assert case.reason in letter["reason"]
    error = letter.get("error", {})
    assert case.refused in {error.get("param"), error.get("code"), ""}
    assert lab.upstream.calls(model_of(case)) == []
