"""``faust -A app replay table NAME --verify``: compares a table with its topics: see docs/rebuild.md."""

import sys

import click
import orjson

from app import parts
from app.commands.replay import replay
from app.commands.running import connected, run
from weir.ranges.bar import Progress
from weir.ranges.errors import DifferentError, UsageError
from weir.replay.verify.verifiable import Verifiable
from weir.replay.verify.verifying import Verified, verify

SHOWN = 20


@replay.command(name="table")
@click.argument("name")
@click.option("--verify", "wanted", is_flag=True, help="Compare the live table with one that is made from its topics.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--limit-shown", "shown", default=SHOWN, show_default=True, help="Differences that are printed.")
def table(name: str, *, wanted: bool, as_json: bool, shown: int) -> None:
    """Verify a table: terminals, requests, feedback, prompts or quality."""
    run(_main(name, wanted=wanted, as_json=as_json, shown=shown))


async def _main(name: str, *, wanted: bool, as_json: bool, shown: int) -> None:
    chosen = Verifiable(parts.worker, parts.tables.changelogs).table(name)
    if not wanted:
        raise UsageError(f"say what to do with table {name}: --verify")
    found = Verified(table=name)
    async with connected(parts.worker, create=False):
        with Progress(f"{name}, partitions", chosen.partitions) as progress:
            for number in range(chosen.partitions):
                await verify(parts.worker.log, chosen, found, number)
                progress.advance()
    if as_json:
        sys.stdout.write(orjson.dumps(found.as_json(shown), option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        sys.stdout.write(found.as_text(shown))
    if found.differences:
        raise DifferentError(f"table {name} is not what its topics say: {len(found.differences)} differences")
