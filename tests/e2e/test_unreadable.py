"""A broker that compresses all records by zstd, and whose disk has damaged a request: the others are answered."""

import asyncio
from typing import Any

from tests.defaults import CHAT_PARTITIONS
from tests.e2e.amqp import values
from tests.e2e.commands import ran
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.test_streams import produced
from tests.e2e.workers import Worker, get_json
from tests.services.kafka import KafkaBroker
from tests.services.segments import Damage, damage_batch
from tests.unit.demo.helpers import body_of
from weir import topics
from weir.log.partitioner import partition_for

PARTITION = 3
UIDS = [uid for n in range(100) if partition_for((uid := f"lies-{n}").encode(), CHAT_PARTITIONS) == PARTITION][:3]


async def letters(worker: Worker) -> list[dict[str, Any]]:
    return [one["data"] for one in await values(worker, topics.CHAT_DEAD_LETTERS.name)]


async def test_a_request_that_cannot_be_read_is_a_dead_letter_and_the_others_are_answered(make_worker: Start) -> None:
    with KafkaBroker(settings={"compression.type": "zstd"}) as broker:
        worker = await make_worker(kafka_env(broker)).start()
        assert await worker.stop() == 0
        for uid in UIDS:
            await produced(worker, uid, body_of("demo:tokens=5", uid))
        damage_batch(broker.partition(topics.CHAT_REQUESTS.name, PARTITION), 1, Damage(at=-5, bits=b"\xff"))
        for _ in range(2):  # the next worker goes on, too
            await worker.start()
            for uid in UIDS[::2]:
                await get_json(f"{worker.url}/v1/chat/completions/{uid}")
            async with asyncio.timeout(60):
                while not (found := await letters(worker)):
                    await asyncio.sleep(0.1)
            assert await worker.stop() == 0
        assert {(one["topic"], one["partition"], one["offset"], one["last_offset"]) for one in found} == {
            (topics.CHAT_REQUESTS.name, PARTITION, 1, 1)
        }
        assert found[0]["reason"] == "unreadable: CorruptRecordException: invalid CRC"
        log = worker.log.read_text()
        assert "Traceback" not in log
        assert f"offsets 1 to 1 of chat-requests-{PARTITION} cannot be read" in log
        report = await ran(worker, "replay", "dead-letters", "--from", "earliest", "--dry-run")
        assert "the log does not have it, or cannot read it" in report
