"""Repairs of Faust's Kafka driver, so that no message is lost and no worker hangs.

Each repair stands alone, so that a test can leave it out: ``tests/contracts/test_repairs.py`` shows for each what
happens without it, and ``docs/repairs.md`` is the list, with the issues that the repairs answer.

A repair is a class over Faust's consumer that overrides one or two of its methods, and calls the next one by
``super()``. The driver's consumer (``driver.py``) has all of them as its bases, and none knows of another. A repair
never copies a method of Faust to change a line of it: what Faust does around the repaired place stays Faust's, and an
upgrade of Faust that mends the defect is seen by the test, which then fails.

Two ends of the same string are repaired. Of what is read: where reading begins after a rebalance (`SeekToStart`,
`SeekAgain`), which records a fetch takes and how long it waits (`OnlyWanted`, `ShortPolls`), whether the topics are
known and the group takes the worker (`KnownTopics`, `GroupRefusals`), and how a worker leaves (`WatchOwn`). Of what is
committed: only what was settled (`Settlement`, in a module of its own, since the embedded broker needs it, too), and
only after the table changes that stand for it (`TablesFirst`, with `Producer`).

The repairs reach into private attributes of Faust and aiokafka, each marked with ``noqa: SLF001``; both are pinned to a
minor version. Faust's consumer runs on the worker's event loop here (``one_loop.py``), not in a thread of its own, so
none of them needs a lock.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import aiokafka
from aiokafka.errors import IllegalStateError, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from faust.transport.producer import ProducerBuffer
from faust.types import TP, FutureMessage
from mode import Service

from weir.log.kafka.errors import log_error
from weir.log.kafka.one_loop import OneLoopConsumer
from weir.log.kafka.starting import until_connected
from weir.log.settlement import Settlement

__all__ = [
    "GroupRefusals",
    "KnownTopics",
    "OnlyWanted",
    "Producer",
    "SeekAgain",
    "SeekToStart",
    "Settlement",
    "ShortPolls",
    "TablesFirst",
    "WatchOwn",
]

logger = logging.getLogger(__name__)

KNOWN_S, KNOWN_PAUSE_S = 10.0, 0.1  # how long brokers may take to know a new topic, and between two questions
# between two questions to a group that refuses the worker, and between two log lines about it
ASK_AGAIN_S, LOG_S = 1.0, 10.0
FLUSH_S = 10.0  # how long a commit waits for table changes to reach the log; then it is tried again later
POLL_MS = 20  # longest wait of one fetch; an idle worker sends 50 fetches/s to a broker, about 1 % of a core


class KnownTopics(Consumer):
    """Subscribes to topics once the brokers know them.

    A changelog that was created a moment ago may be unknown to the broker that is asked. Faust's leader then assigns
    the partitions of all other topics ("Ignoring missing topic"), and aiokafka asks again after five minutes. Until
    then no change of that table can be written, and the table is not read back.
    """

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Wait until the brokers know the topics, within a limit: an absent one must not hold up the others."""
        wanted, thread = set(topics), self._thread
        await thread.call_thread(_await_known, thread._ensure_consumer()._client, wanted)  # noqa: SLF001
        await super().subscribe(wanted)


