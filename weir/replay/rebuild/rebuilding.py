"""Rebuilds one partition of the windows beside the live one: its rows, its insights, and the differences."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from weir.events.insights import InsightRaised
from weir.insights.closing import Closing, Insight
from weir.insights.folding import Folding, Judging
from weir.insights.partition import partition_of
from weir.insights.rows import QualityRows
from weir.insights.wording import event_id, withdrawn
from weir.log.log import LogClient
from weir.ranges.changelog import Changes
from weir.ranges.merged import merged
from weir.ranges.offset_ranges import OffsetRange, each
from weir.ranges.progress import UNSEEN, Step
from weir.replay.rebuild import seeding
from weir.replay.rebuild.history import History
from weir.replay.rebuild.planning import RebuildPlan
from weir.replay.rebuild.rescoring import Counted, Formula


@dataclass(slots=True)
class Rebuilt:
    """The result for one partition."""

    number: int
    rows: dict[bytes, bytes]
    after: int  # offset of the rebuild that made the live rows; -1 for none
    insights: dict[str, tuple[str, Insight]]  # tenant and insight by event id, of the rebuilt windows
    signals: Counted = field(default_factory=Counted)
    windows: int = 0
    changed: int = 0  # windows whose figures differ from the live table
    more: list[str] = field(default_factory=list)  # event ids of insights that were not published before
    less: list[str] = field(default_factory=list)  # of insights that were published, and would not be now
    # clearing events for those, as far as they last
    withdrawn: dict[str, tuple[str, Insight]] = field(default_factory=dict)


class Rebuilding:
    """Rebuilds partitions, one after the other.

    Args:
        log: the log with the records.
        changelog: the changelog of the quality table.
        formula: the present formula.
        judging: the rules for folding and judging windows.
        history: the insights that were published.
    """

    def __init__(self, log: LogClient, changelog: str, formula: Formula, judging: Judging, history: History) -> None:
        self._log, self._changelog, self._formula = log, changelog, formula
        self._judging, self._history = judging, history

    async def partition(self, plan: RebuildPlan, number: int, step: Step = UNSEEN) -> Rebuilt:
        """Rebuild a partition up to the ends that the plan names.

        Args:
            plan: what to read.
            number: the number of the partition.
            step: receives the number of offsets that were folded.

        Raises:
            LogError: the log cannot be read.
        """
        live = Changes(self._log, self._changelog, number)
        await live.read()
        old = QualityRows(live.rows)
        rows = seeding.seed(live.rows, number, plan.since_ms[number])
        found = Rebuilt(number, rows, old.rebuilt(number).at, {})

        async def note(closing: Closing) -> tuple[Insight, ...]:
            if closing.span.start_ms < plan.from_ms:
                return seeding.as_it_was(old, QualityRows(rows), closing)
            tenant = closing.span.name.partition(":")[0]
            found.insights |= {event_id(one): (tenant, one) for one in closing.insights}
            return closing.insights

        since_ms = plan.since_ms[number]
        windows = await Folding.of(found.rows, number, self._judging, tell=note, since_ms=since_ms)
        async for record in merged(self._log, plan.inputs(number), step=step):
            await windows.take(record, lambda measured: self._formula.rescored(measured, found.signals))
        self._compare(found, live.rows, plan.from_ms, windows.shard.watermark_ms)
        return found

    def _compare(self, found: Rebuilt, live: dict[bytes, bytes], from_ms: int, until_ms: int) -> None:
        new, old = QualityRows(found.rows), QualityRows(live)
        for span, _, closed in new.windows():
            if closed and span.start_ms >= from_ms:
                row, before = new.window(span), old.window(span)
                found.windows += 1
                found.changed += row is not None and (before is None or before.window.flat() != row.window.flat())
        published = {
            name: entry
            for name, entry in self._history.between(from_ms, until_ms).items()
            if partition_of(f"{entry[0]}:{entry[1].model}") == found.number
        }
        found.more = sorted(found.insights.keys() - self._history.published.keys())
        found.less = sorted(published.keys() - found.insights.keys())
        for name in found.less:
            tenant, insight = published[name]
            if isinstance(insight, InsightRaised):
                end = withdrawn(insight)
                if event_id(end) not in self._history.published:
                    found.withdrawn[event_id(end)] = (tenant, end)


async def read_feedback(log: LogClient, spans: Sequence[OffsetRange], formula: Formula, step: Step = UNSEEN) -> None:
    """Read feedback into a formula.

    Raises:
        LogError: the log cannot be read.
    """
    for span in spans:
        async for record in each(log, span, step=step):
            formula.add(record)
