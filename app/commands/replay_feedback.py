"""``faust -A app replay feedback``: rebuilds signals and windows by today's formula: see docs/rebuild.md."""

import sys
import time
from typing import Any

import click
import orjson

from app import parts
from app.commands.replay import replay
from app.commands.running import audit, connected, run, say
from weir.chat.audit import REPLAY
from weir.envelope import Json
from weir.ranges.bar import Progress
from weir.ranges.errors import UsageError
from weir.ranges.when import parse
from weir.replay.rebuild.feedback_run import FeedbackRun
from weir.replay.rebuild.report_rebuild import RebuildReport

PATIENCE_S = 60.0


@replay.command(name="feedback")
@click.option("--from", "since", help="Rebuild what was given since: a time, an age such as -2h, or earliest.")
@click.option("--emit", is_flag=True, help="Publish the signals and insights that are different, marked with the run.")
@click.option("--dry-run", is_flag=True, help="Report what would change, and write nothing at all.")
@click.option("--resume", "run_id", help="Continue a run that was stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--patience",
    "patience_s",
    default=PATIENCE_S,
    show_default=True,
    help="Seconds without any change, after which the owners of the tables count as away.",
)
@click.option("--attached", is_flag=True, hidden=True, help="Stop when standard input ends.")
def feedback(*, attached: bool, **options: Any) -> None:
    """Score feedback by today's formula, and rebuild the windows beside the live ones."""
    run(_main(**options), attached=attached)


async def _main(
    since: str | None, run_id: str | None, *, emit: bool, dry_run: bool, as_json: bool, patience_s: float
) -> None:
    if (since is None) == (run_id is None):
        raise UsageError("say either --from or --resume")
    if run_id is not None and (emit or dry_run):
        raise UsageError("--resume goes on as the run was begun: --emit and --dry-run cannot be added")
    async with connected(parts.worker, create=not dry_run):
        work = FeedbackRun(parts.worker, parts.tables.changelogs, Progress, patience_s)
        if run_id is not None:
            report = await work.do(*await work.find(run_id))
        else:
            report = await _from(work, str(since), emit=emit, dry_run=dry_run)
    sys.stdout.write(_dumps(report.as_json()) if as_json else report.as_text())


async def _from(work: FeedbackRun, since: str, *, emit: bool, dry_run: bool) -> RebuildReport:
    now = time.time()
    planned = await work.plan(parse(since, now=now, option="--from"), emit=emit, now=now)
    if dry_run:
        return await work.look(planned)
    begun = await work.begin(planned, by="cli")
    say(f"run {begun.id}; if it is stopped, --resume {begun.id} goes on")
    await audit(parts.worker, begun.id, REPLAY)
    return await work.do(begun, planned)


def _dumps(report: Json) -> str:
    return orjson.dumps(report, option=orjson.OPT_INDENT_2).decode() + "\n"
