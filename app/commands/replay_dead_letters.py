"""``faust -A app replay dead-letters``: processes dead letters once more: see docs/dead-letters.md."""

import sys
import time
from dataclasses import dataclass
from typing import Any

import click
import orjson

from app import parts
from app.commands.replay import replay
from app.commands.running import audit, connected, run, say
from weir.chat.audit import REPLAY
from weir.envelope import Json
from weir.ranges.bar import Progress
from weir.ranges.checks import conditions
from weir.ranges.errors import UsageError
from weir.ranges.when import When, parse
from weir.replay.dead_letters.choosing import FIELDS, Wanted
from weir.replay.dead_letters.dead_letters import Pace, Redriving
from weir.replay.dead_letters.letters_report import as_text
from weir.replay.requests.run import runs_of
from weir.replay.runs import Run


@dataclass(frozen=True, kw_only=True)
class RedriveArguments:
    """The options, as they were given."""

    since: str | None
    until: str | None
    reason: str | None
    topic: str | None
    where: tuple[str, ...]
    limit: int | None
    rate: float | None
    dry_run: bool
    resume: str | None
    no_wait: bool
    patience: float
    as_json: bool

    @property
    def wanted(self) -> Wanted:
        """Return the conditions that choose letters.

        Raises:
            UsageError: a condition is invalid.
        """
        return Wanted(reason=self.reason, topic=self.topic, where=conditions(self.where), limit=self.limit)

    @property
    def range(self) -> tuple[When, When]:
        """Return the beginning and the end of the range.

        Raises:
            UsageError: no beginning is given, or one of them is not a time.
        """
        if self.since is None:
            raise UsageError("--from is missing: when does it begin? For instance --from -2h")
        now = time.time()
        return parse(self.since, now=now, option="--from"), parse(self.until or "latest", now=now, option="--to")

    @property
    def pace(self) -> Pace:
        """Return the pace of the run."""
        return Pace(rate=self.rate, wait=not self.no_wait, patience_s=self.patience)

    def check(self) -> None:
        """Check whether the options go together.

        Raises:
            UsageError: they do not go together.
        """
        chosen = [self.since, self.until, self.reason, self.topic, self.limit, *self.where]
        if self.resume is not None and (self.dry_run or any(one is not None for one in chosen)):
            raise UsageError("--resume goes on with what was decided on: leave out --dry-run, and what chooses letters")


@replay.command("dead-letters")
@click.option(
    "--from", "since", metavar="TIME", help="The first letter: -2h, 2026-11-20T08:00:00Z, earliest, 0:12,1:9."
)
@click.option("--to", "until", metavar="TIME", help="The end; all there are, if it is left out.")
@click.option("--reason", metavar="TEXT", help="Only letters whose reason has this in it, in upper or lower case.")
@click.option("--topic", metavar="NAME", help="Only letters whose records came from this topic.")
@click.option("--where", metavar="FIELD=VALUE", multiple=True, help=f"Only these; fields are {', '.join(FIELDS)}.")
@click.option("--limit", metavar="N", type=int, help="At most so many, the oldest ones.")
@click.option("--rate", metavar="R", type=click.FloatRange(min=0, min_open=True), help="At most so many a second.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent, and write nothing.")
@click.option("--resume", metavar="RUN", help="Continue a run that was stopped.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the ends of requests.")
@click.option("--patience", metavar="SECONDS", type=click.FloatRange(min=1), default=300, show_default=True,
              help="How long nothing may happen while they are waited for.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The report as JSON.")
@click.option("--attached", is_flag=True, hidden=True, help="Stop when standard input ends.")
def dead_letters(*, attached: bool, **given: Any) -> None:
    """Send dead letters again, each once; requests that failed are answered again."""
    run(_main(RedriveArguments(**given)), attached=attached)


async def _main(asked: RedriveArguments) -> None:
    asked.check()
    report = await _report(asked)
    sys.stdout.write((orjson.dumps(report).decode() if asked.as_json else as_text(report)) + "\n")


async def _report(asked: RedriveArguments) -> Json:
    if asked.resume is not None:
        async with connected(parts.worker):
            return await _carried_out(await runs_of(parts.worker).find(asked.resume), asked)
    wanted, (since, until) = asked.wanted, asked.range
    async with connected(parts.worker, create=not asked.dry_run):
        redriving = Redriving(parts.worker, Progress)
        if asked.dry_run:
            return await redriving.look(since, until, wanted)
        return await _carried_out(await redriving.begin(since, until, wanted, by="cli"), asked)


async def _carried_out(begun: Run, asked: RedriveArguments) -> Json:
    await audit(parts.worker, begun.id, REPLAY)
    if not begun.is_over:
        say(f"run {begun.id}")
    return await Redriving(parts.worker, Progress).carry_out(begun, asked.pace)
