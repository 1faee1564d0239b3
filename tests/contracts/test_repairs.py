"""Shows the need for each repair of Faust: the same steps with Weir's driver, without the repair, and with stock Faust.

A test whose steps do no harm without the repair would keep a repair alive that is not needed. The list, with Faust's
issues, is ``docs/repairs.md``.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.cluster import ClusterMetadata
from faust.tables.manager import TableManager as StockTables

from tests.contracts.engines import LIMIT_S, STOCK, Embedded, Kafka, Worker, numbers, without
from tests.contracts.logs import until
from tests.services.kafka import KafkaBroker
from tests.services.segments import Damage, damage_batch
from weir.log import changelogs, recovery
from weir.log.kafka.readable import Readable
from weir.log.kafka.repairs import (
    KnownTopics,
    OnlyWanted,
    SeekAgain,
    SeekToStart,
    Settlement,
    ShortPolls,
    TablesFirst,
    WatchOwn,
)
from weir.log.log import Partition, Record, TopicSpec
from weir.log.partitioner import partition_for

pytestmark = [
    # Warnings of Faust 0.15.3 and its dependencies on Python 3.11; none is about Weir's code.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

OURS: dict[str, Any] = {}
STOCK_TABLES: dict[str, Any] = {"TableManager": StockTables}
LONG_S = 0.8  # half of the longest wait that Faust gives a fetch
RARELY: dict[str, Any] = {"broker_commit_interval": 60.0}  # so that only the test commits
# an event that has not happened by then is taken never to happen; where it does, a tenth of that is enough
NEVER_S = 2.0


def with_and_without(*repair: type) -> pytest.MarkDecorator:
    """Run with Weir's driver (``ours``), with it but without the repair, and with stock Faust."""
    cases = [
        pytest.param(OURS, True, id="ours"),
        pytest.param(without(*repair), False, id="without"),
        pytest.param(STOCK, False, id="stock"),
    ]
    return pytest.mark.parametrize(("driver", "repaired"), cases)


def ours_and_stock(stock: dict[str, Any]) -> pytest.MarkDecorator:
    """Run with Weir's driver, and with stock Faust."""
    cases = [pytest.param(OURS, True, id="ours"), pytest.param(stock, False, id="stock")]
    return pytest.mark.parametrize(("driver", "repaired"), cases)


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[Embedded]:
    """The embedded log, for repairs that both brokers share."""
    stage = Embedded(str(tmp_path / "log.db"), tmp_path)
    await stage.open()
    yield stage
    await stage.close()


@pytest.fixture
async def kafka(kafka_bootstrap: str, tmp_path: Path) -> AsyncIterator[Kafka]:
    stage = Kafka(kafka_bootstrap, tmp_path)
    await stage.open()
    yield stage
    await stage.close()


async def happens(event: asyncio.Event, *, expected: bool) -> bool:
    """Whether the event is set; an expected one gets the time that a busy machine may take."""
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), LIMIT_S if expected else NEVER_S)
    return event.is_set()


# -- reading


@pytest.mark.kafka
@with_and_without(Readable)
async def test_a_batch_that_cannot_be_read_does_not_end_the_worker(
    own_kafka: KafkaBroker, tmp_path: Path, driver: dict[str, Any], *, repaired: bool
) -> None:
    stage = Kafka(own_kafka.bootstrap, tmp_path)
    await stage.open()
    for value in numbers(0, 3):  # each one is a batch
        await stage.write(value)
    damage_batch(own_kafka.partition(stage.topic, 0), 1, Damage(at=-2, bits=b"\xff"))
    worker, got = Worker(stage, **driver), asyncio.Event()
    async with worker.running():

        async def wait() -> None:
            await until(lambda: worker.values == [b"0", b"2"], within_s=LIMIT_S)
            got.set()

        waiting = asyncio.create_task(wait())
        assert await happens(got, expected=repaired) == repaired
        assert worker.app.should_stop != repaired, "a worker without the repair ends"
        waiting.cancel()
    await stage.close()


# -- commits


@pytest.mark.kafka
@with_and_without(Settlement)
async def test_a_commit_stops_at_the_first_message_in_flight(
    kafka: Kafka, driver: dict[str, Any], *, repaired: bool
) -> None:
    async with Worker(kafka, **RARELY, **driver).running() as worker:
        await kafka.write(*numbers(0, 8))
        await worker.receive(8)
        worker.ack(b"5")
        await worker.app.consumer.commit()
        assert await kafka.committed() == (None if repaired else 6)


