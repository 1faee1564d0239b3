"""Plans a rebuild of the windows: the records to read and the state to begin with, decided once for a run."""

import math
from dataclasses import dataclass, field

from weir import topics
from weir.envelope import Json, utc_iso
from weir.insights.durations import Durations
from weir.insights.rows import QualityRows
from weir.log.log import LogClient, Partition
from weir.ranges.changelog import Changes
from weir.ranges.errors import NothingError, UsageError
from weir.ranges.offset_ranges import OffsetRange, gone_until_s, resolve, size
from weir.ranges.when import Edge, Time, When
from weir.replay.runs import Run
from weir.timing import CLOCKS_APART_S

PARTITIONS = range(topics.AGENT_METRICS.partitions)
INPUTS = topics.AGENT_METRICS.name, topics.AI_LEARNING_SIGNALS.name


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildPlan:
    """The plan of a rebuild."""

    from_ms: int  # feedback given before keeps its numbers and its windows; the start of a window
    since_ms: list[int]  # by partition: windows that end by then are taken from the live table; 0 for none
    spans: list[OffsetRange] = field(default_factory=list)  # of ai-feedback-events, and of both inputs of the windows
    emit: bool = False

    def inputs(self, number: int) -> list[OffsetRange]:
        """The spans of one partition: metrics, signals."""
        return [self._span(Partition(topic, number)) for topic in INPUTS]

    def of(self, topic: str) -> list[OffsetRange]:
        """The spans of a topic."""
        return [span for span in self.spans if span.at.topic == topic]

    def as_json(self) -> Json:
        """The plan as parameters of its run."""
        return {"from_ms": self.from_ms, "since_ms": self.since_ms, "emit": self.emit}

    def _span(self, at: Partition) -> OffsetRange:
        return next(span for span in self.spans if span.at == at)


def plan_of(run: Run) -> RebuildPlan:
    """The plan of a run that was begun."""
    parameters = run.parameters
    return RebuildPlan(
        from_ms=parameters["from_ms"], since_ms=parameters["since_ms"], spans=list(run.spans), emit=parameters["emit"]
    )


async def plan(
    log: LogClient,
    changelog: str,
    since: When,
    spans: Durations,
    *,
    emit: bool,
    now: float,
    kept_s: float | None = None,
) -> RebuildPlan:
    """Decide what a rebuild reads, as the log stands now.

    Args:
        log: the log to read.
        changelog: the changelog of the quality table.
        since: from when on signals get the present formula's numbers; must be a time.
        spans: lengths of windows.
        emit: whether the rebuild publishes its findings.
        now: the present time, in seconds since the epoch.
        kept_s: how long ai-feedback-events keeps a record; None if that is not known.

    Raises:
        UsageError: ``since`` is not a time.
        GoneError: retention has removed feedback since then.
        NothingError: there is nothing to rebuild.
        LogError: the log cannot be read.
    """
    from_ms = 0
    if isinstance(since, Time):
        from_ms = _boundary(int(since.seconds * 1000), spans.size_ms)
    elif since is not Edge.EARLIEST:
        raise UsageError("--from must be a time, an age such as -2h, or earliest: windows know no offsets")
    found = await _feedback(log, since, now, kept_s)
    since_ms: list[int] = []
    for number in PARTITIONS:
        start_ms = await _start_ms(log, changelog, number, from_ms=from_ms, spans=spans, now=now)
        since_ms.append(start_ms)
        for topic in INPUTS:
            found.append(await _input(log, Partition(topic, number), start_ms, spans.ahead_ms))
    if not size(found):
        raise NothingError(f"neither {' nor '.join(INPUTS)} has a record since {utc_iso(from_ms / 1000)}")
    return RebuildPlan(from_ms=from_ms, since_ms=since_ms, spans=found, emit=emit)


async def _feedback(log: LogClient, since: When, now: float, kept_s: float | None) -> list[OffsetRange]:
    """Spans of feedback given since a time: a record may be in the log a little earlier, as clocks differ."""
    earlier = Time(since.seconds - CLOCKS_APART_S) if isinstance(since, Time) else since
    try:
        return await resolve(log, topics.AI_FEEDBACK.name, earlier, Edge.LATEST, now=now, kept_s=kept_s)
    except NothingError:
        return []


async def _start_ms(log: LogClient, changelog: str, number: int, *, from_ms: int, spans: Durations, now: float) -> int:
    """The time before which the live windows are taken as they are.

    A window is compared with a number of windows before it: these are folded, too, except those whose records retention
    has begun to remove.
    """
    live = Changes(log, changelog, number)
    await live.read()
    closed_ms = QualityRows(live.rows).partition(number).closed_ms // spans.size_ms * spans.size_ms
    wanted_ms = min(max(0, from_ms - spans.kept * spans.size_ms), closed_ms)
    # Open windows are folded from the records that are left: none of them may be taken for closed.
    return max(wanted_ms, min(await whole_ms(log, number, spans, now), closed_ms))


async def whole_ms(log: LogClient, number: int, spans: Durations, now: float) -> int:
    """The start of the first window that has all its records in both topics; 0 if no record is gone.

    Raises:
        LogError: the log cannot be read.
    """
    found_ms = 0
    for topic in INPUTS:
        gone_ms = int(await gone_until_s(log, Partition(topic, number), now) * 1000)
        if gone_ms:
            found_ms = max(found_ms, _boundary(gone_ms + spans.ahead_ms, spans.size_ms))
    return found_ms


async def _input(log: LogClient, at: Partition, start_ms: int, ahead_ms: int) -> OffsetRange:
    """The span of an input: a record's own time is at most ``ahead_ms`` later than its time in the log, or ignored."""
    bounds = await log.bounds(at)
    start = bounds.start if not start_ms else await log.offset_at(at, (start_ms - ahead_ms) / 1000)
    return OffsetRange(at, min(max(start, bounds.start), bounds.end), bounds.end)


def _boundary(at_ms: int, size_ms: int) -> int:
    return math.ceil(at_ms / size_ms) * size_ms
