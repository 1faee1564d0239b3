"""One run from its Kafka to its verdict."""

import shutil
import tempfile
from pathlib import Path

from tests.cycle import checks
from tests.cycle.plan import Options
from tests.cycle.scenario import prepared
from tests.fleet.happenings import say
from tests.fleet.table import failures, rendered


async def cycle(options: Options, *, keep: bool = False) -> list[str]:
    """Run it, print the table, and tell what does not hold.

    The folder with the logs and the story of each request is kept if something does not, or to ``keep`` it.
    """
    folder = Path(tempfile.mkdtemp(prefix="weir-cycle-"))
    problems, stories = ["the run did not come to its end"], ""
    try:
        async with prepared(options, folder) as run:
            try:
                await run.go()
                say(f"all clients have ended after {run.load_s:.1f} s; checking")
                table, stories = await checks.check(run)
                problems = failures(table)
                say(f"\nseed {options.seed}\n{rendered(table)}\n")
            finally:
                if problems or keep:
                    shutil.copy(run.broker.log, folder)
                    (folder / "problems.txt").write_text("\n".join(problems))
                    (folder / "requests.txt").write_text(stories)
    finally:
        if problems or keep:
            say(f"{len(problems)} problems; they, the logs, and the story of each request are in {folder}")
        else:
            shutil.rmtree(folder)
    return problems
