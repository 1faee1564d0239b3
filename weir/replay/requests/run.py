"""Runs a replay of requests from its beginning to its report, for the command and for POST /replays alike."""

import time
from dataclasses import replace
from typing import Final

from weir import topics
from weir.chat.traces import Traces
from weir.envelope import Json, utc_iso
from weir.events.base import derived_id
from weir.events.catalogue import data_of
from weir.events.replays import ReplayCompared, ReplaySelected
from weir.ranges import offset_ranges
from weir.ranges.progress import Steps
from weir.ranges.when import Edge, parse, written
from weir.replay.report.comparison import Compared, compared_from
from weir.replay.report.report import ReplayReport, RunFacts, report_of
from weir.replay.requests.asking import RequestReplay
from weir.replay.requests.pairs import event_id_of, event_of
from weir.replay.requests.plans import ReplayPlan, plan_from
from weir.replay.requests.selecting import Selection, select
from weir.replay.runs import Run, RunKind, Runs, check_wanted
from weir.worker import Worker

# fields of a plan, besides those that a report always shows
SHOWN: Final = ("where", "route", "limit", "rate", "concurrency")
WATCHED: Final = (topics.CHAT_REQUESTS.name, topics.CHAT_CHUNKS.name)


def runs_of(worker: Worker) -> Runs:
    """The runs in the log."""
    return Runs(worker.log, worker.events, tenant=worker.settings.default_tenant)


async def draft(worker: Worker, plan: ReplayPlan) -> Run:
    """Make the run of a plan, without beginning it.

    Raises:
        ReplayError: the plan cannot be carried out; the message says why.
        LogError: the log cannot be read.
    """
    fixed, found = await _range(worker, plan)
    return await runs_of(worker).draft(RunKind.REQUESTS, fixed.as_json(), found, watched=WATCHED)


async def begin(worker: Worker, plan: ReplayPlan, *, by: str) -> Run:
    """Write the run of a plan down; `carry_out` carries it out.

    Args:
        worker: with a log that is open.
        plan: the plan.
        by: ``cli`` or ``http``.

    Raises:
        ReplayError: the plan cannot be carried out; the message says why.
        LogError: the run may or may not be written down.
    """
    fixed, found = await _range(worker, plan)
    return await runs_of(worker).begin(RunKind.REQUESTS, fixed.as_json(), found, watched=WATCHED, by=by)


async def carry_out(worker: Worker, run: Run, steps: Steps, *, patience_s: float) -> ReplayReport:
    """Replay the rest of a run, and write down its report.

    Args:
        worker: with a log that is open.
        run: a run from `begin`, or one that was found.
        steps: called with the progress.
        patience_s: how long the run waits without any answer before it is given up.

    Raises:
        ReplayError: the run could not be finished; the message says why.
        LogError: the log refuses.
    """
    check_wanted(run)
    if run.is_over:
        return await report(worker, run)
    selection = await select(worker.log, run, worker.prices, steps, worker.settings)
    await _publish_selected(worker, run, selection)
    known = await _compared(worker, run)
    with steps("replayed", len(selection.originals)) as replaying:
        replaying.advance(len(known))
        asking = RequestReplay(
            log=worker.log,
            events=worker.events,
            traces=Traces(worker.events, worker=worker.name),
            prices=worker.prices,
            run=run,
            originals=selection.originals,
            patience_s=patience_s,
            on_end=lambda _, in_flight: replaying.advance(1, f"{in_flight} in flight"),
            settings=worker.settings,
        )
        compared = await asking.run(known)
    await _ensure_published(worker, run, compared)
    made = report_of(_facts(run, len(compared), selection.passed_over, ended_at=utc_iso()), compared)
    await runs_of(worker).still_wanted(run)
    await runs_of(worker).end(run, made.as_json(rows=False))
    return made


async def count(worker: Worker, run: Run) -> int:
    """The number of pairs that a run has published.

    Raises:
        LogError: the log cannot be read.
    """
    return len(await runs_of(worker).results_as(run.id, ReplayCompared, lambda _: None))


async def cancel(worker: Worker, run: Run) -> bool:
    """Stop a run from asking any further, on whichever worker it runs; False if it is over.

    Raises:
        LogError: the run may or may not be cancelled.
    """
    if run.is_over:
        return False
    await runs_of(worker).end(run, {}, status="cancelled")
    return True


async def report(worker: Worker, run: Run, *, texts: bool = True) -> ReplayReport:
    """The report of a run as far as it has come.

    Args:
        worker: with a log that is open.
        run: the run.
        texts: whether to include the texts of answers, if the run was asked for them.

    Raises:
        LogError: the log cannot be read.
    """
    compared = await _compared(worker, run, texts=texts)
    chosen = [data_of(event, ReplaySelected) for event in await runs_of(worker).results(run.id, ReplaySelected)]
    selected = max([len(compared), *(each.selected for each in chosen)])
    passed_over = chosen[-1].passed_over if chosen else {}
    ended_at = None if run.ended is None else run.ended.summary.get("run", {}).get("ended_at", run.ended.ended_at)
    return report_of(_facts(run, selected, passed_over, ended_at=ended_at), compared)


async def _publish_selected(worker: Worker, run: Run, selection: Selection) -> None:
    """Publish the number of selected requests, so that a report has it while the run goes on."""
    data = ReplaySelected(run=run.id, selected=len(selection.originals), passed_over=selection.passed_over)
    tenant = worker.settings.default_tenant
    await worker.events.publish(data, tenant, event_id=derived_id("replay.selected", run.id, data.model_dump_json()))


async def _ensure_published(worker: Worker, run: Run, compared: list[Compared]) -> None:
    """Make sure that each pair is in the log: while the log was away, events may have been dropped."""
    known = {pair.uid for pair in await _compared(worker, run, texts=False)}
    for pair in compared:
        if pair.uid not in known:
            await worker.events.publish(event_of(run, pair), pair.tenant, event_id=event_id_of(run, pair))


async def _compared(worker: Worker, run: Run, *, texts: bool = True) -> list[Compared]:
    without = {} if texts else {"original_text": None, "replay_text": None}
    return await runs_of(worker).results_as(
        run.id, ReplayCompared, lambda event: compared_from({**event.data, "tenant": event.tenant_id, **without})
    )


def _facts(run: Run, selected: int, passed_over: dict[str, int], *, ended_at: str | None) -> RunFacts:
    plan = plan_from(run.parameters)
    shown: Json = {name: value for name, value in plan.as_json().items() if name in SHOWN and value}
    if passed_over:
        shown["passed_over"] = passed_over
    status = "running" if run.ended is None else run.ended.status
    return RunFacts(
        run_id=run.id,
        model=plan.model,
        from_time=None if plan.since == Edge.EARLIEST.value else plan.since,
        to_time=None if plan.until == Edge.LATEST.value else plan.until,
        started_at=run.started_at,
        ended_at=ended_at,
        selected=selected,
        status="completed" if ended_at is not None and run.ended is None else status,
        parameters=shown,
    )


async def _range(worker: Worker, plan: ReplayPlan) -> tuple[ReplayPlan, list[offset_ranges.OffsetRange]]:
    """The plan with times instead of ages, and the spans that it covers."""
    now = time.time()
    since = parse(plan.since, now=now, option="--from")
    until = parse(plan.until, now=now, option="--to")
    topic, kept_s = topics.CHAT_REQUESTS.name, topics.CHAT_REQUESTS.retention_s(worker.settings)
    found = await offset_ranges.resolve(worker.log, topic, since, until, now=now, kept_s=kept_s)
    return replace(plan, since=written(since), until=written(until)), found
