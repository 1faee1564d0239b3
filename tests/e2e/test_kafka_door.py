"""Stock clients of Kafka: kcat's partitions, transactions, and an operator who recreates a topic."""

import asyncio
import subprocess
from typing import Any

import aiohttp
import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from demo.text import expected_content
from tests.defaults import CHAT_PARTITIONS
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.test_crash import until
from tests.e2e.test_streams import Read, asked, called, log_of, read, resumed
from tests.e2e.workers import Worker, get_json
from tests.services.kafka import KafkaBroker
from tests.unit.demo.helpers import body_of
from weir import envelope, topics
from weir.chat import requests
from weir.log.log import Partition
from weir.log.partitioner import partition_for

pytestmark = pytest.mark.kafka

TOPIC = topics.CHAT_REQUESTS.name


def record_of(uid: str, body: dict[str, Any]) -> bytes:
    return envelope.encode(f"evt-{uid}", requests.EVENT_TYPE, "default", {"uid": uid, "body": body})


async def stored(worker: Worker, uid: str, within_s: float = 30.0) -> str:
    found: Any = await get_json(f"{worker.url}/v1/chat/completions/chatcmpl-{uid}", within_s=within_s)
    return str(found["choices"][0]["message"]["content"])


async def lag(worker: Worker) -> float:
    """Records of chat-requests that are not settled."""
    async with aiohttp.ClientSession() as session, session.get(f"{worker.url}/metrics") as answer:
        text = await answer.text()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    found = [one.value for one in families["ai_kafka_consumer_lag"].samples if one.labels["topic"] == TOPIC]
    assert len(found) == CHAT_PARTITIONS
    return sum(found)


async def until_settled(worker: Worker) -> None:
    async with asyncio.timeout(60):
        while await lag(worker):
            await asyncio.sleep(0.2)


async def test_requests_from_kcat_are_answered_once_wherever_it_puts_them(
    e2e_kafka: KafkaBroker, make_worker: Start, upstream: str
) -> None:
    worker = await make_worker(kafka_env(e2e_kafka)).start()
    bodies = {f"kcat-{n}": body_of("demo:tokens=5", f"kcat {n}") for n in range(12)}
    lines = b"".join(b"%b\t%b\n" % (uid.encode(), record_of(uid, body)) for uid, body in bodies.items())
    command = ["kcat", "-P", "-b", e2e_kafka.bootstrap, "-t", TOPIC, "-K", "\t"]
    await asyncio.to_thread(subprocess.run, command, input=lines, check=True, timeout=30)
    async with log_of(worker) as log:
        for uid in bodies:
            at = Partition(TOPIC, partition_for(uid.encode(), CHAT_PARTITIONS))
            async with asyncio.timeout(60):
                while not [one for one in await log.read(at, 0) if one.key == uid.encode()]:
                    await asyncio.sleep(0.1)
    for uid, body in bodies.items():
        assert await stored(worker, uid) == expected_content(body)
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{worker.url}/v1/chat/completions", json={**body, "uid": uid}) as again,
        ):
            assert (await again.json())["choices"][0]["message"]["content"] == expected_content(body)
    times = await called(upstream)
    assert {times[f"kcat {n}"] for n in range(12)} == {1}
    await until_settled(worker)


