"""Tells what a rebuild has found, where that is asked for: each signal and each insight once, marked with the run."""

import asyncio
from typing import Final

from answers import envelope
from answers.envelope import MalformedRecordError
from app import folding, topics
from app.publishing import Events
from events.base import derived_id
from replays.rebuild.planning import INPUTS, Plan
from replays.rebuild.rebuilding import Rebuilt
from replays.rebuild.rescoring import Formula
from replays.runs import CLOCKS_S, Run, started_s
from replays.spans import Span, records
from transports.log import LogClient, Record
from windows.reading import Measured

AT_ONCE: Final = 200  # events on their way to the log


class Emitting:
    """Tells what one run has found.

    Args:
        log: what was told already stands there.
        events: how events are written.
        run: which.
    """

    def __init__(self, log: LogClient, events: Events, run: Run) -> None:
        self._log, self._events, self._run = log, events, run

    async def insights(self, found: Rebuilt) -> int:
        """Tell the insights of a partition that are not in ai-insights, and withdraw what should not be.

        Raises:
            LogError: some may be told, and are not told again by who resumes the run.
        """
        anew = {name: found.insights[name] for name in found.more} | found.withdrawn
        for name, (tenant, insight) in sorted(anew.items()):
            marked = insight.model_copy(update={"rebuilt": self._run.id})
            await self._events.publish(marked, tenant, event_id=name)
        return len(anew)

    async def signals(self, plan: Plan, number: int, formula: Formula) -> int:
        """Tell the signals of a partition that have other numbers now.

        Raises:
            LogError: as above.
        """
        span = plan.inputs(number)[INPUTS.index(topics.AI_LEARNING_SIGNALS.name)]
        told, count = await self._told(span), 0
        waiting: list[tuple[Measured, str]] = []
        async for page in records(self._log, span):
            for record in page:
                signal = _changed(record, formula)
                if signal is not None and (name := self._name(signal)) not in told:
                    told.add(name)
                    waiting.append((signal, name))
                    count += 1
            await self._publish(waiting)
        return count

    async def _publish(self, waiting: list[tuple[Measured, str]]) -> None:
        while waiting:
            part = [waiting.pop() for _ in range(min(AT_ONCE, len(waiting)))]
            await asyncio.gather(
                *(
                    self._events.publish(
                        signal.data.model_copy(update={"rebuilt": self._run.id}),
                        signal.name.partition(":")[0],
                        event_id=name,
                    )
                    for signal, name in part
                )
            )

    async def _told(self, span: Span) -> set[str]:
        """What the run has told already, if it is resumed."""
        at = span.at
        start = await self._log.offset_at(at, started_s(self._run.id) - CLOCKS_S)
        found: set[str] = set()
        async for page in records(self._log, Span(at, start, (await self._log.bounds(at)).end)):
            for record in page:
                try:
                    event = envelope.decode(record.value)
                except MalformedRecordError:
                    continue
                if event.data.get("rebuilt") == self._run.id:
                    found.add(event.event_id)
        return found

    def _name(self, signal: Measured) -> str:
        return derived_id("signal.rebuilt", self._run.id, signal.event_id)


def _changed(record: Record, formula: Formula) -> Measured | None:
    """A signal with today's numbers, if those are others."""
    try:
        seen = folding.said(record)
    except MalformedRecordError:
        return None
    if not isinstance(seen, Measured):
        return None
    now = formula.rescored(seen)
    return None if now is seen else now
