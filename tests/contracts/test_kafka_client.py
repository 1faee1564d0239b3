"""Promises of the Kafka log client alone: batches, transactions, long polls, brokers that go away and come back.

The promises of both logs are in the ``test_log*.py`` in this folder.
"""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from faust.types import TP

from tests.contracts.logs import Collected, OnKafka, new_name, offsets, read_all, values
from tests.services.kafka import KafkaBroker
from tests.services.segments import Damage, damage_batch
from weir.log.changelogs import read_back
from weir.log.kafka.client import KafkaLog
from weir.log.kafka.feed import POLL_S
from weir.log.log import (
    RECORD_OVERHEAD_BYTES,
    LogError,
    LogRefusedError,
    LogReplacedError,
    LogUnavailableError,
    Partition,
    RecordTooLargeError,
    TopicSpec,
    value_max_bytes,
)
from weir.log.partitioner import partition_for
from weir.log.tails import TailLimits, Tails

pytestmark = pytest.mark.kafka


@pytest.fixture
async def client(kafka_bootstrap: str) -> AsyncIterator[KafkaLog]:
    client = KafkaLog(kafka_bootstrap)
    await client.start()
    yield client
    await client.stop()


async def test_an_append_that_is_cancelled_before_it_is_sent_is_not_written_and_disturbs_no_other(
    client: KafkaLog, at: Partition
) -> None:
    """A request that was refused with "not in time" must not be answered later."""
    first, second, third = (asyncio.ensure_future(client.append(*at, None, b"%d" % n)) for n in range(3))
    second.cancel()
    assert (await first, await third) == (0, 1)
    assert values(await read_all(client, at)) == [b"0", b"2"]


async def limited(kafka_bootstrap: str, max_message_bytes: int) -> Partition:
    """The only partition of a topic with a limit on the size of records."""
    name = new_name()
    settings = {"max.message.bytes": str(max_message_bytes)}
    async with OnKafka(kafka_bootstrap).admin() as admin:
        await admin.create_topics([NewTopic(name, 1, 1, topic_configs=settings)])
    return Partition(name, 0)


async def test_what_a_topic_takes_is_asked_and_not_sent_in_vain(client: KafkaLog, kafka_bootstrap: str) -> None:
    at = await limited(kafka_bootstrap, 1000)
    await client.create_topics([TopicSpec(name=at.topic, partitions=1)], replication=1)
    assert client.record_max_bytes(at.topic) == 1000
    assert client.record_max_bytes("some other topic") == 1 << 20
    fits = value_max_bytes(client, at.topic, b"key")
    with pytest.raises(RecordTooLargeError, match=f"to {at.topic}: the limit is 1000"):
        await client.append(*at, b"key", b"." * (fits + 1))
    assert await client.append(*at, b"key", b"." * fits) == 0


async def test_no_batch_is_larger_than_its_topic_takes(client: KafkaLog, kafka_bootstrap: str) -> None:
    at = await limited(kafka_bootstrap, 1000)
    await client.create_topics([TopicSpec(name=at.topic, partitions=1)], replication=1)
    assert await asyncio.gather(*(client.append(*at, None, b"." * 700) for _ in range(5))) == [0, 1, 2, 3, 4]


async def test_a_record_that_the_broker_refuses_for_its_size_costs_only_itself(
    client: KafkaLog, at: Partition, kafka_bootstrap: str
) -> None:
    """The limit is not known, because it was lowered meanwhile. aiokafka leaves a gap in its sequence numbers then."""
    small = await limited(kafka_bootstrap, 1000)
    sizes = [1, 700, 5000, 700, 1, 5000, 700]
    results = await asyncio.gather(
        *(client.append(*small, None, b"." * size) for size in sizes), return_exceptions=True
    )
    assert [isinstance(result, RecordTooLargeError) for result in results] == [size == 5000 for size in sizes]
    assert [result for result in results if isinstance(result, int)] == [0, 1, 2, 3, 4]
    assert [len(value or b"") for value in values(await read_all(client, small))] == [1, 700, 700, 1, 700]
    assert client.record_max_bytes(small.topic) == 5000 + RECORD_OVERHEAD_BYTES - 1
    assert await client.append(*at, None, b".") == 0