@pytest.mark.kafka
@with_and_without(Settlement)
async def test_a_message_behind_a_hole_in_the_log_is_not_settled_by_the_hole(
    kafka: Kafka, driver: dict[str, Any], *, repaired: bool
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.address, transactional_id=kafka.name)
    await producer.start()
    async with producer.transaction():  # its end takes an offset: 2
        for value in numbers(0, 2):
            await producer.send_and_wait(kafka.topic, value, partition=0)
    await producer.stop()
    async with asyncio.timeout(LIMIT_S):
        while (await kafka.log.bounds(Partition(kafka.topic, 0))).end < 3:  # a moment later
            await asyncio.sleep(0.02)
    await kafka.write(b"3", b"4")
    async with Worker(kafka, **RARELY, **driver).running() as worker:
        await worker.receive(4)
        worker.ack(b"0", b"1", b"4")
        await worker.app.consumer.commit()
        assert await kafka.committed() == (3 if repaired else 5)


@pytest.mark.kafka
@with_and_without(Settlement)
async def test_an_acknowledgement_from_before_a_rebalance_settles_nothing(
    kafka: Kafka, driver: dict[str, Any], *, repaired: bool
) -> None:
    async with Worker(kafka, **RARELY, **driver).running() as worker:
        await kafka.write(b"a")
        await worker.receive(1)
        await kafka.rebalance(worker)
        await worker.receive(2)
        before, _ = worker.events
        before.ack()
        await worker.app.consumer.commit()
        assert await kafka.committed() == (None if repaired else 1)


@pytest.mark.kafka
@with_and_without(Settlement)
async def test_a_commit_that_failed_is_tried_again(kafka: Kafka, driver: dict[str, Any], *, repaired: bool) -> None:
    async with Worker(kafka, **RARELY, **driver).running() as worker:
        await kafka.write(b"a")
        await worker.receive(1)
        worker.ack(b"a")
        consumer = worker.app.consumer
        commit, consumer._thread.commit = consumer._thread.commit, _refuse
        assert not await consumer.commit()
        consumer._thread.commit = commit
        await consumer.commit()
        assert await kafka.committed() == (1 if repaired else None)


async def _refuse(_: Any) -> bool:
    return False


@pytest.mark.kafka
@ours_and_stock({"automatic": True, **STOCK})
async def test_an_event_whose_agent_was_cancelled_is_not_acknowledged(
    kafka: Kafka, driver: dict[str, Any], *, repaired: bool
) -> None:
    worker = Worker(kafka, **driver)
    worker.gate.clear()
    async with worker.running():
        await kafka.write(b"a")
        await worker.receive(1)
    assert await kafka.committed() == (None if repaired else 1)


@pytest.mark.kafka
@with_and_without(TablesFirst)
async def test_no_offset_is_committed_before_the_table_change_that_it_stands_for(
    kafka: Kafka, driver: dict[str, Any], *, repaired: bool
) -> None:
    """Kafka takes no changes for longer than Faust waits: a worker that died now would lose one for good."""
    async with Worker(kafka, writes=True, **RARELY, **driver).running() as worker:
        producer = worker.app.producer
        send, free = producer.send, asyncio.Event()

        async def hold(*args: Any, **kwargs: Any) -> Any:
            await free.wait()
            return await send(*args, **kwargs)

        producer.send = hold
        await kafka.write(b"v")
        await worker.receive(1)
        worker.ack(b"v")
        commit = asyncio.create_task(worker.app.consumer.commit())
        await asyncio.wait([commit], timeout=1.0)
        assert await kafka.changes(0) == []
        assert await kafka.committed() == (None if repaired else 1)
        free.set()
        await commit
        if repaired:
            assert [change.value for change in await kafka.changes(0)] == [b"v"]
            assert await kafka.committed() == 1


@pytest.mark.kafka
@ours_and_stock(STOCK)
async def test_a_table_change_that_kafka_refuses_is_not_skipped(
    kafka: Kafka, driver: dict[str, Any], *, repaired: bool
) -> None:
    """Faust logs it, and goes on with a table that its changelog does not know."""
    worker = Worker(kafka, writes=True, acks=True, **driver)
    async with worker.running():
        await kafka.refuse_changes(worker)
        await kafka.write(bytes(5000))
        if repaired:
            await until(lambda: worker.app.crashed, within_s=LIMIT_S)
        else:
            await kafka.commits(1)
    assert await kafka.committed() == (None if repaired else 1)
    assert await kafka.changes(0) == []


