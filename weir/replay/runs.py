"""Runs: a run is written down before it begins, so that it does the same whenever it is resumed.

A run's id begins with the second of its start, so that its records are found without reading the topic from its start.
"""

import re
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Literal, TypeVar

from weir import envelope, topics
from weir.envelope import Event, Json, MalformedRecordError, utc_iso
from weir.events.base import RUN_ID, EventData
from weir.events.catalogue import data_of
from weir.events.publishing import Events
from weir.events.replays import ReplayEnded, ReplayStarted
from weir.log.log import LogClient, Partition
from weir.log.partitioner import partition_for
from weir.ranges.errors import CancelledRunError, UsageError
from weir.ranges.offset_ranges import OffsetRange, each, since, span_from

T = TypeVar("T")
Data = TypeVar("Data", bound=EventData)

_ID: Final = re.compile(RUN_ID)


class RunKind(StrEnum):
    """The kind of records that a run processes again."""

    REQUESTS = "requests"
    FEEDBACK = "feedback"
    DEAD_LETTERS = "dead-letters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run, as it was decided on."""

    id: str
    kind: RunKind
    parameters: Json = field(default_factory=dict)
    spans: Sequence[OffsetRange] = ()  # the spans that it reads
    ends: dict[str, list[int]] = field(default_factory=dict)  # the ends of other topics when it started, by partition
    started_at: str = ""  # ISO 8601, UTC
    ended: ReplayEnded | None = None

    @property
    def is_over(self) -> bool:
        """Whether the run has nothing left to do; one that failed may be tried again."""
        return self.ended is not None and self.ended.status != "failed"

    @property
    def tenant(self) -> str | None:
        """The tenant to whose records the run is limited; None: all tenants."""
        tenant = dict(self.parameters.get("where") or ()).get("tenant")
        return None if tenant is None else str(tenant)

    def end_of(self, at: Partition) -> int:
        """The end of a partition when the run started: no record that the run caused is older."""
        return self.ends[at.topic][at.partition]


