"""One run of a bench, from its brokers to its verdict."""

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from tests.fleet.happenings import say
from tests.fleet.table import Check, failures, rendered


class Run(Protocol):
    """The load and the faults of a bench."""

    load_s: float  # from the first request to the last answer

    async def go(self) -> None:
        """Run it; returns when every client has its answer."""

    @property
    def logs(self) -> list[Path]:
        """The log files of the brokers."""


RunT = TypeVar("RunT", bound=Run)


async def judged(
    name: str,
    seed: int,
    prepared: Callable[[Path], AbstractAsyncContextManager[RunT]],
    check: Callable[[RunT], Awaitable[tuple[list[Check], str]]],
    *,
    keep: bool,
) -> list[str]:
    """Run a bench, print the table, and return the checks that fail.

    The folder with the logs and the story of each request is kept if a check fails, or to ``keep`` it.

    Args:
        name: the name of the bench.
        seed: the seed of the run.
        prepared: makes everything that the run needs, with a folder for the workers' logs.
        check: returns the table, and the story of each request.
        keep: whether the folder stays.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"weir-{name}-"))
    problems, stories = ["the run did not come to its end"], ""
    try:
        async with prepared(folder) as run:
            try:
                await run.go()
                say(f"all clients have ended after {run.load_s:.1f} s; checking")
                table, stories = await check(run)
                problems = failures(table)
                say(f"\nseed {seed}\n{rendered(table)}\n")
            finally:
                if problems or keep:
                    for log in run.logs:
                        shutil.copy(log, folder)
                    (folder / "problems.txt").write_text("\n".join(problems))
                    (folder / "requests.txt").write_text(stories)
    finally:
        if problems or keep:
            say(f"{len(problems)} problems; they, the logs, and the story of each request are in {folder}")
        else:
            shutil.rmtree(folder)
    return problems