# -- seeks


@pytest.mark.kafka
@with_and_without(SeekToStart)
async def test_what_was_delivered_before_a_seek_comes_again_though_nothing_is_committed(
    kafka: Kafka, driver: dict[str, Any], *, repaired: bool
) -> None:
    """Recovery lets messages flow, then seeks, then clears the queues; the agent is busy with the first message."""
    async with Worker(kafka, **driver).running() as worker:
        consumer, seek = worker.app.consumer, worker.app.consumer.perform_seek
        worker.gate.clear()
        await kafka.write(*numbers(0, 8))
        await worker.receive(1)

        async def late() -> None:
            await delivered(worker, 7)  # Faust has lost them before that
            await seek()

        consumer.perform_seek = late
        await rebalance(kafka, worker)
        assert (await seen(kafka, worker) == set(numbers(0, 9))) is repaired


@pytest.mark.kafka
@with_and_without(Settlement)
async def test_nothing_is_delivered_between_a_seek_and_the_clearing_of_the_queues(
    kafka: Kafka, driver: dict[str, Any], *, repaired: bool
) -> None:
    async with Worker(kafka, **driver).running() as worker:
        consumer, seek = worker.app.consumer, worker.app.consumer.perform_seek
        worker.gate.clear()
        await kafka.write(*numbers(0, 8))
        await worker.receive(1)

        async def early() -> None:
            await seek()
            await delivered(worker, 7, within_s=0.5 if repaired else 3.0)

        consumer.perform_seek = early
        await rebalance(kafka, worker)
        assert (await seen(kafka, worker) == set(numbers(0, 9))) is repaired


async def delivered(worker: Worker, offset: int, *, within_s: float = 3.0) -> None:
    """Wait until a message is in the queue of the agent, or until the time is over."""
    with suppress(TimeoutError):
        await until(lambda: offset in worker.app.consumer._read_offset.values(), within_s=within_s)


async def rebalance(kafka: Kafka, worker: Worker) -> None:
    """Make a whole rebalance."""
    generation = worker.app.consumer_generation_id
    await kafka.rebalance(worker)
    await worker.rebalanced(generation)


async def seen(kafka: Kafka, worker: Worker) -> set[bytes]:
    """The values that the agent received in the end; the last message always arrives."""
    worker.gate.set()
    await kafka.write(b"8")
    await until(lambda: b"8" in worker.values, within_s=LIMIT_S)
    return set(worker.values)


@pytest.mark.kafka
@with_and_without(SeekAgain)
async def test_a_seek_that_a_rebalance_overtakes_begins_again(
    kafka: Kafka, driver: dict[str, Any], *, repaired: bool
) -> None:
    worker = Worker(kafka, **driver)
    consumer = worker.app.consumer
    seek, revoke, sought = consumer.perform_seek, consumer.on_partitions_revoked, asyncio.Event()

    async def overtaken() -> None:
        consumer.perform_seek, consumer.on_partitions_revoked = seek, later
        await consumer.subscribe({tp.topic for tp in consumer.assignment()})
        asyncio.get_running_loop().call_later(0.3, sought.set)
        await seek()

    async def later(revoked: Any) -> None:
        await sought.wait()
        await revoke(revoked)

    consumer.perform_seek = overtaken
    async with worker.running(ready=False):
        await until(lambda: worker.recovery.completed.is_set() or worker.app.crashed, within_s=LIMIT_S)
        assert worker.app.crashed is not repaired


# -- subscriptions


@pytest.mark.kafka
@with_and_without(KnownTopics)
async def test_a_topic_that_is_news_to_the_brokers_is_waited_for(
    kafka: Kafka, driver: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *, repaired: bool
) -> None:
    """The first answer about the changelog says, to each client, that there is no such topic."""
    told = set[int]()
    update = ClusterMetadata.update_metadata

    def late(self: Any, metadata: Any) -> None:
        names = {topic[1] for topic in metadata.topics}
        if kafka.changelog in names and id(self) not in told:
            told.add(id(self))
            unknown = [(3, *topic[1:3], []) if topic[1] == kafka.changelog else topic for topic in metadata.topics]
            metadata.topics[:] = unknown
        update(self, metadata)

    monkeypatch.setattr(ClusterMetadata, "update_metadata", late)
    async with Worker(kafka, writes=True, acks=True, **driver).running() as worker:
        given = {tp.topic for tp in worker.app.consumer.assignment()}
        assert given == ({kafka.topic, kafka.changelog} if repaired else {kafka.topic})


