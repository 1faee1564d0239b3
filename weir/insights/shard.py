"""The windows of one partition: folds what comes, says what is due, and writes what was judged.

Both topics have the partition, and one worker owns it in both, so all that is said of a tenant and model comes by here.

*Watermark.* Of each source the newest event time is known; the watermark is the older of the two, less the lateness.
So windows do not depend on which of the two topics was read faster. A window closes when the watermark reaches its end;
what comes for it afterwards is late: counted, and not added to what was judged. Time that lies further ahead of the
record's own time in the log than clocks differ is not believed: it is counted, and moves nothing.

*Once.* A window's row holds the offset that was folded last from each source, and the ids of the events in it. What is
delivered again has an offset that is not higher; what was published again has an id that is there. Both stand in the
same record of the changelog as the figures. Ids are hashes of eight bytes; when a row has ``PAGE`` of them they move
into a row of their own, which is written before the window's: if a crash comes between, it is written again.

*In order.* Closing a window writes, in this order: insights that are over, the model's row (with what was wrong in the
window: from here on it is judged), then the window without its ids. A shard is made anew from the rows when a worker
gets its partition, and finishes what a crash has left: ``closing`` gives it out again.

A shard sees every change of its rows, since it makes them all; so what it remembers beside them stays true until the
partition is given away.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from weir.envelope import Json
from weir.events.insights import InsightCleared, InsightRaised, InsightType
from weir.events.metrics import MetricsRecorded
from weir.insights import wording
from weir.insights.judging import Breach, Closed, Limits, Verdict, judge, silent
from weir.insights.reading import Measured, Source, Ticked, time_ms
from weir.insights.rows import Judged, ModelRow, Rows, Seen, Span, WindowRow

HASH_BYTES: Final = 8  # among a million ids of a window, two are taken for one once in 37 million windows
PAGE: Final = 64  # ids in a window's own row: half a kilobyte
OVER_KEPT: Final = 20  # insights of a model that are over and shown

Insight = InsightRaised | InsightCleared


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """Lengths of time in milliseconds, and counts of windows. The settings tell the reasons."""

    size_ms: int
    lateness_ms: int
    ahead_ms: int
    kept: int  # closed windows that are kept
    quiet: int  # windows without anything, after which what is wrong is over
    expiry_ms: int  # insights that are over are shown for so long


@dataclass(slots=True)
class Counts:
    """What a worker has counted since it started."""

    folded: Counter[str] = field(default_factory=Counter)  # records that were added to a window, by source
    ticks: Counter[str] = field(default_factory=Counter)  # read, by source
    redelivered: int = 0  # records that had been folded
    repeated: int = 0  # events that had been folded from another offset
    late: int = 0
    ahead: int = 0
    malformed: int = 0
    closed: int = 0  # windows
    raised: Counter[str] = field(default_factory=Counter)  # by type of insight
    cleared: Counter[str] = field(default_factory=Counter)
    found: int = 0  # insights that a crash had left in the log
    refused: int = 0  # insights that the log does not take

    def events(self) -> dict[str, int]:
        """What became of events, by its name."""
        counts = {"redelivered": self.redelivered, "repeated": self.repeated, "late": self.late}
        return {"folded": self.folded.total(), **counts, "ahead": self.ahead, "malformed": self.malformed}


@dataclass(frozen=True, slots=True)
class Closing:
    """Something that is due, and what is to be told before it is written down."""

    span: Span  # the window; or the last of the silent windows
    row: WindowRow | None  # None where nothing came
    insights: tuple[Insight, ...] = ()
    judged: bool = False  # already: only the rest is to be written


class Shard:
    """One partition of the quality table, in the hands of its owner."""

    def __init__(
        self,
        rows: Rows,
        number: int,
        own: Mapping[str, Sequence[Seen]],
        *,
        spans: Spans,
        limits: Limits,
        counts: Counts,
    ) -> None:
        """Read the rows.

        Args:
            rows: of the worker.
            number: of the partition.
            own: the names (tenant:model) among the rows that belong to it, with their windows.
            spans: lengths.
            limits: for judging.
            counts: are counted up.
        """
        self.number = number
        self._rows, self._spans, self._limits, self._counts = rows, spans, limits, counts
        self._partition, self._rebuilt = rows.partition(number), rows.rebuilt(number)
        self.newest = {Source(source): at_ms for source, at_ms in self._partition.newest.items()}
        self._open: defaultdict[str, set[Span]] = defaultdict(set)
        self._ids: dict[Span, set[bytes]] = {}
        self._noted = True  # whether the partition's row is as it should be
        for name, windows in own.items():
            for seen in windows:
                if not seen.closed:
                    self._open[name].add(seen.span)
                for source, at_ms in seen.newest.items():
                    self._advance(Source(source), at_ms)
        self._pressing: dict[str, int] = {}  # when somebody waits for something of a name
        self._due: dict[str, int] = {}  # when there is something to do, waited for or not
        for name in own:
            self._set_due(name)

    # -- rebuilt

    @property
    def swapping(self) -> bool:
        """Whether other rows are being put in the place of these."""
        return bool(self._rebuilt.swapping)

    # -- time

    @property
    def watermark_ms(self) -> int:
        """Windows that end by then are closed. It never goes back, not even where settings were changed."""
        if len(self.newest) < len(Source):
            return self._partition.closed_ms
        return max(self._partition.closed_ms, min(self.newest.values()) - self._spans.lateness_ms)

    def _advance(self, source: Source, at_ms: int) -> None:
        self.newest[source] = max(at_ms, self.newest.get(source, at_ms))

    def behind(self, now_ms: int) -> list[Source]:
        """Sources that hold up what is due by the clock, since nothing comes from them."""
        by_ms = now_ms - self._spans.lateness_ms
        last_ms = max((at_ms for at_ms in self._pressing.values() if at_ms <= by_ms), default=None)
        if last_ms is None:
            return []
        behind = [one for one in Source if self.newest.get(one, 0) - self._spans.lateness_ms < last_ms]
        return behind or [Source.METRICS]  # what a crash has left is due: any record will do

    # -- folding

    def fold(self, source: Source, offset: int, logged_ms: int, seen: Measured | Ticked) -> None:
        """Add one record.

        Args:
            source: where it comes from.
            offset: where it stands in its partition.
            logged_ms: the record's own time in the log.
            seen: what it says.
        """
        if offset < self._rebuilt.folded.get(source, 0):
            self._counts.redelivered += 1
        elif seen.at_ms > logged_ms + self._spans.ahead_ms:
            self._counts.ahead += 1
            if isinstance(seen, Measured):
                self._count_apart(seen.name, source, offset, logged_ms, ahead=1)
        elif isinstance(seen, Ticked):
            self._counts.ticks[source] += 1
            self._advance(source, seen.at_ms)
            self._noted = False
        else:
            self._measure(source, offset, logged_ms, seen)

    def _measure(self, source: Source, offset: int, logged_ms: int, seen: Measured) -> None:
        start_ms = seen.at_ms - seen.at_ms % self._spans.size_ms
        span = Span(seen.name, start_ms, start_ms + self._spans.size_ms)
        row = self._rows.window(span)
        if row is not None and offset <= row.offsets.get(source, -1):
            self._counts.redelivered += 1
        elif span.end_ms <= self.watermark_ms or (row is not None and row.closed):
            self._counts.late += 1
            self._count_apart(seen.name, source, offset, logged_ms, late=1)
        elif self._knows(seen):
            self._counts.repeated += 1
            if row is not None:
                row.offsets[source.value] = offset  # else it would be late when it is delivered again
                self._rows.put_window(span, row)
        else:
            self._add(span, row or WindowRow(), source, offset, seen)

    def _add(self, span: Span, row: WindowRow, source: Source, offset: int, seen: Measured) -> None:
        ids = self._ids_of(span, row)
        if len(row.ids) >= PAGE * HASH_BYTES:
            self._rows.put_ids(span, row.pages, row.ids)
            row.pages, row.ids = row.pages + 1, b""
        if isinstance(seen.data, MetricsRecorded):
            row.window.add_request(seen.data)
        else:
            row.window.add_signal(seen.data)
        row.ids += _hash(seen.event_id)
        row.offsets[source.value] = offset
        row.newest[source.value] = max(seen.at_ms, row.newest.get(source, seen.at_ms))
        self._rows.put_window(span, row)
        ids.add(_hash(seen.event_id))
        if span not in self._open[span.name]:
            self._open[span.name].add(span)
            self._set_due(span.name)
        self._advance(source, seen.at_ms)
        self._counts.folded[source] += 1

    def _knows(self, seen: Measured) -> bool:
        """Whether an event is in an open window, from whichever offset."""
        known = _hash(seen.event_id)
        return any(known in self._ids_of(span, None) for span in self._open.get(seen.name, ()))

    def _ids_of(self, span: Span, row: WindowRow | None) -> set[bytes]:
        """The ids in a window; read from its rows once."""
        found = self._ids.get(span)
        if found is None:
            row = row or self._rows.window(span) or WindowRow()
            pages = [self._rows.ids(span, page) for page in range(row.pages)]
            found = self._ids[span] = {
                page[at : at + HASH_BYTES] for page in (*pages, row.ids) for at in range(0, len(page), HASH_BYTES)
            }
        return found

    def _count_apart(
        self, name: str, source: Source, offset: int, logged_ms: int, *, late: int = 0, ahead: int = 0
    ) -> None:
        row = self._rows.model(name) or ModelRow()
        if offset <= row.offsets.get(source, -1):
            self._counts.redelivered += 1
            return
        row.late, row.ahead, row.offsets[source.value] = row.late + late, row.ahead + ahead, offset
        row.heard_ms = max(row.heard_ms, logged_ms)
        self._rows.put_model(name, row)
        self._set_due(name)

    # -- closing

    def due(self) -> list[str]:
        """The tenants and models of which something is to be closed."""
        watermark_ms = self.watermark_ms
        return sorted(name for name, at_ms in self._due.items() if at_ms <= watermark_ms)

    def closing(self, name: str, detected_ms: int) -> Closing | None:
        """The oldest thing that is due of a tenant and model; nothing is changed by asking.

        Args:
            name: whose.
            detected_ms: when it is seen, for what is told of it.
        """
        model = self._rows.model(name) or ModelRow()
        at_ms, span = self._next(name, model)
        if at_ms is None or at_ms > self.watermark_ms:
            return None
        if span is None:
            span = Span(name, at_ms - self._spans.size_ms, at_ms)
            verdicts = silent(model.wrong, self._spans.quiet)
            return Closing(span, None, tuple(_told(name, verdict, model, span, detected_ms) for verdict in verdicts))
        row = self._rows.window(span) or WindowRow()
        if span.end_ms <= max(model.judged_until_ms, self._partition.closed_ms):
            return Closing(span, row, judged=True)  # a crash came between
        verdicts = judge(_closed(span, row, model), self._before(name, model), _active(model), self._limits)
        return Closing(span, row, tuple(_told(name, verdict, model, span, detected_ms) for verdict in verdicts))

    def settle(self, closing: Closing, told: tuple[Insight, ...]) -> None:
        """Write down what was closed.

        Args:
            closing: what.
            told: its insights as they stand in the log.
        """
        span, row = closing.span, closing.row
        model = self._rows.model(span.name) or ModelRow()
        if not closing.judged:
            self._write_judged(span, row, model, told)
        if row is not None:
            self._write_closed(span, row, kept=any(one.start_ms == span.start_ms for one in model.kept))
        self._noted = False
        self._set_due(span.name)

    def note(self) -> None:
        """What is due is done: write down how far the partition has come, and forget models that are gone."""
        for name in self.due():
            self._forget(name)  # all else is closed
            self._noted = False
        if not self._noted:
            self._partition.newest = {source.value: at_ms for source, at_ms in self.newest.items()}
            self._partition.closed_ms = self.watermark_ms
            self._rows.put_partition(self.number, self._partition)
            self._noted = True

    def _write_judged(self, span: Span, row: WindowRow | None, model: ModelRow, told: tuple[Insight, ...]) -> None:
        wrong, over = set(model.active), self._rows.over(span.name)
        for data in told:
            kind = data.insight_type.value
            if isinstance(data, InsightRaised):
                model.active[kind] = data.model_dump(mode="json")
                self._counts.raised[kind] += 1
            else:
                since = model.active.pop(kind)
                over.append({**data.model_dump(mode="json"), "raised": since})
                self._counts.cleared[kind] += 1
        if len(over) > len(self._rows.over(span.name)):
            self._rows.put_over(span.name, _last_of_each(over)[-OVER_KEPT:])
        if row is not None:
            self._counts.closed += 1
            model.judged_until_ms = max(model.judged_until_ms, span.end_ms)
            model.kept.append(Judged(span.start_ms, span.end_ms, sorted(wrong | set(model.active))))
            for old in model.kept[: -self._spans.kept]:
                self._rows.drop_window(Span(span.name, old.start_ms, old.end_ms))
            model.kept = model.kept[-self._spans.kept :]
        self._rows.put_model(span.name, model)

    def _write_closed(self, span: Span, row: WindowRow, *, kept: bool) -> None:
        for page in range(row.pages):
            self._rows.drop_ids(span, page)
        row.ids, row.pages, row.closed = b"", 0, True
        if kept:
            self._rows.put_window(span, row)
        else:
            self._rows.drop_window(span)
        self._ids.pop(span, None)
        self._open[span.name].discard(span)

    def _before(self, name: str, model: ModelRow) -> list[Closed]:
        before = []
        for one in model.kept:
            row = self._rows.window(Span(name, one.start_ms, one.end_ms))
            if row is not None:
                kinds = frozenset(map(InsightType, one.breached))
                before.append(Closed(start_ms=one.start_ms, end_ms=one.end_ms, window=row.window, breached=kinds))
        return before

    # -- what is due when

    def _next(self, name: str, model: ModelRow) -> tuple[int | None, Span | None]:
        """When something closes, and which window; no window where what is wrong is over for want of any."""
        span = min(self._open.get(name, ()), key=_order, default=None)
        if model.active:
            silent_ms = model.judged_until_ms + self._spans.quiet * self._spans.size_ms
            if span is None or span.start_ms >= silent_ms:
                return silent_ms, None
        return (None, None) if span is None else (span.end_ms, span)

    def _set_due(self, name: str) -> None:
        model = self._rows.model(name) or ModelRow()
        pressing_ms, _ = self._next(name, model)
        if pressing_ms is None:
            self._pressing.pop(name, None)
            self._due[name] = self._forgotten_at(name, model)
        else:
            self._pressing[name] = self._due[name] = pressing_ms

    def _forgotten_at(self, name: str, model: ModelRow) -> int:
        """When the windows of a model are forgotten; where there are none, when the model is."""
        at_ms = max(model.judged_until_ms, model.heard_ms) + self._spans.kept * self._spans.size_ms
        if model.kept:
            return at_ms
        ends_ms = [time_ms("window_end", one["window_end"]) for one in self._rows.over(name)]
        return max([at_ms, *(end_ms + self._spans.expiry_ms for end_ms in ends_ms)])

    def _forget(self, name: str) -> None:
        """A model that nobody has asked for long: nothing of it is open or wrong."""
        model = self._rows.model(name)
        if model is not None and model.kept:
            for one in model.kept:
                self._rows.drop_window(Span(name, one.start_ms, one.end_ms))
            model.kept = []
            self._rows.put_model(name, model)
        self._set_due(name)
        if self._due[name] <= self.watermark_ms:
            self._rows.drop_model(name)
            self._open.pop(name, None)
            del self._due[name]


def _closed(span: Span, row: WindowRow, model: ModelRow) -> Closed:
    breached = frozenset(model.wrong)
    return Closed(start_ms=span.start_ms, end_ms=span.end_ms, window=row.window, breached=breached)


def _told(name: str, verdict: Verdict, model: ModelRow, span: Span, detected_ms: int) -> Insight:
    if verdict.raised:
        return wording.raised(name, verdict, span.start_ms, span.end_ms, detected_ms)
    since = InsightRaised.model_validate(model.active[verdict.kind])
    return wording.cleared(verdict, since, span.start_ms, span.end_ms)


def _active(model: ModelRow) -> dict[InsightType, Breach]:
    return {InsightType(kind): Breach(previous=since["previous"]) for kind, since in model.active.items()}


def _last_of_each(over: list[Json]) -> list[Json]:
    """One entry for each insight: after a crash the same one may be noted again."""
    return list({one["insight_id"]: one for one in over}.values())


def _order(span: Span) -> tuple[int, int]:
    return span.end_ms, span.start_ms


def _hash(event_id: str) -> bytes:
    return hashlib.blake2b(event_id.encode(), digest_size=HASH_BYTES).digest()
