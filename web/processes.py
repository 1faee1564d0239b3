"""Runs the processes beside a worker that carry out runs begun over HTTP."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from weir.errors import ApiError
from weir.replay.runs import Run

logger = logging.getLogger(__name__)

STOP_S = 5.0  # for a run to note that it is stopped
LINE_MAX_BYTES = 64 * 1024


class Processes:
    """The processes of one worker; each is the command that resumes a run. It ends with the worker, and can be resumed.

    Args:
        at_once: the limit on processes.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._reserved = 0
        self._running: dict[str, asyncio.Task[None]] = {}  # by run

    @property
    def runs(self) -> list[str]:
        """The runs that are carried out here."""
        return list(self._running)

    @contextmanager
    def place(self) -> Iterator[Callable[[Run], None]]:
        """Reserve a place for a run, and yield the function that starts it. Starting a run twice changes nothing.

        Raises:
            ApiError: there is no free place.
        """
        if len(self._running) + self._reserved >= self._at_once:
            raise ApiError(
                f"{self._at_once} replays run on this worker already; wait for one to end.",
                status=429,
                kind="rate_limit_error",
                code="too_many_replays",
                headers={"retry-after": "1"},
            )
        self._reserved += 1
        try:
            yield self._start
        finally:
            self._reserved -= 1

    async def close(self) -> None:
        """Stop all processes."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, run: Run) -> None:
        if run.id not in self._running:
            task = asyncio.get_running_loop().create_task(self._carry_out(run))
            self._running[run.id] = task
            task.add_done_callback(lambda _: self._running.pop(run.id, None))

    async def _carry_out(self, run: Run) -> None:
        command = ("replay", run.kind, "--resume", run.id, "--json", "--attached")
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "faust", "-A", "app", *command),
                stdin=asyncio.subprocess.PIPE,  # the process ends when this worker does, even if the worker is killed
                stdout=asyncio.subprocess.DEVNULL,  # its report is read from the log
                stderr=asyncio.subprocess.PIPE,
                limit=LINE_MAX_BYTES,
                start_new_session=True,  # so that Ctrl-C reaches only the worker
            )
        except OSError as error:
            logger.warning("replay %s: not started: %s", run.id, error)
            return
        try:
            last = await _last_line(process)
            code = await process.wait()
        except asyncio.CancelledError:
            await _stop(process)
            raise
        log = logger.info if code == 0 else logger.warning
        log("replay %s has ended with code %d: %s", run.id, code, last)


async def _last_line(process: asyncio.subprocess.Process) -> str:
    last = ""
    while process.stderr is not None:
        try:
            line = await process.stderr.readline()
        except ValueError:  # a longer line; the ones after it are read
            continue
        if not line:
            break
        last = line.decode(errors="replace").strip() or last
    return last


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S):
            await process.communicate()
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