# -- fetches


@pytest.mark.kafka
@with_and_without(OnlyWanted)
async def test_a_fetch_from_before_a_rebalance_takes_nothing_from_table_recovery(
    kafka: Kafka, driver: dict[str, Any], *, repaired: bool
) -> None:
    """The hang seen on live workers, in slow motion.

    A fetch is under way when the partitions are assigned anew; the changelog's records come after recovery has sought
    its start and before it lets messages flow. Faust's fetch takes them, and Faust drops them.
    """
    async with Worker(kafka, writes=True, acks=True, **driver).running() as worker:
        await kafka.write(*numbers(0, 4))
        await kafka.commits(4)
        slow = _SlowRebalance(worker)
        await slow.fetching.wait()
        worker.recovery.completed.clear()
        await kafka.rebalance(worker)
        if repaired:
            await asyncio.wait_for(worker.recovery.completed.wait(), LIMIT_S)
        else:
            await slow.sought.wait()
            assert not await happens(worker.recovery.completed, expected=False)
            assert worker.recovery.need_recovery()


class _SlowRebalance:
    """Stretches the moment in which a fetch may take what recovery waits for."""

    def __init__(self, worker: Worker) -> None:
        self.fetching, self.fetched, self.sought = asyncio.Event(), asyncio.Event(), asyncio.Event()
        consumer = worker.app.consumer
        fetcher: Any = consumer._thread._consumer._fetcher
        self._getmany, consumer._getmany = consumer._getmany, self.getmany
        self._answer, fetcher._proc_fetch_request = fetcher._proc_fetch_request, self.answer
        recovery: Any = worker.recovery
        self._seek, recovery._seek_offsets = recovery._seek_offsets, self.seek

    async def getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ARG002, ASYNC109
        self.fetching.set()
        found = await self._getmany(active_partitions, LIMIT_S)  # instead of a second
        self.fetched.set()
        return found

    async def answer(self, *args: Any) -> Any:
        """The broker's answer; in the consumer's thread."""
        while not self.sought.is_set():
            await asyncio.sleep(0.01)
        return await self._answer(*args)

    async def seek(self, *args: Any) -> None:
        await self._seek(*args)
        self.sought.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.fetched.wait(), 0.5)


