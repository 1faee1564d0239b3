"""Publishes the signals and insights of a rebuild on demand, marked with the run, unless they are published already.

The log decides: a signal is published if its last numbers differ from the present ones, an insight if its id is
missing. So a run that is resumed, or repeated, publishes the rest; and if a formula goes back, its numbers are
published again.
"""

from dataclasses import replace
from typing import Final

from weir import envelope, topics
from weir.envelope import MalformedRecordError
from weir.events.base import derived_id
from weir.events.catalogue import data_of
from weir.events.publishing import Events
from weir.events.signals import SignalRecorded
from weir.feedback.joining import Worth
from weir.insights import partition
from weir.insights.reading import Measured
from weir.log.batching import in_batches
from weir.log.log import LogClient, Record
from weir.ranges.offset_ranges import OffsetRange, each, onward, records
from weir.replay.rebuild.history import History
from weir.replay.rebuild.planning import INPUTS, RebuildPlan
from weir.replay.rebuild.rebuilding import Rebuilt
from weir.replay.rebuild.rescoring import Formula
from weir.replay.runs import Run
from weir.timing import in_turns

AT_ONCE: Final = 200  # events on their way to the log


class Emitting:
    """Publishes the findings of one run.

    Args:
        log: the log with the events that were published before.
        events: the publisher of events.
        run: the run.
    """

    def __init__(self, log: LogClient, events: Events, run: Run) -> None:
        self._log, self._events, self._run = log, events, run

    async def insights(self, found: Rebuilt) -> int:
        """Publish a partition's insights that are not in ai-insights, and clear those that should not be there.

        The partition's owner has gone on since the rebuild was begun, and published its own insights.

        Raises:
            LogError: some insights may be published; a resumed run does not publish them again.
        """
        anew = {name: found.insights[name] for name in found.more} | found.withdrawn
        published = (await History().read(self._log)).published
        left = sorted((name, *entry) for name, entry in anew.items() if name not in published)
        for name, tenant, insight in left:
            marked = insight.model_copy(update={"rebuilt": self._run.id})
            await self._events.publish(marked, tenant, event_id=name)
        return len(left)

    async def signals(self, plan: RebuildPlan, number: int, formula: Formula) -> int:
        """Publish a partition's signals whose numbers differ from those published last.

        Raises:
            LogError: as for `insights`.
        """
        span = plan.inputs(number)[INPUTS.index(topics.AI_LEARNING_SIGNALS.name)]
        last, count = await self._last(span), 0
        async for page in records(self._log, span):
            waiting: list[Measured] = []
            async for record in in_turns(page):
                signal = _signal(record)
                now = None if signal is None else formula.today(signal)
                if signal is None or now is None or not isinstance(signal.data, SignalRecorded):
                    continue
                key = signal.name.partition(":")[0], signal.data.feedback_id
                if last.get(key, Worth(signal.data.score, signal.data.weight)) != now:
                    last[key] = now
                    marks = {**now._asdict(), "rebuilt": self._run.id}
                    waiting.append(replace(signal, data=signal.data.model_copy(update=marks)))
            await self._publish(waiting)
            count += len(waiting)
        return count

    async def _publish(self, signals: list[Measured]) -> None:
        events = (
            self._events.publish(
                signal.data,
                signal.name.partition(":")[0],
                event_id=derived_id("signal.rebuilt", self._run.id, signal.event_id),
            )
            for signal in signals
        )
        await in_batches(events, AT_ONCE)

    async def _last(self, span: OffsetRange) -> dict[tuple[str, str], Worth]:
        """The numbers that were published last by a rebuild, by tenant and feedback; they follow the signal's own."""
        found: dict[tuple[str, str], Worth] = {}
        async for record in each(self._log, await onward(self._log, span.at, span.start)):
            try:
                event = envelope.decode(record.value)
                if event.event_type == SignalRecorded.EVENT_TYPE and event.data.get("rebuilt") is not None:
                    data = data_of(event, SignalRecorded)
                    found[event.tenant_id, data.feedback_id] = Worth(data.score, data.weight)
            except MalformedRecordError:
                continue
        return found


def _signal(record: Record) -> Measured | None:
    """The feedback in a signal's record, with its original numbers."""
    try:
        seen = partition.said(record)
    except MalformedRecordError:
        return None
    return seen if isinstance(seen, Measured) else None