async def test_more_copies_than_brokers_wait_for_more_brokers(client: KafkaLog, at: Partition) -> None:
    with pytest.raises(LogUnavailableError, match=r"1 broker\(s\), but replication 3"):
        await client.create_topics([TopicSpec(name=new_name(), partitions=1)], replication=3)
    await client.create_topics([TopicSpec(name=at.topic, partitions=6)], replication=3)  # the topic exists already


@pytest.fixture
async def transactional(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    """A client that writes in transactions."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id=new_name())
    await producer.start()
    yield producer
    await producer.stop()


async def test_only_what_is_committed_is_read(client: KafkaLog, at: Partition, transactional: AIOKafkaProducer) -> None:
    """A marker takes an offset without a record; the last marker is at the log's end."""
    collected = Collected()
    await client.follow(at, 0, collected)
    for committed in (True, False):
        await transactional.begin_transaction()
        await transactional.send_and_wait(at.topic, b"v", partition=at.partition)
        await (transactional.commit_transaction() if committed else transactional.abort_transaction())
    assert offsets(await read_all(client, at)) == [0]
    assert await client.read(at, 3) == []
    assert await client.append(*at, None, b"v") == 4
    assert offsets(await read_all(client, at)) == [0, 4]
    await collected.reach(at, 4)
    assert collected.offsets(at) == [0, 4]


async def test_the_log_ends_where_the_oldest_open_transaction_begins(
    client: KafkaLog, at: Partition, transactional: AIOKafkaProducer
) -> None:
    collected = Collected()
    await client.follow(at, 0, collected)
    assert await client.append(*at, b"k", b"before") == 0
    await collected.reach(at, 0)
    await transactional.begin_transaction()
    await transactional.send_and_wait(at.topic, b"inside", key=b"k", partition=at.partition)
    assert await client.append(*at, b"k", b"behind") == 2
    assert values(await read_all(client, at)) == [b"before"]
    assert (await client.bounds(at)).end == 1
    assert await client.offset_at(at, time.time() + 60) == 1
    assert collected.offsets(at) == [0]
    await transactional.commit_transaction()
    await collected.reach(at, 2)
    assert values(collected.records[at.partition]) == [b"before", b"inside", b"behind"]
    assert (await client.bounds(at)).end == 4


async def test_tails_pass_over_what_was_aborted_in_batches_among_others(
    client: KafkaLog, at: Partition, transactional: AIOKafkaProducer
) -> None:
    """Live, out of the ring and page by page: all of them give the same records."""
    tails = Tails(client, TailLimits(ring_records=5, page_records=7))
    await tails.start()
    async with tails.open(at, 0) as live, asyncio.timeout(60):
        for turn in range(12):
            await transactional.begin_transaction()
            for number in range(5):
                await transactional.send(at.topic, b"%d" % (turn % 3), key=b"%d" % number, partition=at.partition)
            await client.append(*at, b"3", b"own")  # in the middle of the transaction
            await (transactional.abort_transaction() if turn % 3 else transactional.commit_transaction())
        got = await live.look()
        assert [record.value for record in got].count(b"own") == 12
        assert {record.value for record in got} == {b"0", b"own"}
        assert len(got) == 12 + 4 * 5
        async with tails.open(at, 0) as late, tails.open(at, 0, b"3") as keyed:
            assert await late.look() == got
            assert await keyed.look() == [record for record in got if record.key == b"3"]
    await tails.stop()


async def test_a_topic_has_another_id_after_it_was_recreated(
    client: KafkaLog, at: Partition, kafka_bootstrap: str
) -> None:
    before = await client.topic_id(at.topic)
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", before)
    assert await client.topic_id(at.topic) == before
    await recreate(client, at, kafka_bootstrap)
    assert await client.topic_id(at.topic) not in {"", before}
    with pytest.raises(LogRefusedError):
        await client.topic_id(new_name())


async def recreate(client: KafkaLog, at: Partition, bootstrap: str) -> None:
    """Delete a topic, and create it again."""
    async with OnKafka(bootstrap).admin() as admin:
        await admin.delete_topics([at.topic])
        async with asyncio.timeout(60):
            while at.topic in await admin.list_topics():
                await asyncio.sleep(0.05)
            while (await admin.create_topics([NewTopic(at.topic, 6, 1)])).topic_errors[0][1]:
                await asyncio.sleep(0.05)
            while not await leads(client, at):
                await asyncio.sleep(0.05)


async def leads(client: KafkaLog, at: Partition) -> bool:
    """Whether a new partition has a leader already."""
    try:
        return bool(await client.bounds(at))
    except LogError:
        return False


@pytest.mark.parametrize("written_anew", [0, 3, 40], ids=["empty", "shorter", "longer"])
async def test_readers_of_a_topic_that_is_recreated_get_an_error(
    client: KafkaLog, at: Partition, kafka_bootstrap: str, written_anew: int
) -> None:
    """Neither silence for ever, nor records of one log as those of another."""
    tails = Tails(client)
    await tails.start()
    async with tails.open(at, 0, b"k") as reader, tails.open(at, 0) as idle:
        for number in range(20):
            await client.append(*at, b"k", b"%d" % number)
        async with asyncio.timeout(60):
            while reader.position < 20:
                await reader.next(timeout=1)
            await idle.look()
        was = await tails.end(at)
        waiting = [asyncio.create_task(tail.next()) for tail in (reader, idle)]
        await recreate(client, at, kafka_bootstrap)
        for _ in range(written_anew):
            await client.append(*at, b"k", b"new")
        async with asyncio.timeout(60):
            for task in waiting:
                with pytest.raises(LogReplacedError):
                    await task
        for call in (reader.next, reader.catch_up, reader.look):
            with pytest.raises(LogReplacedError):
                await call()
    now = await tails.end(at)
    assert now.topic_id != was.topic_id
    for place in (was, was._replace(offset=0), was._replace(offset=now.offset)):
        with pytest.raises(LogReplacedError):
            await tails.open(at, place.offset, b"k", topic_id=place.topic_id).__aenter__()
    assert tails.readers == 0
    async with tails.open(at, 0, b"k", topic_id=now.topic_id) as tail:
        offset = await client.append(*at, b"k", b"last")
        assert [record.offset for record in await tail.look()][-1] == offset
    await tails.stop()


async def test_a_new_feed_does_not_wait_for_the_long_poll(client: KafkaLog, at: Partition) -> None:
    collected = Collected()
    delays = []
    for partition in range(6):
        await client.follow(Partition(at.topic, partition), 0, collected)
        await asyncio.sleep(random.random() * 0.3)  # the others' long poll is under way
        written = time.perf_counter()
        offset = await client.append(at.topic, partition, None, b"v")
        await collected.reach(Partition(at.topic, partition), offset)
        delays.append(time.perf_counter() - written)
    assert sorted(delays)[3] < POLL_S / 3, delays  # a busy machine may delay some


def some_keys() -> Iterator[bytes]:
    """Keys of every length modulo 4, of any bytes, and some long ones."""
    chance = random.Random(42)
    for length in (*range(20), 255, 256, 1000, 10_000):
        yield from (chance.randbytes(length) for _ in range(4))
        yield from ("".join(chance.choices("aé€🦦\0", k=length)).encode() for _ in range(4))


async def test_a_producer_in_another_program_puts_each_key_where_we_look_for_it(
    client: KafkaLog, at: Partition, kafka_bootstrap: str
) -> None:
    places = {key: partition_for(key, 6) for key in some_keys()}
    assert len(places) > 150
    assert set(places.values()) == set(range(6))
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
    await producer.start()
    sent = await asyncio.gather(*[await producer.send(at.topic, b"v", key=key) for key in places])
    await producer.stop()
    assert [metadata.partition for metadata in sent] == list(places.values())
    for partition in range(6):
        found = await read_all(client, Partition(at.topic, partition))
        assert [record.key for record in found] == [key for key, place in places.items() if place == partition]


@pytest.mark.parametrize(
    ("key", "murmur2"),
    [  # org.apache.kafka.common.utils.Utils.murmur2 of kafka-clients 4.1.1; Java's bytes have signs
        (b"", 275646681),
        ("é".encode(), 186971271),
        ("日本語のキー".encode(), -734675706),
        ("🦦🦦".encode(), 731010412),
        ("ключ-42".encode(), -1352945481),
        (b"\xff\xfe\x80", -160726397),
        (bytes(number * 7 % 256 for number in range(1000)), 483719753),
    ],
)
def test_keys_that_are_not_ascii_are_where_java_puts_them(key: bytes, murmur2: int) -> None:
    for partitions in (1, 3, 6, 12):
        assert partition_for(key, partitions) == (murmur2 & 0x7FFFFFFF) % partitions


async def test_no_kafka_is_an_error_within_the_time_limit(unused_tcp_port: int) -> None:
    client = KafkaLog(f"127.0.0.1:{unused_tcp_port}", request_timeout_s=1)
    started = time.perf_counter()
    with pytest.raises(LogUnavailableError):
        await client.start()
    assert time.perf_counter() - started < 3
    await client.stop()


@pytest.mark.parametrize("end", [KafkaBroker.stop, KafkaBroker.kill])
async def test_a_broker_that_restarts_loses_nothing_and_is_found_again(
    own_kafka: KafkaBroker, end: Callable[[KafkaBroker], None]
) -> None:
    client = KafkaLog(own_kafka.bootstrap)
    await client.start()
    name = new_name()
    await client.create_topics([TopicSpec(name=name, partitions=2)], replication=1)
    tails = Tails(client)
    await tails.start()
    collected = Collected()
    acknowledged: list[int] = []
    stopping = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            try:
                acknowledged.append(await client.append(name, 0, b"k", b"%d" % number))
            except LogError:
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.002)

    async with tails.open(Partition(name, 0), 0) as tail, asyncio.timeout(90):
        await client.follow(Partition(name, 1), 0, collected)
        writer = asyncio.create_task(write())
        await asyncio.sleep(0.5)
        await asyncio.to_thread(end, own_kafka)
        await asyncio.to_thread(own_kafka.start)
        assert await client.append(name, 1, None, b"after") == 0
        await collected.reach(Partition(name, 1), 0)
        await asyncio.sleep(1)
        stopping.set()
        await writer
        got = [record.offset for record in await tail.look()]
        assert got == list(range(got[-1] + 1))
        assert acknowledged == [offset for offset in got if offset in set(acknowledged)]
        assert acknowledged[-1] == got[-1]
    await tails.stop()
    await client.stop()


