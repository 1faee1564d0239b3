"""One run from its Kafka to its verdict."""

import shutil
import tempfile
from pathlib import Path

from tests.cycle import checks
from tests.cycle.plan import Options
from tests.cycle.scenario import prepared, say
from tests.cycle.table import failures, rendered


async def cycle(options: Options) -> list[str]:
    """Run it, print the table, and tell what does not hold.

    The folder with the logs of workers and Kafka is kept if something does not.
    """
    folder = Path(tempfile.mkdtemp(prefix="weir-cycle-"))
    problems = ["the run did not come to its end"]
    try:
        async with prepared(options, folder) as run:
            try:
                await run.go()
                say(f"all clients have ended after {run.load_s:.1f} s; checking")
                table = await checks.check(run)
                problems = failures(table)
                say(f"\nseed {options.seed}\n{rendered(table)}\n")
            finally:
                if problems:
                    shutil.copy(run.broker.log, folder)
                    (folder / "problems.txt").write_text("\n".join(problems))
    finally:
        if problems:
            say(f"{len(problems)} problems; they and the logs are in {folder}")
        else:
            shutil.rmtree(folder)
    return problems
