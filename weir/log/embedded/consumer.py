"""Faust's consumer on a log file: a consumer group of one, which owns every partition of every subscribed topic."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.transport.consumer import ensure_TP
from faust.types import TP, ConsumerMessage
from mode import Service

from weir.log.embedded.file import LogFile
from weir.log.embedded.file_transport import FileTransport
from weir.log.embedded.upkeep import Upkeep
from weir.log.embedded.watches import GrowthWatch
from weir.log.embedded.worker_lock import WorkerLock
from weir.log.log import LogError, Partition, Record
from weir.log.settlement import Settlement

if TYPE_CHECKING:
    from mode.utils.locks import Event

FETCH_RECORDS = 400  # per partition and fetch
IDLE_S = 1.0  # how long a fetch without a subscription waits for one, at most
UPKEEP_S = 30.0  # between two sweeps of retention and compaction
MEMBER = "worker"  # the group's only member


class Consumer(Settlement):
    """Delivers each record at least once, in the order of its partition, and waits without polling."""

    transport: FileTransport

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._assigned: set[TP] = set()
        self._positions: dict[TP, int] = {}
        self._wake = asyncio.Event()  # there may be something to fetch
        self._watch: GrowthWatch | None = None
        self._worker_lock: WorkerLock | None = None
        self._rebalance = asyncio.Lock()

    @property
    def _file(self) -> LogFile:
        return self.transport.file

    async def on_start(self) -> None:
        """Become the only worker of the file; log clients share the file.

        Raises:
            ImproperlyConfigured: the file has a worker already.
        """
        if not self.app.client_only:
            self._worker_lock = WorkerLock(self._file.path)
            self._worker_lock.acquire()
        await super().on_start()

    async def on_stop(self) -> None:
        """Commit the settled offsets and release the file."""
        try:
            await super().on_stop()
        finally:
            if self._watch is not None:
                self._file.unwatch(self._watch)
                self._watch = None
            if self._worker_lock is not None:
                self._worker_lock.release()

    async def wait_empty(self) -> None:
        """Wait for the messages in flight. A client commits nothing, and would wait for its replies for ever."""
        if not self.app.client_only:
            await super().wait_empty()

    # -- assignment

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Take every partition of these topics, in a task.

        The callbacks of an assignment wait for the conductor, and the conductor waits here.
        """
        names = set(topics)
        for name in names:
            if self._file.partitions(name) is None:
                await self.create_topic(name, self.app.conf.topic_partitions, 1)
        self.add_future(self._assign(names))

    async def _assign(self, topics: set[str]) -> None:
        async with self._rebalance:
            tps = {TP(topic, n) for topic in topics for n in range(self._file.partitions(topic) or 0)}
            if self.app.client_only:
                self._take(tps)
                return
            app = self.app
            app.on_rebalance_start()
            await self.on_partitions_revoked(set(self._assigned))
            self._ask_assignor(topics)
            self._take(tps)
            app.consumer_generation_id += 1
            await self.on_partitions_assigned(set(tps), app.consumer_generation_id)

    def _ask_assignor(self, topics: set[str]) -> None:
        """Run Faust's assignor for the one member: table recovery asks it which changelogs are active."""
        assignor: Any = self.app.assignor  # Faust's type for it lacks the methods that Kafka's client calls
        metadata = ConsumerProtocolMemberMetadata.decode(assignor.metadata(topics).encode())
        assignor.on_assignment(assignor.assign(self, {MEMBER: metadata})[MEMBER])

    def _take(self, tps: set[TP]) -> None:
        for tp in tps - self._assigned:
            self._positions[tp] = self._reset_offset(tp)
        for tp in self._assigned - tps:
            self._positions.pop(tp, None)
        watch, self._watch = self._watch, self._file.watch([Partition(*tp) for tp in tps], self._wake.set)
        if watch is not None:
            self._file.unwatch(watch)
        self._assigned = tps
        self._wake.set()

    def partitions_for_topic(self, topic: str) -> set[int]:
        """The one method of Kafka's cluster metadata that the assignor needs."""
        return set(range(self._file.partitions(topic) or 0))

    def assignment(self) -> set[TP]:
        """All partitions of the subscribed topics."""
        return set(self._assigned)

    def topic_partitions(self, topic: str) -> int | None:
        """Number of partitions of a topic."""
        return self._file.partitions(topic)

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        """The partition that a key belongs to."""
        return self.transport.partition(topic, key, partition)

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """Create a topic, unless it exists."""
        await self.transport.create_topic(*args, **kwargs)

    # -- positions

    def _reset_offset(self, tp: TP) -> int:
        start, end = self._file.bounds(Partition(*tp))
        return end if self.app.conf.consumer_auto_offset_reset == "latest" else start

    async def seek_to_committed(self) -> Mapping[TP, int | None]:  # type: ignore[override]  # as Faust's callers expect
        """Seek the committed offsets, else as `consumer_auto_offset_reset` says; changelogs are left to recovery."""
        await self._file.barrier()  # a commit may be on its way
        committed = self._file.committed(self.app.conf.id)
        result: dict[TP, int | None] = {}
        for tp in self._assigned:
            if self._is_changelog_tp(tp):
                continue
            offset = committed.get(Partition(*tp))
            if offset is not None and offset > self._file.end(Partition(*tp)):
                offset = None  # committed in another file with this name
            result[tp] = offset
            self._positions[tp] = self._reset_offset(tp) if offset is None else offset
        self._wake.set()
        return result

    async def _seek(self, partition: TP, offset: int) -> None:
        self._positions[ensure_TP(partition)] = offset
        self._wake.set()

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Seek offsets. Sets the read offset too, else Faust drops records that it has read before."""
        for tp, offset in partitions.items():
            self._positions[tp] = offset
            self._read_offset[tp] = offset or None
        self._wake.set()

    async def position(self, tp: TP) -> int | None:
        """The offset of the next record to fetch."""
        return self._positions.get(tp)

    def highwater(self, tp: TP) -> int:
        """The end of a partition; Faust asks for each message, so the answer comes from memory."""
        return self._file.end(Partition(*tp))

    async def highwaters(self, *tps: TP) -> Mapping[TP, int]:
        """The ends of partitions."""
        return {tp: self._file.bounds(Partition(*tp)).end for tp in tps}

    async def earliest_offsets(self, *tps: TP) -> Mapping[TP, int]:
        """The starts of partitions."""
        return {tp: self._file.bounds(Partition(*tp)).start for tp in tps}

    # -- commit

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Store offsets, behind every append sent before. Returns False if it fails for now: Faust tries again."""
        if self.transport.torn:
            return False
        try:
            await self._file.commit(self.app.conf.id, {Partition(*tp): n for tp, n in offsets.items()})
        except LogError as exc:
            self.log.error("Offsets are not committed: %s", exc)  # noqa: TRY400  # one line says it
            return False
        return True

    # -- fetching

    def resume_flow(self) -> None:
        """Fetch again. Not as soon as partitions are resumed, for they have not been sought yet then."""
        super().resume_flow()
        self._wake.set()

    def on_buffer_drop(self, tp: TP) -> None:
        """Fetch again: a stream has room."""
        super().on_buffer_drop(tp)
        self._wake.set()

    def stop_flow(self) -> None:
        """Stop fetching, and end a fetch that waits."""
        super().stop_flow()
        self._wake.set()

    async def _wait_next_records(self, timeout: float) -> tuple[Mapping[TP, list[Record]], set[TP] | None]:  # noqa: ASYNC109
        # The base class sleeps for a second when every partition is paused; here a resumption ends the wait.
        if not self.flow_active:
            await self.wait(cast("Event", self.can_resume_flow))
        active = None if self.app.client_only else self._get_active_partitions()
        return await self._getmany(active, timeout), active

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> dict[TP, list[Record]]:  # noqa: ASYNC109
        until = time.monotonic() + timeout
        while self.flow_active and not self.should_stop:
            self._wake.clear()
            records = self._fetch(self._assigned if active_partitions is None else active_partitions)
            left_s = until - time.monotonic()
            if records or left_s <= 0:
                return records
            try:
                async with asyncio.timeout(left_s):
                    await self._wake.wait()
            except TimeoutError:
                break
        return {}

    def _fetch(self, tps: Iterable[TP]) -> dict[TP, list[Record]]:
        fetched = {}
        for tp in list(tps):
            position = self._positions.get(tp)
            at = Partition(*tp)
            if position is None or position >= self._file.end(at):
                continue
            records = self._file.read(at, position, FETCH_RECORDS)
            if records:
                fetched[tp] = records
                self._positions[tp] = records[-1].offset + 1
        return fetched

    def _to_message(self, tp: TP, record: Record) -> ConsumerMessage:
        return ConsumerMessage(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            0,
            list(record.headers),
            record.key,
            record.value,
            None,
            len(record.key or b""),
            len(record.value or b""),
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    # -- upkeep

    @Service.task
    async def _upkeep(self) -> None:
        upkeep = Upkeep(self._file)
        while not self.should_stop and not self.app.client_only:
            await self.sleep(UPKEEP_S)
            try:
                await upkeep.sweep()
            except LogError as exc:
                self.log.warning("Upkeep of the log waits: %s", exc)
