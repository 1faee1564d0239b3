"""``faust -A app replay requests`` and ``report``: sends recorded requests to the LLM again."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import orjson

from app import parts
from app.commands.replay import replay
from app.commands.running import audit, connected, run, say
from weir.chat.audit import CANCEL_REPLAY, REPLAY, Action
from weir.ranges.bar import Progress
from weir.ranges.checks import LIMIT_MAX, conditions
from weir.ranges.errors import CancelledRunError, NothingError, UsageError
from weir.replay.report.page import page
from weir.replay.report.report import ReplayReport
from weir.replay.report.text_report import text_report
from weir.replay.requests import run as requests
from weir.replay.requests.plans import ReplayPlan, rate_of
from weir.replay.requests.selecting import select
from weir.replay.runs import Run, RunKind

PATIENCE_MAX_S = 604_800.0
PATIENCE_S = 600.0  # an LLM that loads a model, a rollout of workers; after that an operator should look


def report_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options about a report's place and form."""
    command = click.option("--json", "as_json", is_flag=True, help="The report as JSON on stdout, and nothing else.")(
        command
    )
    return click.option(
        "--report-dir",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(),
        help="Where replay-RUN.html and replay-RUN.json go.  [default: here]",
    )(command)


@replay.command(name="requests")
@click.option("--from", "since", help="First request: 2026-11-20T08:00:00Z, -2h, earliest, or offsets 0:1200,1:88.")
@click.option("--to", "until", default="now", show_default=True, help="End; written likewise.")
@click.option("--where", multiple=True, metavar="FIELD=VALUE", help="Only these; may be given several times.")
@click.option("--model", help="Ask this model instead of each request's own.")
@click.option("--route", help="Ask by this route.")
@click.option("--limit", type=int, default=LIMIT_MAX, show_default=True, help="The oldest so many.")
@click.option("--rate", metavar="R/s", help="At most so many requests per second.")
@click.option("--concurrency", type=int, default=8, show_default=True, help="Requests in flight.")
@click.option("--texts", is_flag=True, help="Show the texts of the answers in the report, too.")
@click.option(
    "--patience", type=float, default=PATIENCE_S, show_default=True, help="Give up after s without an answer."
)
@click.option("--dry-run", is_flag=True, help="Print what would be asked, and write nothing.")
@click.option("--resume", metavar="RUN", help="Continue a run that was stopped.")
@click.option("--attached", is_flag=True, hidden=True, help="Stop when standard input ends.")
@report_options
def replay_requests(resume: str | None, *, dry_run: bool, patience: float, attached: bool, **options: Any) -> None:
    """Ask recorded requests again, as new ones, and compare.

    No client gets an answer. The report shows each original beside its replay: status, latency, time to first token,
    tokens, cost, and how alike the texts are.
    """
    run(_requests(resume, dry_run=dry_run, patience_s=patience, **options), attached=attached)


@replay.command(name="cancel")
@click.argument("run_id", metavar="RUN")
def replay_cancel(run_id: str) -> None:
    """Cancel a run, wherever it runs: it sends no more requests, and cannot be resumed."""
    run(_cancel(run_id))


@replay.command(name="report")
@click.argument("run_id", metavar="RUN")
@report_options
def replay_report(run_id: str, report_dir: Path, *, as_json: bool) -> None:
    """Make the report of a run again, as far as it has come."""
    run(_report(run_id, report_dir, as_json=as_json))


async def _requests(
    resume: str | None, *, dry_run: bool, patience_s: float, report_dir: Path, as_json: bool, **options: Any
) -> None:
    if not 1 <= patience_s <= PATIENCE_MAX_S:
        raise UsageError(f"--patience: 1 to {PATIENCE_MAX_S:g} seconds")
    plan = None if resume is not None else _plan(options)
    async with connected(parts.worker, create=not dry_run):
        if plan is not None and dry_run:
            await _tell_draft(await requests.draft(parts.worker, plan))
            return
        begun = await _begun(plan, resume)
        try:
            made = await requests.carry_out(parts.worker, begun, Progress, patience_s=patience_s)
        except (NothingError, UsageError) as error:
            await requests.runs_of(parts.worker).end(begun, {"error": str(error)}, status="failed")
            raise
        except CancelledRunError:
            raise
        except BaseException:
            say(f"run {begun.id} has stopped; go on with: faust -A app replay requests --resume {begun.id}")
            raise
        _write(made, report_dir, as_json=as_json)


async def _cancel(run_id: str) -> None:
    async with connected(parts.worker):
        found = await requests.runs_of(parts.worker).find(run_id)
        if await requests.cancel(parts.worker, found):
            await _audit(found, CANCEL_REPLAY)
            say(f"run {run_id} is cancelled")
        else:
            say(f"run {run_id} is over")


async def _report(run_id: str, report_dir: Path, *, as_json: bool) -> None:
    async with connected(parts.worker, create=False):
        _write(await requests.report(parts.worker, await _found(run_id)), report_dir, as_json=as_json)


def _plan(options: dict[str, Any]) -> ReplayPlan:
    if options["since"] is None:
        raise UsageError("--from: say from when on, such as --from -2h")
    given = {**options, "where": conditions(options["where"]), "rate": rate_of(options["rate"])}
    return ReplayPlan(**given)


async def _begun(plan: ReplayPlan | None, resume: str | None) -> Run:
    if plan is None:
        found = await _found(str(resume))
        await _audit(found)
        return found
    begun = await requests.begin(parts.worker, plan, by="cli")
    say(f"run {begun.id}")
    await _audit(begun)
    return begun


async def _audit(run: Run, action: Action = REPLAY) -> None:
    await audit(parts.worker, run.id, action, tenant=run.tenant)


async def _found(run_id: str) -> Run:
    found = await requests.runs_of(parts.worker).find(run_id)
    if found.kind is not RunKind.REQUESTS:
        raise UsageError(f"run {run_id} is one of {found.kind}: see faust -A app replay {found.kind} --help")
    return found


async def _tell_draft(draft: Run) -> None:
    """Print what the run would ask, and what that took the first time."""
    selection = await select(parts.worker.log, draft, parts.worker.prices, Progress, parts.worker.settings)
    ends = [one.ended.outcome for one in selection.originals if one.ended is not None]
    known = [end.cost_usd for end in ends if end.cost_usd is not None]
    asked = [end.input_tokens for end in ends if end.input_tokens is not None]
    said = [end.output_tokens for end in ends if end.output_tokens is not None]
    for why, count in selection.passed_over.items():
        say(f"{count} skipped: {why}")
    sys.stdout.write(
        f"{len(ends)} requests would be asked again; they took {sum(asked) if asked else 'unknown'} input and "
        f"{sum(said) if said else 'unknown'} output tokens, and cost {f'${sum(known):.4f}' if known else 'unknown'} "
        f"({len(ends) - len(known)} have no known cost)\n"
    )


def _write(report: ReplayReport, folder: Path, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2) + b"\n")
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"replay-{report.facts.run_id}"
    path.with_suffix(".json").write_bytes(orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2))
    path.with_suffix(".html").write_text(page(report), encoding="utf-8")
    sys.stdout.write(text_report(report))
    say(f"written: {path.with_suffix('.html')} and .json")
