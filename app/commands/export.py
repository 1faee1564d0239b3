"""``faust -A app export TOPIC``: writes a topic, or a part of it, as a file for other programs: see docs/export.md."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from faust.cli.base import cli

from app import parts
from app.commands.running import audit, connected, run, say
from weir.chat.audit import EXPORT
from weir.export import parquet
from weir.export.opinions import Opinions
from weir.export.output import Output
from weir.export.tally import Tally
from weir.export.where import Where
from weir.export.writing import Export, ExportOptions, Format
from weir.log.log import LogClient
from weir.ranges import offset_ranges, when
from weir.ranges.bar import Progress
from weir.ranges.errors import NothingError, UsageError
from weir.ranges.offset_ranges import OffsetRange
from weir.topics import CHAT_REQUESTS, retention_of

STDOUT = "-"
MIN_SCORE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportArguments:
    """The options, as they were given."""

    topic: str
    since: str
    until: str
    format: Format
    output: str | None
    force: bool
    where: Sequence[str]
    limit: int | None
    model: str | None
    min_score: float | None
    unrated: bool


@cli.command(name="export")
@click.argument("topic")
@click.option("--from", "since", required=True, help="2026-11-20T08:00:00Z, -2h, earliest, or offsets (0:1200,3:88).")
@click.option("--to", "until", default="now", show_default=True, help="The end, not in it; written like --from.")
@click.option(
    "--format", type=click.Choice([one.value for one in Format]), default=Format.JSONL.value, show_default=True
)
@click.option("--output", help="The file; - is standard output.  [default: named by topic and range]")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--where", multiple=True, metavar="FIELD=VALUE", help="Only these records; all conditions must hold.")
@click.option("--limit", type=click.IntRange(min=1), help="Write at most so many.")
@click.option("--model", help="openai-batch: ask this model, whatever was asked.")
@click.option(
    "--min-score",
    type=click.FloatRange(-1, 1),
    help=f"openai-finetune: the least mean score of explicit feedback.  [default: {MIN_SCORE}]",
)
@click.option("--all", "unrated", is_flag=True, help="openai-finetune: also answers without explicit feedback.")
def export(**given: Any) -> None:
    """Write the records of TOPIC as a file.

    Exit codes: 0 done; 1 the log is away or refuses, the file cannot be written, or a defect; 2 asked for what cannot
    be; 3 nothing to export; 4 gone from the log; 130 stopped by Ctrl-C: there is no file.
    """
    run(_export(ExportArguments(**{**given, "format": Format(given["format"])})))


async def _export(options: ExportArguments) -> None:
    _check(options)
    now, where = time.time(), Where(options.where)
    since = when.parse(options.since, now=now, option="--from")
    until = when.parse(options.until, now=now, option="--to")
    output = Output(_path(options), force=options.force)
    async with connected(parts.worker, create=False):
        kept_s = retention_of(options.topic, parts.worker.settings)
        found = await offset_ranges.resolve(parts.worker.log, options.topic, since, until, now=now, kept_s=kept_s)
        # Before the export: so a kill does not hide it.
        await audit(parts.worker, options.topic, EXPORT, tenant=where.tenant)
        asked = ExportOptions(
            format=options.format,
            spans=found,
            where=where,
            limit=options.limit,
            model=options.model,
            min_score=MIN_SCORE if options.min_score is None else options.min_score,
            unrated=options.unrated,
        )
        try:
            with output:
                tally = await _written(parts.worker.log, asked, output)
        except asyncio.CancelledError:
            say(f"stopped: nothing whole was written to {options.output or _path(options)}")
            raise
        place = ", ".join(output.names) or "standard output"
        say(f"{options.topic}: {tally.written} records, {output.size} bytes, in {place}{tally.left_out()}")


async def _written(log: LogClient, asked: ExportOptions, output: Output) -> Tally:
    export, opinions = Export(log, asked, output, parts.worker.settings), Opinions(log, parts.worker.settings)
    if asked.format is Format.FINETUNE:
        said = await opinions.spans(await _beginning(log, asked.spans))
        with Progress("feedback", offset_ranges.size(said)) as progress:
            await opinions.read(said, progress)
    with Progress("records", offset_ranges.size(asked.spans)) as progress:
        await export.write(opinions, progress)
    if not export.tally.written:
        raise NothingError(f"nothing to export{export.tally.left_out()}")
    return export.tally


async def _beginning(log: LogClient, found: list[OffsetRange]) -> float:
    """Return when the first of some records was written, in seconds since the epoch."""
    first = [record for span in found for record in await log.read(span.at, span.start, limit=1)]
    return min((record.timestamp for record in first), default=0.0)


def _check(options: ExportArguments) -> None:
    if options.format.of_requests and options.topic != CHAT_REQUESTS.name:
        raise UsageError(f"--format {options.format} is made of {CHAT_REQUESTS.name}, not of {options.topic}")
    if options.model is not None and options.format is not Format.BATCH:
        raise UsageError(f"--model belongs to --format {Format.BATCH}")
    if (options.min_score is not None or options.unrated) and options.format is not Format.FINETUNE:
        raise UsageError(f"--min-score and --all belong to --format {Format.FINETUNE}")
    if options.format is Format.PARQUET:
        parquet.schema()


def _path(options: ExportArguments) -> Path | None:
    if options.output is not None:
        return None if options.output == STDOUT else Path(options.output)
    words = (re.sub(r"[^A-Za-z0-9.]+", "-", word).strip("-") for word in (options.since, options.until))
    return Path(f"{options.topic}_{'_'.join(words)}{options.format.suffix}")
