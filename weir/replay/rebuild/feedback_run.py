"""A run that rescores feedback and rebuilds the windows, from its plan to its report."""

from collections.abc import Mapping

from weir import topics
from weir.feedback.scores import fingerprint
from weir.insights.configured import limits, spans
from weir.insights.folding import Judging
from weir.ranges.errors import UsageError
from weir.ranges.offset_ranges import size
from weir.ranges.progress import Steps
from weir.ranges.when import When
from weir.replay.rebuild.emitting import Emitting
from weir.replay.rebuild.handing import Changelogs, Handing
from weir.replay.rebuild.history import History
from weir.replay.rebuild.planning import PARTITIONS, RebuildPlan, plan, plan_of
from weir.replay.rebuild.rebuilding import Rebuilding, Rebuilt, read_feedback
from weir.replay.rebuild.report_rebuild import RebuildReport
from weir.replay.rebuild.rescoring import Formula
from weir.replay.runs import Run, RunKind, Runs
from weir.worker import Worker


class FeedbackRun:
    """The run of ``replay feedback``.

    Args:
        worker: for its log, events and settings.
        changelogs: of the live tables, by name.
        steps: called with the progress.
        patience_s: how long to wait for the owners of the tables, in seconds.
    """

    def __init__(self, worker: Worker, changelogs: Mapping[str, str], steps: Steps, patience_s: float) -> None:
        tenant = worker.settings.default_tenant
        self._worker, self._log, self._steps = worker, worker.log, steps
        self._tables = Changelogs(quality=changelogs["quality"], feedback=changelogs["feedback"])
        self._judging = Judging(spans=spans(worker.settings), limits=limits(worker.settings))
        self._runs = Runs(self._log, worker.events, tenant=tenant)
        self._handing = Handing(
            self._log, worker.events, self._tables, self._runs, tenant=tenant, patience_s=patience_s
        )

    async def plan(self, since: When, *, emit: bool, now: float) -> RebuildPlan:
        """Decide which records are read. Raises the errors of ``planning.plan``."""
        kept_s = topics.AI_FEEDBACK.retention_s(self._worker.settings)
        return await plan(
            self._log, self._tables.quality, since, self._judging.spans, emit=emit, now=now, kept_s=kept_s
        )

    async def begin(self, planned: RebuildPlan, *, by: str) -> Run:
        """Write the run down, as begun by ``cli`` or ``http``."""
        parameters = {**planned.as_json(), "formula": fingerprint(self._judging)}
        return await self._runs.begin(RunKind.FEEDBACK, parameters, planned.spans, by=by)

    async def find(self, run_id: str) -> tuple[Run, RebuildPlan]:
        """Find a run that was begun, with its plan.

        Raises:
            UsageError: there is no such run, or it is of another kind, or it was begun with another formula.
        """
        run = await self._runs.find(run_id)
        if run.kind is not RunKind.FEEDBACK:
            raise UsageError(f"run {run.id} is not a run of replay feedback but of {run.kind}")
        if run.parameters["formula"] != fingerprint(self._judging):
            raise UsageError(f"run {run.id} was begun with another formula or INSIGHT_* settings: begin a new one")
        return run, plan_of(run)

    async def look(self, planned: RebuildPlan) -> RebuildReport:
        """A report of what would change; writes nothing."""
        formula, rebuilding, history = await self._prepare(planned)
        report = RebuildReport(run=None, from_ms=planned.from_ms)
        for number in PARTITIONS:
            report.add(await self._partition(rebuilding, planned, number), history.published)
        for number in range(self._log.partitions(topics.AI_FEEDBACK.name)):
            report.rows += await self._handing.feedback_wrong(number, formula)
        return report

    async def do(self, run: Run, planned: RebuildPlan) -> RebuildReport:
        """Carry out a run, or continue it.

        Raises:
            UnfinishedError: the owners of the tables have not taken the rows that were handed over.
            LogError: the log is away. Either way, the run can be resumed.
            CancelledRunError: the run was cancelled.
        """
        formula, rebuilding, history = await self._prepare(planned)
        report = RebuildReport(run=run.id, from_ms=planned.from_ms)
        emitting = Emitting(self._log, self._worker.events, run)
        for number in PARTITIONS:
            await self._runs.still_wanted(run)
            if await self._handing.taken(run, number):
                report.taken.append(number)
                continue
            found = await self._partition(rebuilding, planned, number)
            report.add(found, history.published)
            # before the rows: a partition whose rows are taken counts as done, and its insights would not be published
            if planned.emit:
                report.emitted_signals += await emitting.signals(planned, number, formula)
                report.emitted_insights += await emitting.insights(found)
            offset = await self._handing.windows(run, planned, found, fingerprint(self._judging))
            await self._handing.windows_taken(run, number, offset)
        await self._runs.still_wanted(run)
        await self._rescore(run, formula, report)
        await self._runs.still_wanted(run)
        if run.ended is None:
            await self._runs.end(run, report.as_json())
        return report

    async def _rescore(self, run: Run, formula: Formula, report: RebuildReport) -> None:
        count = self._log.partitions(topics.AI_FEEDBACK.name)
        with self._steps("feedback table", count) as step:
            for number in range(count):
                report.rows += await self._handing.feedback(run, number, formula)
                step.advance()

    async def _prepare(self, planned: RebuildPlan) -> tuple[Formula, Rebuilding, History]:
        formula = Formula(self._worker.settings, self._log.partitions(topics.AI_FEEDBACK.name), planned.from_ms)
        found = planned.of(topics.AI_FEEDBACK.name)
        with self._steps("feedback", size(found)) as step:
            await read_feedback(self._log, found, formula, step)
        history = await History().read(self._log)
        return formula, Rebuilding(self._log, self._tables.quality, formula, self._judging, history), history

    async def _partition(self, rebuilding: Rebuilding, planned: RebuildPlan, number: int) -> Rebuilt:
        with self._steps(f"windows {number + 1} of {len(PARTITIONS)}", size(planned.inputs(number))) as step:
            return await rebuilding.partition(planned, number, step)
