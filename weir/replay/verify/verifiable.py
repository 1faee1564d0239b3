"""The tables that can be verified, and the topics from which each is made."""

import time
from collections.abc import Callable, Mapping
from typing import Final

from weir import topics
from weir.insights.configured import limits, spans
from weir.insights.folding import Judging
from weir.insights.rows import QualityRows
from weir.log.log import Partition
from weir.ranges.changelog import Changes
from weir.ranges.errors import UsageError
from weir.ranges.offset_ranges import onward
from weir.replay.rebuild.planning import INPUTS, whole_ms
from weir.replay.rebuild.rebuilding import read_feedback
from weir.replay.rebuild.rescoring import Formula
from weir.replay.runs import Runs
from weir.replay.verify.folds.base import Fold
from weir.replay.verify.folds.feedback import FeedbackFold
from weir.replay.verify.folds.prompts import PromptsFold
from weir.replay.verify.folds.quality import QualityFold
from weir.replay.verify.folds.requests import RequestsFold
from weir.replay.verify.folds.terminals import TerminalsFold
from weir.replay.verify.verifying import Table, oldest_s
from weir.worker import Worker

NAMES: Final = ("terminals", "requests", "feedback", "prompts", "quality")


class Verifiable:
    """The tables of an installation that can be verified.

    Args:
        worker: its log, events and settings.
        changelogs: the changelog of each table, by the table's name.
    """

    def __init__(self, worker: Worker, changelogs: Mapping[str, str]) -> None:
        self._worker, self._log = worker, worker.log
        self._changelogs = changelogs
        self._judging = Judging(spans=spans(worker.settings), limits=limits(worker.settings))

    def table(self, name: str) -> Table:
        """Find a table by its name.

        Raises:
            UsageError: there is no table of this name.
        """
        found = self._all().get(name)
        if found is None:
            raise UsageError(f"there is no table {name[:80]!r}: {', '.join(NAMES)}")
        return found

    def _all(self) -> dict[str, Table]:
        window_s = self._worker.settings.retry_window_s
        requests_, chunks, traces = topics.CHAT_REQUESTS, topics.CHAT_CHUNKS, topics.AGENT_TRACES
        feedbacks, asked, count = topics.AI_FEEDBACK, topics.CHAT_PROMPTS, self._log.partitions
        return {
            "terminals": self._table(
                "terminals", (requests_, chunks, traces), lambda old: TerminalsFold(old, self._worker.settings)
            ),
            "requests": self._table("requests", (traces,), RequestsFold),
            "feedback": self._table(
                "feedback",
                (traces, feedbacks),
                lambda old: FeedbackFold(old, self._worker.settings, count(feedbacks.name)),
            ),
            "prompts": self._table("prompts", (asked,), lambda old: PromptsFold(old, window_s, count(asked.name))),
            "quality": Table(
                name="quality",
                changelog=self._changelogs["quality"],
                inputs=INPUTS,
                partitions=topics.AGENT_METRICS.partitions,
                make=self._quality,
            ),
        }

    def _table(self, name: str, inputs: tuple[topics.Topic, ...], make: Callable[[float], Fold]) -> Table:
        names = tuple(spec.name for spec in inputs)

        async def made(changes: Changes, number: int) -> Fold:
            del changes
            return make(await oldest_s(self._log, names, number, time.time()))

        return Table(
            name=name,
            changelog=self._changelogs[name],
            inputs=names,
            partitions=inputs[0].partitions_by(self._worker.settings),
            make=made,
        )

    async def _quality(self, changes: Changes, number: int) -> Fold:
        since_ms = await whole_ms(self._log, number, self._judging.spans, time.time())
        run = QualityRows(changes.rows).rebuilt(number).run
        formula = await self._formula(run) if run else None
        if formula is None:
            return await QualityFold.of(changes.rows, number, self._judging, since_ms)
        return await QualityFold.of(changes.rows, number, self._judging, since_ms, formula.rescored)

    async def _formula(self, run_id: str) -> Formula | None:
        """The formula whose numbers rebuilt windows hold: that of the run, as the log's signals have other numbers.

        None if the run is forgotten: its signals have gone long before it.
        """
        runs = Runs(self._log, self._worker.events, tenant=self._worker.settings.default_tenant)
        try:
            from_ms = (await runs.find(run_id)).parameters["from_ms"]
        except UsageError:
            return None
        count = self._log.partitions(topics.AI_FEEDBACK.name)
        formula = Formula(self._worker.settings, count, from_ms)
        for number in range(count):
            span = await onward(self._log, Partition(topics.AI_FEEDBACK.name, number))
            await read_feedback(self._log, [span], formula)
        return formula