async def test_appends_fail_in_time_while_kafka_is_away_and_work_again_later(own_kafka: KafkaBroker) -> None:
    client = KafkaLog(own_kafka.bootstrap, request_timeout_s=2, delivery_timeout_s=2)
    await client.start()
    name = new_name()
    await client.create_topics([TopicSpec(name=name, partitions=1)], replication=1)
    await client.append(name, 0, None, b"before")
    await asyncio.to_thread(own_kafka.stop)
    started = time.perf_counter()
    first, second = client.append(name, 0, None, b"1"), client.append(name, 0, None, b"2")
    for appended in (first, second):
        with pytest.raises(LogUnavailableError, match="did not answer in time"):
            await appended
    assert time.perf_counter() - started < 4
    with pytest.raises(LogUnavailableError):
        await client.bounds(Partition(name, 0))
    await asyncio.to_thread(own_kafka.start)
    async with asyncio.timeout(60):
        while True:
            try:
                await client.append(name, 0, None, b"after")
                break
            except LogUnavailableError:
                await asyncio.sleep(0.2)
    found = values(await read_all(client, Partition(name, 0)))
    assert found == [b"before", b"after"]  # the abandoned append was not written later
    await client.stop()


async def test_reads_that_a_quota_holds_back_come_late_and_are_no_refusals(own_kafka: KafkaBroker) -> None:
    """A broker answers a throttled fetch at once, and names no topic in its answer."""
    client = KafkaLog(own_kafka.bootstrap)
    await client.start()
    at = Partition(new_name(), 0)
    await client.create_topics([TopicSpec(name=at.topic, partitions=1)], replication=1)
    await asyncio.gather(*(client.append(*at, None, b"." * 50_000) for _ in range(40)))
    quota = ["--entity-type", "clients", "--entity-default", "--add-config", "consumer_byte_rate=200000"]
    alter = ["--bootstrap-server", own_kafka.bootstrap, "--alter", *quota]
    await asyncio.to_thread(own_kafka.tool, "kafka.admin.ConfigCommand", *alter)
    collected = Collected()
    async with asyncio.timeout(120):
        await client.follow(at, 0, collected)
        position = 0
        while position < 40:
            try:
                page = await client.read(at, position, limit=4)
            except LogUnavailableError:  # not within its time limit
                continue
            assert offsets(page) == list(range(position, position + len(page)))
            position += len(page)
        await collected.reach(at, 39)
    assert collected.offsets(at) == list(range(40))
    await client.stop()


