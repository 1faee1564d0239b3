"""The Kafka log client on a real Kafka: order, holes, the seams of following, restarts, refusals."""

import asyncio
import random
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from tests.services.kafka import KafkaBroker
from transports.kafka.client import KafkaLog
from transports.log import LogError, LogRefusedError, LogUnavailableError, Partition, Record, TopicSpec
from transports.tails import TailLimits, Tails

pytest_plugins = ["tests.services.fixtures"]
pytestmark = pytest.mark.kafka

Topic = Callable[..., Awaitable[str]]


@pytest.fixture
async def log(kafka_bootstrap: str) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(kafka_bootstrap, max_request_size=200_000, max_waiting_bytes=8 << 20)
    await log.start()
    yield log
    await log.stop()


@pytest.fixture
async def admin(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    yield admin
    await admin.close()


def new_name() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def at(log: KafkaLog) -> Partition:
    name = new_name()
    await log.create_topics([TopicSpec(name=name, partitions=6)], replication=1)
    return Partition(name, 2)


class Collected:
    """What a feed delivered, by partition."""

    def __init__(self) -> None:
        self.records: defaultdict[int, list[Record]] = defaultdict(list)
        self.at: dict[tuple[int, int], float] = {}

    def __call__(self, records: Sequence[Record], /) -> None:
        for record in records:
            self.records[record.partition].append(record)
            self.at[record.partition, record.offset] = time.perf_counter()

    def offsets(self, partition: int) -> list[int]:
        return [record.offset for record in self.records[partition]]

    async def reach(self, partition: int, offset: int, limit_s: float = 10) -> None:
        async with asyncio.timeout(limit_s):
            while not self.records[partition] or self.records[partition][-1].offset < offset:  # noqa: ASYNC110 - a test
                await asyncio.sleep(0.001)


async def read_all(log: KafkaLog, at: Partition, position: int = 0, limit: int = 500) -> list[Record]:
    found: list[Record] = []
    while page := await log.read(at, position, limit=limit):
        assert len(page) <= limit
        found += page
        position = page[-1].offset + 1
    return found


async def delete_before(admin: AIOKafkaAdminClient, at: Partition, offset: int) -> None:
    await admin.delete_records({TopicPartition(*at): RecordsToDelete(before_offset=offset)})


# -- append


async def test_a_record_comes_back_as_it_was_written(log: KafkaLog, at: Partition) -> None:
    before = time.time()
    assert await log.append(*at, b"key", b"value", [("name", b"content"), ("name", b"")]) == 0
    assert await log.append(*at, b"key", None) == 1
    assert await log.append(*at, None, b"") == 2
    first, tombstone, empty = await read_all(log, at)
    assert first[:3] == (at.topic, at.partition, 0)
    assert first[4:] == (b"key", b"value", (("name", b"content"), ("name", b"")))
    assert before - 0.01 <= first.timestamp <= time.time()
    assert (tombstone.key, tombstone.value, tombstone.headers) == (b"key", None, ())
    assert (empty.key, empty.value) == (None, b"")


async def test_appends_land_in_call_order_whoever_calls(log: KafkaLog, at: Partition) -> None:
    called: list[bytes] = []

    async def writer(name: int) -> None:
        for number in range(500):
            value = b"%d-%d" % (name, number)
            called.append(value)
            offset = log.append(*at, b"k", value + b"." * random.randint(0, 2000))
            if random.random() < 0.05:
                await offset
            elif random.random() < 0.1:
                await asyncio.sleep(0)

    await asyncio.gather(*(writer(name) for name in range(8)))
    assert await log.append(*at, b"k", b"last") == len(called)
    found = [(record.value or b"").rstrip(b".") for record in await read_all(log, at)]
    assert found == [*called, b"last"]


async def test_each_append_is_given_its_own_offset(log: KafkaLog, at: Partition) -> None:
    offsets = await asyncio.gather(*(log.append(*at, None, b"%d" % number) for number in range(3000)))
    assert offsets == list(range(3000))


async def test_what_its_caller_gave_up_before_it_left_is_not_written_and_disturbs_nobody(
    log: KafkaLog, at: Partition
) -> None:
    """A request that was refused with "not in time" must not be answered later all the same."""
    first, second, third = (asyncio.ensure_future(log.append(*at, None, b"%d" % n)) for n in range(3))
    second.cancel()
    assert (await first, await third) == (0, 1)
    assert [record.value for record in await read_all(log, at)] == [b"0", b"2"]


async def test_a_record_that_is_too_large_is_refused_alone(log: KafkaLog, at: Partition) -> None:
    large, small = log.append(*at, None, b"." * 250_000), log.append(*at, None, b".")
    with pytest.raises(LogRefusedError, match="limit is 200000"):
        await large
    assert await small == 0


async def test_a_batch_that_the_broker_refuses_costs_only_itself(
    log: KafkaLog, at: Partition, admin: AIOKafkaAdminClient
) -> None:
    """aiokafka leaves a gap in its sequence numbers then, and all later batches would be refused, too."""
    name = new_name()
    limited = NewTopic(name, 1, 1, topic_configs={"max.message.bytes": "1000"})
    await admin.create_topics([limited])
    with pytest.raises(LogRefusedError, match="MessageSizeTooLarge"):
        await log.append(name, 0, None, b"." * 5000)
    assert await log.append(name, 0, None, b".") == 0
    assert await log.append(*at, None, b".") == 0


async def test_what_does_not_fit_into_memory_is_refused_at_once(log: KafkaLog, at: Partition) -> None:
    appended = [log.append(*at, None, b"." * 100_000) for _ in range(200)]
    with pytest.raises(LogUnavailableError, match="does not keep up"):
        await appended[-1]
    assert await appended[0] == 0
    await asyncio.gather(*appended, return_exceptions=True)
    assert await log.append(*at, None, b".") > 0


async def test_an_unknown_topic_or_partition_is_refused(at: Partition, kafka_bootstrap: str) -> None:
    log = KafkaLog(kafka_bootstrap, request_timeout_s=1, delivery_timeout_s=3)
    await log.start()
    nowhere = Partition("no-such-topic", 0)
    with pytest.raises(LogRefusedError):
        await log.append(*nowhere, None, b"v")
    with pytest.raises(LogRefusedError):
        await log.append(at.topic, 6, None, b"v")
    for asked in (log.bounds(nowhere), log.read(nowhere, 0), log.follow(nowhere, 0, Collected())):
        with pytest.raises(LogRefusedError):
            await asked
    with pytest.raises(LogRefusedError):
        log.partitions("no-such-topic")
    await log.stop()


# -- topics


async def test_topics_are_created_once_with_their_settings(log: KafkaLog, admin: AIOKafkaAdminClient) -> None:
    kept, compacted = new_name(), new_name()
    specs = [
        TopicSpec(name=kept, partitions=3, retention_s=3600),
        TopicSpec(name=compacted, partitions=1, compacted=True),
    ]
    await log.create_topics(specs, replication=1)
    await log.create_topics([TopicSpec(name=kept, partitions=3, retention_s=7)], replication=1)
    assert (log.partitions(kept), log.partitions(compacted)) == (3, 1)
    assert await topic_settings(admin, kept) == {"retention.ms": "3600000", "cleanup.policy": "delete"}
    assert await topic_settings(admin, compacted) == {"retention.ms": "-1", "cleanup.policy": "compact"}


async def topic_settings(admin: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    settings = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    return {name: settings[name] for name in ("retention.ms", "cleanup.policy")}


async def test_workers_that_start_together_create_a_topic_once(kafka_bootstrap: str) -> None:
    workers = [KafkaLog(kafka_bootstrap) for _ in range(4)]
    await asyncio.gather(*(worker.start() for worker in workers))
    specs = [TopicSpec(name=new_name(), partitions=2) for _ in range(5)]
    await asyncio.gather(*(worker.create_topics(specs, replication=1) for worker in workers))
    assert {worker.partitions(spec.name) for worker in workers for spec in specs} == {2}
    await asyncio.gather(*(worker.stop() for worker in workers))


async def test_another_number_of_partitions_is_refused(log: KafkaLog, at: Partition) -> None:
    with pytest.raises(LogRefusedError, match=rf"{at.topic} has 6 partitions, but 8 are expected"):
        await log.create_topics([TopicSpec(name=at.topic, partitions=8)], replication=1)


async def test_more_copies_than_brokers_are_refused(log: KafkaLog, at: Partition) -> None:
    with pytest.raises(LogRefusedError, match=r"1 broker\(s\), but replication 3"):
        await log.create_topics([TopicSpec(name=new_name(), partitions=1)], replication=3)
    await log.create_topics([TopicSpec(name=at.topic, partitions=6)], replication=3)  # it is there already


# -- read


async def test_an_empty_partition_reads_as_empty_at_once(log: KafkaLog, at: Partition) -> None:
    started = time.perf_counter()
    assert await log.read(at, 0) == []
    assert await log.read(at, 7) == []
    assert await log.bounds(at) == (0, 0)
    assert time.perf_counter() - started < 0.5


async def test_pages_follow_on_each_other(log: KafkaLog, at: Partition) -> None:
    await asyncio.gather(*(log.append(*at, None, b"%d" % number) for number in range(1000)))
    assert [record.offset for record in await read_all(log, at, limit=7)] == list(range(1000))
    assert [record.offset for record in await log.read(at, 990)] == list(range(990, 1000))
    assert await log.read(at, 1000) == []
    assert await log.bounds(at) == (0, 1000)


async def test_a_position_before_the_log_reads_from_its_start(
    log: KafkaLog, at: Partition, admin: AIOKafkaAdminClient
) -> None:
    await asyncio.gather(*(log.append(*at, None, b"v") for _ in range(20)))
    await delete_before(admin, at, 12)
    assert await log.bounds(at) == (12, 20)
    assert [record.offset for record in await log.read(at, 3)] == list(range(12, 20))
    await delete_before(admin, at, 20)
    assert await log.read(at, 3) == []


async def test_a_time_is_found(log: KafkaLog, at: Partition) -> None:
    assert await log.offset_at(at, 0.0) == 0
    for _ in range(3):
        await log.append(*at, None, b"v")
        await asyncio.sleep(0.01)
    second = (await log.read(at, 1))[0]
    assert await log.offset_at(at, 0.0) == 0
    assert await log.offset_at(at, second.timestamp) == 1
    assert await log.offset_at(at, second.timestamp + 60) == 3


async def test_markers_of_transactions_are_passed_over(log: KafkaLog, at: Partition, kafka_bootstrap: str) -> None:
    """A marker takes an offset that holds no record; the last one stands at the log's end."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap, transactional_id=new_name())
    await producer.start()
    collected = Collected()
    await log.follow(at, 0, collected)
    for committed in (True, False):
        await producer.begin_transaction()
        await producer.send_and_wait(at.topic, b"v", partition=at.partition)
        await (producer.commit_transaction() if committed else producer.abort_transaction())
    await producer.stop()
    assert [record.offset for record in await read_all(log, at)] == [0, 2]
    assert await log.read(at, 3) == []
    assert await log.append(*at, None, b"v") == 4
    assert [record.offset for record in await read_all(log, at)] == [0, 2, 4]
    await collected.reach(at.partition, 4)
    assert collected.offsets(at.partition) == [0, 2, 4]


async def test_holes_of_compaction_are_passed_over(log: KafkaLog, admin: AIOKafkaAdminClient) -> None:
    name = new_name()
    settings = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    settings |= {"max.compaction.lag.ms": "200", "delete.retention.ms": "0", "min.compaction.lag.ms": "0"}
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs=settings)])
    at = Partition(name, 0)
    for number in range(300):
        await log.append(*at, b"%d" % (number % 3), b"%d" % number)
    found, before = await read_all(log, at), -1
    async with asyncio.timeout(30):
        while len(found) > 200 or len(found) != before:  # the cleaner comes in rounds
            before = len(found)
            await log.append(*at, b"roll", b"")  # a segment is closed by the next write
            await asyncio.sleep(2)
            found = await read_all(log, at)
    offsets = [record.offset for record in found]
    assert offsets == sorted(set(offsets))
    for position in (0, 1, 150, offsets[-2] + 1):
        expected = [offset for offset in offsets if offset >= position]
        again = [record.offset for record in await read_all(log, at, position, limit=2)]
        assert again == expected


# -- follow


async def test_a_feed_delivers_what_was_there_and_what_comes(log: KafkaLog, at: Partition) -> None:
    await asyncio.gather(*(log.append(*at, None, b"v") for _ in range(100)))
    collected = Collected()
    await log.follow(at, 40, collected)
    await collected.reach(at.partition, 99)
    await log.append(*at, None, b"v")
    await collected.reach(at.partition, 100)
    assert collected.offsets(at.partition) == list(range(40, 101))
    await log.unfollow(at)
    await log.append(*at, None, b"v")
    await asyncio.sleep(0.1)
    assert collected.offsets(at.partition)[-1] == 100


async def test_a_new_feed_does_not_wait_for_the_long_poll(log: KafkaLog, at: Partition) -> None:
    collected = Collected()
    delays = []
    for partition in range(6):
        await log.follow(Partition(at.topic, partition), 0, collected)
        await asyncio.sleep(random.random() * 0.3)  # the others' long poll is under way
        written = time.perf_counter()
        offset = await log.append(at.topic, partition, None, b"v")
        await collected.reach(partition, offset)
        delays.append(collected.at[partition, offset] - written)
    assert sorted(delays)[3] < 0.05
    assert max(delays) < 0.25


async def test_following_more_loses_and_delays_nothing(log: KafkaLog, at: Partition) -> None:
    collected = Collected()
    last: dict[int, int] = {}

    async def write(partition: int) -> None:
        for _ in range(400):
            last[partition] = await log.append(at.topic, partition, b"k", b"v" * 100)

    writers = [asyncio.create_task(write(partition)) for partition in range(6)]
    for partition in range(6):
        await log.follow(Partition(at.topic, partition), 0, collected)
        await asyncio.sleep(0.02)
    await asyncio.gather(*writers)
    for partition in range(6):
        await collected.reach(partition, last[partition])
        assert collected.offsets(partition) == list(range(400))


async def test_a_feed_that_retention_has_overtaken_goes_on_at_the_start(
    log: KafkaLog, at: Partition, admin: AIOKafkaAdminClient
) -> None:
    await asyncio.gather(*(log.append(*at, None, b"v") for _ in range(20)))
    await delete_before(admin, at, 15)
    collected = Collected()
    await log.follow(at, 3, collected)
    await collected.reach(at.partition, 19)
    assert collected.offsets(at.partition) == list(range(15, 20))


async def test_a_reader_that_raises_costs_the_others_nothing(log: KafkaLog, at: Partition) -> None:
    def broken(records: Sequence[Record], /) -> None:
        raise ValueError(f"no good: {len(records)}")

    collected = Collected()
    await log.follow(at, 0, broken)
    await log.follow(Partition(at.topic, 5), 0, collected)
    for _ in range(3):
        await log.append(*at, None, b"v")
        await collected.reach(5, await log.append(at.topic, 5, None, b"v"))


# -- tails


async def test_a_tail_gets_each_record_once_over_all_seams(log: KafkaLog, at: Partition) -> None:
    tails = Tails(log, TailLimits(ring_records=50, queue_records=20, page_records=30))
    await tails.start()
    keys = [b"a", b"b", b"c"]
    written: defaultdict[bytes, list[int]] = defaultdict(list)

    async def write() -> None:
        for number in range(1500):
            key = keys[number % 3]
            written[key].append(await log.append(*at, key, b"v"))

    async def read(key: bytes) -> list[int]:
        got: list[int] = []
        async with tails.open(at, 0, key) as tail:
            while len(got) < 500:
                got += [record.offset for record in await tail.next(timeout=5)]
                if random.random() < 0.05:
                    await asyncio.sleep(0.03)  # long enough to overflow the queue
            got += [record.offset for record in await tail.look()]
        return got

    async with asyncio.timeout(60):
        writer = asyncio.create_task(write())
        await asyncio.sleep(0.2)
        got = await asyncio.gather(*(read(key) for key in keys * 3))
        await writer
    for key, offsets in zip(keys * 3, got, strict=True):
        assert offsets == written[key]
    await tails.stop()


async def test_a_look_misses_nothing_that_was_acknowledged(log: KafkaLog, at: Partition) -> None:
    tails = Tails(log)
    await tails.start()
    async with tails.open(at, 0, b"k") as tail:
        for number in range(50):
            offset = await log.append(*at, b"k", b"v")
            assert [record.offset for record in await tail.look()] == [offset] == [number]
    await tails.stop()


# -- life


async def test_no_kafka_is_an_error_within_the_time_limit(unused_tcp_port: int) -> None:
    log = KafkaLog(f"127.0.0.1:{unused_tcp_port}", request_timeout_s=1)
    started = time.perf_counter()
    with pytest.raises(LogUnavailableError):
        await log.start()
    assert time.perf_counter() - started < 3
    await log.stop()


async def test_stop_flushes_what_was_appended(kafka_bootstrap: str, log: KafkaLog, at: Partition) -> None:
    other = KafkaLog(kafka_bootstrap)
    await other.start()
    appended = [other.append(*at, None, b"v") for _ in range(2000)]
    await other.stop()
    assert await asyncio.gather(*appended) == list(range(2000))
    assert (await log.bounds(at)).end == 2000
    with pytest.raises(LogUnavailableError):
        await other.bounds(at)


@pytest.mark.parametrize("end", [KafkaBroker.stop, KafkaBroker.kill])
async def test_a_broker_that_restarts_loses_nothing_and_is_found_again(
    own_kafka: KafkaBroker, end: Callable[[KafkaBroker], None]
) -> None:
    log = KafkaLog(own_kafka.bootstrap)
    await log.start()
    name = new_name()
    await log.create_topics([TopicSpec(name=name, partitions=2)], replication=1)
    tails = Tails(log)
    await tails.start()
    collected = Collected()
    acknowledged: list[int] = []
    stopping = asyncio.Event()

    async def write() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            try:
                acknowledged.append(await log.append(name, 0, b"k", b"%d" % number))
            except LogError:
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.002)

    async with tails.open(Partition(name, 0), 0) as tail, asyncio.timeout(90):
        await log.follow(Partition(name, 1), 0, collected)
        writer = asyncio.create_task(write())
        await asyncio.sleep(0.5)
        await asyncio.to_thread(end, own_kafka)
        await asyncio.to_thread(own_kafka.start)
        assert await log.append(name, 1, None, b"after") == 0
        await collected.reach(1, 0)
        await asyncio.sleep(1)
        stopping.set()
        await writer
        got = [record.offset for record in await tail.look()]
        assert got == list(range(got[-1] + 1))
        assert acknowledged == [offset for offset in got if offset in set(acknowledged)]
        assert acknowledged[-1] == got[-1]
    await tails.stop()
    await log.stop()


async def test_appends_fail_in_time_while_kafka_is_away_and_work_again_later(own_kafka: KafkaBroker) -> None:
    log = KafkaLog(own_kafka.bootstrap, request_timeout_s=2, delivery_timeout_s=2)
    await log.start()
    name = new_name()
    await log.create_topics([TopicSpec(name=name, partitions=1)], replication=1)
    await log.append(name, 0, None, b"before")
    await asyncio.to_thread(own_kafka.stop)
    started = time.perf_counter()
    first, second = log.append(name, 0, None, b"1"), log.append(name, 0, None, b"2")
    for appended in (first, second):
        with pytest.raises(LogUnavailableError, match="did not answer in time"):
            await appended
    assert time.perf_counter() - started < 4
    with pytest.raises(LogUnavailableError):
        await log.bounds(Partition(name, 0))
    await asyncio.to_thread(own_kafka.start)
    async with asyncio.timeout(30):
        while True:
            try:
                await log.append(name, 0, None, b"after")
                break
            except LogUnavailableError:
                await asyncio.sleep(0.2)
    values = [record.value for record in await read_all(log, Partition(name, 0))]
    assert values == [b"before", b"after"]  # what was given up was not written later
    await log.stop()