def new_run_id() -> str:
    """A new id such as ``20261121T120000Z-3f2a91c4``."""
    return f"{datetime.now(tz=UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def started_s(run_id: str) -> float:
    """The time when a run was started, in seconds since the epoch.

    Raises:
        UsageError: the text is not the id of a run.
    """
    if not _ID.fullmatch(run_id):
        raise UsageError(f"{run_id[:80]!r} is not the id of a run: ids look like 20261121T120000Z-3f2a91c4")
    try:
        return datetime.strptime(run_id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise UsageError(f"{run_id!r} is not the id of a run: it does not begin with a time") from None


class Runs:
    """The runs in the log."""

    def __init__(self, log: LogClient, events: Events, *, tenant: str) -> None:
        self._log, self._events, self._tenant = log, events, tenant

    async def begin(
        self, kind: RunKind, parameters: Json, spans: Sequence[OffsetRange], *, watched: Iterable[str] = (), by: str
    ) -> Run:
        """Begin a run: write it down.

        Args:
            kind: the kind of records that it processes.
            parameters: the parameters as they were given.
            spans: the spans that it reads.
            watched: topics whose ends are noted.
            by: ``cli`` or ``http``.

        Raises:
            LogError: the run may or may not be written down; no work has begun.
        """
        run = await self.draft(kind, parameters, spans, watched=watched)
        started = ReplayStarted(
            run=run.id,
            kind=kind,
            parameters=parameters,
            spans=[span.as_json() for span in spans],
            ends=run.ends,
            started_at=run.started_at,
            by=by,
        )
        await self._events.publish(started, self._tenant)
        return run

    async def draft(
        self, kind: RunKind, parameters: Json, spans: Sequence[OffsetRange], *, watched: Iterable[str] = ()
    ) -> Run:
        """Make a run without writing it down, so that it cannot be found.

        Raises:
            LogError: the log cannot be read.
        """
        ends = {
            topic: [(await self._log.bounds(Partition(topic, n))).end for n in range(self._log.partitions(topic))]
            for topic in watched
        }
        run_id = new_run_id()
        return Run(
            id=run_id,
            kind=kind,
            parameters=parameters,
            spans=list(spans),
            ends=ends,
            started_at=utc_iso(started_s(run_id)),
        )

    async def end(
        self, run: Run, summary: Json, *, status: Literal["completed", "failed", "cancelled"] = "completed"
    ) -> None:
        """Write down that a run is over.

        Raises:
            LogError: the end may or may not be written down.
        """
        await self._events.publish(
            ReplayEnded(run=run.id, status=status, summary=summary, ended_at=utc_iso()), self._tenant
        )

    async def still_wanted(self, run: Run) -> None:
        """Check whether a run was cancelled meanwhile.

        Raises:
            CancelledRunError: the run was cancelled.
            LogError: the log cannot be read.
        """
        check_wanted(await self.find(run.id))

    async def find(self, run_id: str) -> Run:
        """Find a run by its id.

        Raises:
            UsageError: there is no such run, or its records are gone.
            LogError: the log cannot be read.
        """
        started: ReplayStarted | None = None
        ended: ReplayEnded | None = None
        async for event in self._read(topics.CHAT_REPLAYS.name, run_id.encode(), started_s(run_id)):
            if event.event_type == ReplayStarted.EVENT_TYPE:
                started = started or _data_of(event, ReplayStarted)
            elif event.event_type == ReplayEnded.EVENT_TYPE:
                ended = _data_of(event, ReplayEnded) or ended  # the last one: a failed run may be resumed
        if started is None:
            raise UsageError(f"there is no run {run_id}, or {topics.CHAT_REPLAYS.name} does not keep it any more")
        return _run(started, ended)

    async def recent(self, since_s: float) -> list[Run]:
        """The runs that were started since a time, newest first.

        Raises:
            LogError: the log cannot be read.
        """
        started: dict[str, ReplayStarted] = {}
        ended: dict[str, ReplayEnded] = {}
        async for event in self._read(topics.CHAT_REPLAYS.name, None, since_s):
            if event.event_type == ReplayStarted.EVENT_TYPE and (data := _data_of(event, ReplayStarted)) is not None:
                started.setdefault(data.run, data)
            elif event.event_type == ReplayEnded.EVENT_TYPE and (over := _data_of(event, ReplayEnded)) is not None:
                ended[over.run] = over
        return [_run(started[name], ended.get(name)) for name in sorted(started, reverse=True)]

    async def results(self, run_id: str, model: type[EventData]) -> list[Event]:
        """The results of a run so far: the events of one type, each once, in the order of the log.

        Raises:
            LogError: the log cannot be read.
        """
        return await self.results_as(run_id, model, lambda event: event)

    async def results_as(self, run_id: str, model: type[EventData], take: Callable[[Event], T]) -> list[T]:
        """A value from each result of a run, taken as it is read: the events themselves may need much memory.

        Raises:
            LogError: the log cannot be read.
        """
        found: dict[str, T] = {}
        async for event in self._read(topics.CHAT_REPLAY_RESULTS.name, run_id.encode(), started_s(run_id)):
            if event.event_type == model.EVENT_TYPE and event.event_id not in found:
                found[event.event_id] = take(event)
        return list(found.values())

    async def _read(self, topic: str, key: bytes | None, since_s: float) -> AsyncIterator[Event]:
        count = self._log.partitions(topic)
        for number in range(count) if key is None else [partition_for(key, count)]:
            async for record in each(self._log, await since(self._log, Partition(topic, number), since_s)):
                if key in {None, record.key} and (event := envelope.event_in(record.value)) is not None:
                    yield event


def check_wanted(run: Run) -> None:
    """Check that a run was not cancelled.

    Raises:
        CancelledRunError: the run was cancelled.
    """
    if run.ended is not None and run.ended.status == "cancelled":
        raise CancelledRunError(f"run {run.id} was cancelled")


def _data_of(event: Event, model: type[Data]) -> Data | None:
    """The typed data of a run's event; None if it is malformed, so that it does not hide the others."""
    try:
        return data_of(event, model)
    except MalformedRecordError:
        return None


def _run(started: ReplayStarted, ended: ReplayEnded | None) -> Run:
    return Run(
        id=started.run,
        kind=RunKind(started.kind),
        parameters=started.parameters,
        spans=[span_from(fields) for fields in started.spans],
        ends=started.ends,
        started_at=started.started_at,
        ended=ended,
    )