@pytest.mark.kafka
@with_and_without(ShortPolls)
async def test_a_record_does_not_wait_for_idle_partitions(
    kafka: Kafka, driver: dict[str, Any], *, repaired: bool
) -> None:
    """Records wait a moment to be handed over, as behind a busy event loop; another record comes right after."""
    async with Worker(kafka, acks=True, **driver).running() as worker:
        consumer = worker.app.consumer
        busy = asyncio.Event()
        getmany = consumer._getmany

        async def when_free(active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109
            await busy.wait()
            return await getmany(active_partitions, timeout)

        consumer._getmany = when_free
        waited_s: list[float] = []
        while len(waited_s) < 3 and max(waited_s, default=0.0) < LONG_S:
            busy.clear()
            known = len(worker.events)
            await kafka.write(b"first")  # taken by the fetch that is under way
            await worker.receive(known + 1)
            await kafka.write(b"second")  # fetched, and not handed over
            await asyncio.sleep(0.4)
            busy.set()
            await worker.receive(known + 2)
            await kafka.write(b"third")
            written_at = monotonic()
            await worker.receive(known + 3)
            waited_s.append(monotonic() - written_at)
            await asyncio.sleep(0.1)
        assert (min(waited_s) < LONG_S / 2) is repaired
        assert (max(waited_s) >= LONG_S) is not repaired


@pytest.mark.kafka
@ours_and_stock({"broker_max_poll_interval": 1.0})
async def test_a_worker_that_is_full_for_long_stays_in_its_group(
    kafka: Kafka, driver: dict[str, Any], *, repaired: bool
) -> None:
    """Faust's default is 1000 s; here it is one."""
    worker = Worker(kafka, **driver)
    async with worker.running():
        worker.gate.clear()
        await asyncio.gather(*(kafka.write(*numbers(0, 200), partition=partition) for partition in (0, 1)))
        await until(lambda: not worker.app.consumer._active_partitions, within_s=LIMIT_S)
        if repaired:
            await asyncio.sleep(3.0)  # a fetch that is under way, Faust's limit, and a heartbeat
        else:
            await until(lambda: worker.app.consumer._thread._consumer._coordinator.generation < 0, within_s=LIMIT_S)
        worker.gate.set()
        await kafka.write(b"last")
        last = asyncio.create_task(until(lambda: b"last" in worker.values, within_s=LIMIT_S))
        await asyncio.wait([last], timeout=LIMIT_S if repaired else NEVER_S)
        assert (last.done() and last.exception() is None) is repaired
        last.cancel()


# -- table recovery


@ours_and_stock(STOCK_TABLES)
async def test_the_end_of_table_recovery_cannot_be_missed(
    file: Embedded, driver: dict[str, Any], *, repaired: bool
) -> None:
    async with Worker(file, writes=True, acks=True).running():
        await file.write(b"v")
        await file.commits(1)
    worker = Worker(file, "again", **driver)
    about_to_wait = worker.wait_late()
    async with worker.running(ready=False):
        await about_to_wait.wait()
        assert await happens(worker.recovery.completed, expected=repaired) is repaired


@ours_and_stock(STOCK_TABLES)
async def test_a_step_of_table_recovery_that_takes_too_long_is_not_its_end(
    file: Embedded, driver: dict[str, Any], *, repaired: bool
) -> None:
    """The broker does not answer in time, once. Faust's recovery ends, and no rebalance starts it again."""
    worker = Worker(file, broker_request_timeout=0.3, **driver)
    consumer = worker.app.consumer
    highwaters = consumer.highwaters

    async def silent(*_: Any) -> Any:
        consumer.highwaters = highwaters
        await asyncio.sleep(LIMIT_S)

    consumer.highwaters = silent
    async with worker.running(ready=False):
        if repaired:
            await asyncio.wait_for(worker.recovery.completed.wait(), LIMIT_S)
        else:
            await asyncio.sleep(1.0)
            await file.rebalance(worker)
            assert not await happens(worker.recovery.completed, expected=False)


async def test_a_table_that_takes_longer_to_read_than_a_request_may_take_is_read_all_the_same(
    file: Embedded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is read in pages, here of one change each, and the limit of other steps does not apply."""
    monkeypatch.setattr(changelogs, "PAGE", 1)
    async with Worker(file, writes=True, acks=True).running():
        await file.write(*numbers(0, 8))
        await file.commits(8)
    worker = Worker(file, "again", broker_request_timeout=0.3)
    read, pages = file.log.read, []

    async def slow(at: Partition, position: int, *, limit: int = 500) -> list[Record]:
        await asyncio.sleep(0.1)
        pages.append(position)
        return await read(at, position, limit=limit)

    monkeypatch.setattr(file.log, "read", slow)
    worker.app.log_client = file.log
    async with worker.running():
        assert worker.state == {b"k": b"7"}
        assert pages == list(range(8))


@ours_and_stock(STOCK_TABLES)
async def test_a_table_recovery_ends_where_its_partitions_are_revoked(
    file: Embedded, driver: dict[str, Any], *, repaired: bool
) -> None:
    """Faust's recovery goes on, lets messages flow in the middle of the rebalance, and reports the worker as ready."""
    worker = Worker(file, **driver)
    consumer = worker.app.consumer
    asked, answer = asyncio.Event(), asyncio.Event()
    highwaters = consumer.highwaters

    async def slow(*tps: Any) -> Any:
        asked.set()
        await answer.wait()
        return await highwaters(*tps)

    consumer.highwaters = slow
    async with worker.running(ready=False):
        await asked.wait()
        worker.app.on_rebalance_start()
        await consumer.on_partitions_revoked(consumer.assignment())
        answer.set()
        assert await happens(worker.recovery.completed, expected=not repaired) is not repaired
        assert worker.app.rebalancing is repaired
        assert consumer.flow_active is not repaired
        await file.rebalance(worker)
        await asyncio.wait_for(worker.recovery.completed.wait(), LIMIT_S)


@ours_and_stock(STOCK_TABLES)
async def test_a_table_recovery_that_gets_no_records_begins_again(
    file: Embedded, driver: dict[str, Any], monkeypatch: pytest.MonkeyPatch, *, repaired: bool
) -> None:
    """Here the records stop because the flow was stopped once."""
    monkeypatch.setattr(recovery, "STALLED_S", 0.5)
    async with Worker(file, writes=True, acks=True).running():
        await file.write(b"v")
        await file.commits(1)
    worker = Worker(file, "again", **driver)
    consumer = worker.app.consumer
    resume = consumer.resume_flow

    def lost() -> None:
        consumer.resume_flow = resume
        consumer.stop_flow()

    consumer.resume_flow = lost
    async with worker.running(ready=False):
        assert await happens(worker.recovery.completed, expected=repaired) is repaired
        assert worker.state == ({b"k": b"v"} if repaired else {})


@ours_and_stock({"types": int})
async def test_a_table_of_bytes_recovers_from_any_changelog(
    file: Embedded, driver: dict[str, Any], *, repaired: bool
) -> None:
    """Types with a codec wait for ever for the record that they cannot decode."""
    await file.log.create_topics([TopicSpec(name=file.changelog, partitions=2, compacted=True)], replication=1)
    await file.log.append(file.changelog, 0, b"\xff", b"{")
    worker = Worker(file, **driver)
    async with worker.running(ready=False):
        assert await happens(worker.recovery.completed, expected=repaired) is repaired
        if repaired:
            assert worker.state == {b"\xff": b"{"}


# -- leaving


@pytest.mark.kafka
@with_and_without(WatchOwn)
async def test_a_worker_may_leave_its_group_while_its_partitions_are_watched(
    kafka: Kafka, driver: dict[str, Any], *, repaired: bool
) -> None:
    async with Worker(kafka, **driver).running() as worker:
        consumer, thread = worker.app.consumer, worker.app.consumer._thread
        sleep, left = consumer.sleep, consumer.assignment()
        assert left

        async def leave(seconds: float) -> None:
            thread.thread_loop.call_soon_threadsafe(thread._consumer._subscription.unsubscribe)
            await until(lambda: not consumer.assignment(), within_s=LIMIT_S)
            consumer.sleep = sleep
            await sleep(seconds)

        consumer.sleep = leave  # between two partitions
        with nullcontext() if repaired else pytest.raises(AttributeError):
            await consumer.verify_all_partitions_active()
        assert not consumer.assignment()


# -- settings


@ours_and_stock({"stream_wait_empty": True})
async def test_a_rebalance_does_not_wait_for_calls_in_flight(
    file: Embedded, driver: dict[str, Any], *, repaired: bool
) -> None:
    async with Worker(file, **driver).running() as worker:
        await file.write(b"a")
        await worker.receive(1)
        generation = worker.app.consumer_generation_id
        await file.rebalance(worker)
        over = asyncio.create_task(worker.rebalanced(generation))
        await asyncio.wait([over], timeout=LIMIT_S if repaired else NEVER_S)
        assert over.done() is repaired
        worker.ack(b"a")
        await over
        await worker.receive(2)
        worker.ack(b"a")  # or it would wait for this one when it stops


@ours_and_stock({"types": str})
async def test_the_owner_of_a_table_key_is_the_owner_of_the_records_with_that_key(
    file: Embedded, driver: dict[str, Any], *, repaired: bool
) -> None:
    """Faust looks for the JSON of a string, which has another hash than the string that is a record's key."""
    async with Worker(file, **driver).running() as worker:
        router, producer = worker.app.router, worker.app.producer

        def owner(name: str) -> int:
            key = router._get_serialized_key(worker.table, name.encode() if repaired else name)
            return int(producer.key_partition(file.changelog, key).partition)

        names = [f"key {number}" for number in range(50)]
        right = [owner(name) == partition_for(name.encode(), 2) for name in names]
        assert all(right) is repaired


@pytest.mark.kafka
async def test_faust_does_not_create_a_topic_that_is_only_sent_to(kafka: Kafka) -> None:
    """So all topics are created at start, by the log client (`app.outside.Outside`)."""
    spec = TopicSpec(name=f"{kafka.name}-out", partitions=2)
    worker = Worker(kafka)
    worker.app.topic(spec.name, partitions=2, internal=True)
    async with worker.running():
        assert spec.name not in await kafka.topics()
        await kafka.log.create_topics([spec], replication=1)
        assert spec.name in await kafka.topics()