async def test_a_request_of_a_transaction_is_answered_once_it_is_committed_and_never_if_it_is_aborted(
    e2e_kafka: KafkaBroker, make_worker: Start, upstream: str
) -> None:
    worker = await make_worker(kafka_env(e2e_kafka)).start()
    producer = AIOKafkaProducer(bootstrap_servers=e2e_kafka.bootstrap, transactional_id="a-client")
    await producer.start()

    async def send(name: str) -> None:
        body = body_of("demo:tokens=5", name)
        for place in range(CHAT_PARTITIONS):  # each partition ends in a control record
            await producer.send_and_wait(TOPIC, record_of(f"{name}-{place}", body), f"{name}-{place}".encode(), place)

    await producer.begin_transaction()
    await send("aborted")
    await producer.abort_transaction()
    await producer.begin_transaction()
    await send("committed")
    await asyncio.sleep(1)  # the transaction is open, so no request of it may begin
    assert not {"aborted", "committed"} & (await called(upstream)).keys()
    await producer.commit_transaction()
    for place in range(CHAT_PARTITIONS):
        assert await stored(worker, f"committed-{place}") == expected_content(body_of("demo:tokens=5", "committed"))
    await producer.begin_transaction()
    await send("aborted")
    await producer.abort_transaction()
    await producer.stop()
    await until_settled(worker)  # although aborted records are at the end of each partition
    times = await called(upstream)
    assert ("aborted" in times, times["committed"]) == (False, CHAT_PARTITIONS)
    assert (await worker.stop()) == 0
    again = await make_worker(kafka_env(e2e_kafka)).start()
    await until_settled(again)
    assert await called(upstream) == times


async def recreate(bootstrap: str, topic: str) -> None:
    """Empty a topic as an operator does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.delete_topics([topic])
        async with asyncio.timeout(60):
            while topic in await admin.list_topics():
                await asyncio.sleep(0.05)
            new = NewTopic(topic, CHAT_PARTITIONS, 1)
            while (await admin.create_topics([new])).topic_errors[0][1]:
                await asyncio.sleep(0.05)
    finally:
        await admin.close()


async def test_when_chat_chunks_is_recreated_running_requests_end_and_new_ones_are_answered(
    own_kafka: KafkaBroker, make_worker: Start, upstream: str
) -> None:
    """No client waits for ever, no prompt is sent twice, and the new log holds only marks that count."""
    worker = await make_worker(kafka_env(own_kafka)).start()
    before = body_of("demo:tokens=20", "before", uid="before")
    whole = Read()
    async with asked(worker, before) as response:
        await read(response, whole)
    running = [body_of("demo:tokens=2000,delay_ms=50", f"running {n}", uid=f"running-{n}") for n in range(6)]
    readers = [Read() for _ in running]

    async def reading(body: dict[str, Any], into: Read) -> None:
        async with asked(worker, body) as response:
            await read(response, into)

    tasks = [asyncio.create_task(reading(body, into)) for body, into in zip(running, readers, strict=True)]
    await until(lambda: all(len(into.chunks) > 5 for into in readers))
    await recreate(own_kafka.bootstrap, topics.CHAT_CHUNKS.name)
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)
    assert {into.errors[-1]["error"]["code"] for into in readers} <= {"gone", "log_truncated"}

    for n in range(12):
        body = body_of("demo:tokens=5", f"after {n}")
        async with asyncio.timeout(60):
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{worker.url}/v1/chat/completions", json=body) as answer,
            ):
                assert answer.status == 200, await answer.text()
                assert (await answer.json())["choices"][0]["message"]["content"] == expected_content(body)
    await until_settled(worker)
    for uid in ("before", "running-0"):
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{worker.url}/v1/chat/completions/chatcmpl-{uid}") as answer,
        ):
            assert answer.status == 410, await answer.text()
    assert (await resumed(worker, "before")).status == 410
    assert (await resumed(worker, "before", whole.ids[3])).status in {400, 410}
    times = await called(upstream)
    assert set(times.values()) == {1}, times
    async with log_of(worker) as log:
        kinds: list[str] = []
        for place in range(CHAT_PARTITIONS):
            records = await log.read(Partition(topics.CHAT_CHUNKS.name, place), 0, limit=5000)
            kinds += (orjson.loads(record.value or b"{}")["data"].get("mark", "chunks") for record in records)
    assert kinds.count("begin") == 12
    assert (kinds.count("takeover"), kinds.count("restart")) == (0, 0)
    assert (await worker.stop()) == 0
