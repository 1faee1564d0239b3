"""Every way of the log client, and of a worker's consumer, to read records in Kafka."""

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from tests.compatibility.kafka_batches import SHEET, BatchCase
from tests.contracts.engines import Kafka, Worker
from tests.contracts.logs import Collected, OnKafka, read_all, until, values
from tests.services.kafka import KafkaBroker
from tests.services.segments import damage_batch
from weir.log.kafka.batches import UnreadableBatch
from weir.log.kafka.driver import Transport
from weir.log.log import Partition

pytestmark = [
    pytest.mark.kafka,
    # Faust 0.15.3 and its dependencies on Python 3.11; none of it is about Weir's code.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

BATCHES = [[b"%d %s" % (number, b"la" * 40) for number in range(start, start + 2)] for start in (0, 2, 4)]


@pytest.fixture
async def kafka(e2e_kafka: KafkaBroker, tmp_path: Path) -> AsyncIterator[Kafka]:
    stage = Kafka(e2e_kafka.bootstrap, tmp_path)
    await stage.log.start()
    yield stage
    await stage.log.stop()


async def written(kafka: Kafka, broker: KafkaBroker, case: BatchCase) -> Partition:
    """The partition with the batches of a case."""
    topic = NewTopic(kafka.topic, 2, 1, topic_configs={"compression.type": case.topic})
    async with OnKafka(kafka.address).admin() as admin:
        await admin.create_topics([topic])
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address, compression_type=case.producer)
    async with producer:
        for batch in BATCHES:
            builder = producer.create_batch()
            for value in batch:
                builder.append(timestamp=None, key=b"k", value=value)
            await (await producer.send_batch(builder, kafka.topic, partition=0))
    if case.damage is not None:
        damage_batch(broker.partition(kafka.topic, 0), 1, case.damage)
    return Partition(kafka.topic, 0)


def readable(case: BatchCase) -> list[bytes]:
    return [value for batch in (BATCHES if case.damage is None else BATCHES[::2]) for value in batch]


@SHEET.parametrize()
async def test_pages_and_feeds_bring_what_is_readable(
    kafka: Kafka, e2e_kafka: KafkaBroker, case: BatchCase, caplog: pytest.LogCaptureFixture
) -> None:
    at = await written(kafka, e2e_kafka, case)
    collected, expected = Collected(), readable(case)
    await kafka.log.follow(at, 0, collected)
    assert values(await read_all(kafka.log, at)) == expected
    assert values(await read_all(kafka.log, at, limit=1)) == expected
    assert (
        values(await kafka.log.read(at, 3))
        == [value for batch in BATCHES[1:] for value in batch][1 if case.damage is None else 2 :]
    )
    await collected.reach(at, 5)
    assert values(collected.records[0]) == expected
    told = f"offsets 2 to 3 of {at.topic}-0 cannot be read" in caplog.text
    assert told == (case.damage is not None)


@SHEET.parametrize()
async def test_a_worker_gets_what_is_readable_and_stays_alive(
    kafka: Kafka, e2e_kafka: KafkaBroker, case: BatchCase
) -> None:
    at = await written(kafka, e2e_kafka, case)
    taken: list[UnreadableBatch] = []
    delivered: list[int] = []

    async def take(batch: UnreadableBatch) -> None:
        taken.append(batch)
        delivered.append(len(worker.events))

    worker = Worker(kafka, acks=True, transport=partial(Transport, unreadable=take))
    async with worker.running():
        await worker.receive(len(readable(case)))
        await kafka.log.append(*at, b"k", b"more")
        await until(lambda: worker.values[-1] == b"more")
        assert worker.values == [*readable(case), b"more"]
    damaged = [] if case.damage is None else [(at, 2, 3)]
    assert [(batch.at, batch.first, batch.last) for batch in taken] == damaged
    assert all(count <= 2 for count in delivered), "written down before what follows is delivered"


async def test_one_line_tells_of_a_batch_however_often_it_is_met(
    kafka: Kafka, e2e_kafka: KafkaBroker, caplog: pytest.LogCaptureFixture
) -> None:
    case = next(case for case in SHEET.cases if case.damage is not None)
    at = await written(kafka, e2e_kafka, case)
    for _ in range(3):
        assert values(await read_all(kafka.log, at)) == readable(case)
    assert caplog.text.count("cannot be read") == 1