class Rows:
    """A table that holds the rows read back so far."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []

    def apply_changelog_batch(self, batch: list[Any]) -> None:
        self.keys += [event.key for event in batch]


@pytest.mark.parametrize("committed", [True, False])
async def test_a_changelog_is_read_back_to_the_marker_of_a_transaction(
    client: KafkaLog, transactional: AIOKafkaProducer, committed: bool
) -> None:
    """A worker that waited for a record at the marker's offset would never be ready."""
    at = await changelog(client)
    await transactional.begin_transaction()
    await transactional.send_and_wait(at.topic, b"{}", key=b"other", partition=at.partition)
    hidden = (await client.bounds(at)).end
    assert await read_back(client, Rows(), TP(*at), after=-1, last=hidden) == hidden - 1
    await (transactional.commit_transaction() if committed else transactional.abort_transaction())
    async with asyncio.timeout(60):
        while (await client.bounds(at)).end < 3:  # the broker writes the marker a moment later
            await asyncio.sleep(0.02)
    rows = Rows()
    assert await read_back(client, rows, TP(*at), after=-1, last=2) == 2
    assert rows.keys == [b"first", *[b"other"] * committed]


async def test_a_changelog_is_read_back_to_a_batch_that_is_damaged(own_kafka: KafkaBroker) -> None:
    client = KafkaLog(own_kafka.bootstrap)
    await client.start()
    at, rows = await changelog(client), Rows()
    last = await client.append(*at, b"second", b"{}")
    damage_batch(own_kafka.partition(*at), 1, Damage(at=-5, bits=b"\xff"))
    assert await read_back(client, rows, TP(*at), after=-1, last=last) == last
    assert rows.keys == [b"first"]
    await client.stop()


async def changelog(client: KafkaLog) -> Partition:
    """A changelog with one row."""
    at = Partition(new_name(), 0)
    await client.create_topics([TopicSpec(name=at.topic, partitions=1, compacted=True)], replication=1)
    await client.append(*at, b"first", b"{}")
    return at