async def _await_known(client: Any, topics: set[str]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(KNOWN_S):
            await client.set_topics(topics)
            while not all(map(client.cluster.partitions_for_topic, topics)):
                await asyncio.sleep(KNOWN_PAUSE_S)
                await client.force_metadata_update()
    missing = [topic for topic in topics if not client.cluster.partitions_for_topic(topic)]
    if missing:
        logger.warning("subscribing without partitions of %s: no broker knows them", ", ".join(missing))


class GroupRefusals(Consumer):
    """Logs a refusal by the group's coordinator, and asks again.

    aiokafka keeps such an error (the Kafka user may not read the group) for the next call of its public methods, and
    does nothing more about the group until it was fetched. Faust reads records by other methods: a worker without the
    right would stay without partitions and log nothing, for ever.
    """

    @Service.task
    async def _log_refusals(self) -> None:
        logged_at = -LOG_S
        async for _ in self.itertimer(ASK_AGAIN_S):
            consumer = self._thread._consumer  # noqa: SLF001
            if consumer is None or consumer._closed or consumer._coordinator is None:  # noqa: SLF001 - still connecting
                continue
            try:
                consumer._coordinator.check_errors()  # noqa: SLF001
            except KafkaError as error:
                refusal = log_error(error, f"take part in the group {self.app.conf.id}")
            else:
                continue
            if (now := monotonic()) - logged_at >= LOG_S:
                logged_at = now
                self.log.error("%s. Asking again", refusal)


class SeekToStart(Consumer):
    """Goes back to the oldest record where no offset, or offset 0, is committed (robinhood/faust 604).

    aiokafka's ``seek_to_committed`` moves only to offsets above 0; other partitions stay where they are: behind the
    records that were delivered meanwhile, and Faust drops those with its queues. They are never seen again.

    Only with ``consumer_auto_offset_reset=earliest``; ``latest`` asks for the opposite. Changelogs are left alone:
    recovery seeks them itself.
    """

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek each partition to its committed offset, or to its start."""
        committed: Mapping[TP, int | None] = await super().seek_to_committed()
        fresh = [tp for tp, offset in committed.items() if not offset and not self._is_changelog_tp(tp)]
        if fresh and self.app.conf.consumer_auto_offset_reset == "earliest":
            await self.seek_wait(dict(await self.earliest_offsets(*fresh)))
        return committed  # type: ignore[return-value] # Faust's annotation forgets None


class SeekAgain(Consumer):
    """Lets a recovery whose partitions were revoked start again with the next ones (faust-streaming 44, 54).

    Faust expects an ``IllegalStateError`` where a rebalance has overtaken a seek. While no partition is assigned,
    aiokafka raises AssertionError instead, and the worker crashes.
    """

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek each partition to its committed offset."""
        with _nothing_assigned():
            return await super().seek_to_committed()

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Seek each partition to an offset."""
        with _nothing_assigned():
            await super().seek_wait(partitions)


@contextmanager
def _nothing_assigned() -> Iterator[None]:
    try:
        yield
    except AssertionError as error:
        raise IllegalStateError("no partitions are assigned") from error


class WatchOwn(Consumer):
    """Watches a partition for a flow that has stopped only while the consumer has it.

    Faust's watch takes the consumer's partitions once, and looks at one after the other. A worker that leaves its group
    meanwhile has no subscription any more: the watch raises AttributeError, and the worker ends with an error in the
    middle of its drain.
    """

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Log that nothing comes from a partition, or that nothing of it is settled."""
        if tp in self.assignment():
            super().verify_event_path(now, tp)


class _Wanted:
    """The partitions to hand out records of, evaluated again for each lookup.

    It is true even when no partition is wanted: aiokafka takes an empty set to mean every partition.
    """

    def __init__(self, consumer: Consumer, active: AbstractSet[TP]) -> None:
        self._consumer, self._active = consumer, active

    def __contains__(self, tp: object) -> bool:
        return self._consumer.flow_active and tp in self._active


class OnlyWanted(Consumer):
    """Takes nothing from a partition that is paused, nor from any while the flow is stopped.

    Faust hands its set of active partitions to aiokafka by reference, in a fetch that may wait for a second. A
    rebalance pauses all of them, the set is empty, and aiokafka takes that to mean every partition: the fetch takes
    records of any partition, moves the positions on, and Faust drops the records, because no partition is active
    (robinhood/faust 69). If that happens after table recovery has sought the start of a changelog, the records are
    never read again: the worker waits for them for ever.
    """

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109
        wanted: Any = None if active_partitions is None else _Wanted(self, active_partitions)
        return await super()._getmany(wanted, timeout)

    def resume_flow(self) -> None:
        """Hand out records again, first those that arrived meanwhile."""
        super().resume_flow()
        self._look_again()

    def on_buffer_drop(self, tp: TP) -> None:
        """Fetch again: a stream has room."""
        super().on_buffer_drop(tp)
        self._look_again()

    def _look_again(self) -> None:
        """End the wait of a fetch: wanted records may have arrived before their partition was wanted."""
        consumer = self._thread._consumer  # noqa: SLF001
        if consumer is not None and not self.should_stop:
            fetcher = consumer._fetcher  # noqa: SLF001
            self._thread.thread_loop.call_soon_threadsafe(_wake, fetcher)


def _wake(fetcher: Any) -> None:
    for waiter in list(fetcher._fetch_waiters):  # noqa: SLF001
        fetcher._notify(waiter)  # noqa: SLF001


class _WorkerThread(OneLoopConsumer):
    """Creates Faust's consumer with arguments for which Faust has constants, and no settings."""

    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = POLL_MS  # noqa: SLF001 - see ShortPolls
        # Clients may write in transactions, and aborted records must not be read. The log client does the same.
        consumer._isolation_level = "read_committed"  # noqa: SLF001
        return consumer

    async def on_start(self) -> None:
        """Connect, and try again while brokers come and go."""
        await until_connected(super().on_start, self._drop)

    async def _drop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()


class ShortPolls(Consumer):
    """Keeps one partition from waiting for another.

    aiokafka has one fetch under way for each broker. While the records of a partition wait to be handed over for more
    than 0.1 s, the next fetch leaves without that partition, and waits until one of the *others* has news, or until
    its longest wait is over. Faust sets that to 1.5 s, with no setting for it: with 64 clients, the median request
    waited 1.5 s to be read, on an idle machine.
    """

    def _new_consumer_thread(self) -> AIOKafkaConsumerThread:
        return _WorkerThread(self, loop=self.loop, beacon=self.beacon)


class Buffer(ProducerBuffer):
    """Faust's buffer of table changes, which also knows the changes that are not in the log yet.

    Faust's own counts the changes in its queue: not the one that is being sent, and not those that Kafka has not
    confirmed.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._unwritten: set[FutureMessage] = set()
        self.torn = False  # a table change failed to reach the log: nothing may be committed any more

    def put(self, fut: FutureMessage) -> None:
        """Send a table change, without waiting."""
        self._unwritten.add(fut)
        fut.add_done_callback(self._check)
        super().put(fut)

    def _check(self, fut: "asyncio.Future[Any]") -> None:
        """Stop the worker if a table change did not reach the log: no caller awaits it, and the table may not go on.

        The worker stops without committing; the next one recovers the table and gets the events again.
        """
        self._unwritten.discard(fut)
        error = None if fut.cancelled() else fut.exception()
        if error is not None and not self.torn:
            self.torn = True
            app: Any = self.app
            self.add_future(app.crash(error))

    async def written(self, within_s: float) -> bool:
        """Wait until every change so far is in the log; False if that does not happen, or not in time."""
        unwritten = set(self._unwritten)
        if unwritten:
            await asyncio.wait(unwritten, timeout=within_s)
        return not self.torn and not unwritten & self._unwritten


class Producer(driver.Producer):
    """Faust's producer with `Buffer`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.buffer = Buffer(loop=self.loop, beacon=self.beacon)
        self.buffer.app = self.app

    async def on_start(self) -> None:
        """Connect, and try again while brokers come and go."""
        await until_connected(super().on_start, self._drop)

    async def _drop(self) -> None:
        if self._producer is not None:
            await self._producer.stop()


class TablesFirst(Consumer):
    """Commits offsets only after the table changes made before are in the log. Needs `Producer`.

    Faust flushes its producer before a commit, but ``ProducerBuffer.flush`` gives up after 0.1 s, and a change that
    Kafka refused is only logged. A worker that dies then has committed a request whose table entry will never be
    written.
    """

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        producer: Any = self.app.producer
        if not await producer.buffer.written(FLUSH_S):
            self.log.warning("offsets are not committed yet: table changes are not in Kafka")
            return False
        return bool(await super()._commit(offsets))
