"""Weir's commands beside a worker, as people run them."""

import asyncio
import subprocess
from dataclasses import dataclass

import orjson

from answers.envelope import Json
from tests.e2e.workers import FAUST, ROOT, Worker

WITHIN_S = 120.0


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Json:
        assert self.code in {0, 6}, self.err
        found: Json = orjson.loads(self.out)
        return found


async def replay(worker: Worker, *words: str, app: str | None = None) -> Done:
    """``faust -A app replay …`` to its end."""
    done = await asyncio.to_thread(
        subprocess.run,
        [str(FAUST), "-A", app or worker.app, "replay", *words],
        cwd=ROOT,
        env=worker.environment,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


async def killed(worker: Worker, *words: str, after_s: float) -> str:
    """Begin a run, and kill it -9 some time after it has told its id; the id."""
    process = await asyncio.create_subprocess_exec(
        str(FAUST),
        *("-A", worker.app, "replay", *words),
        cwd=ROOT,
        env=worker.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    async with asyncio.timeout(WITHIN_S):
        while not (line := await process.stderr.readline()).startswith(b"run "):
            assert line, "it ended before it began"
    await asyncio.sleep(after_s)
    if process.returncode is None:
        process.kill()
    await process.communicate()
    return line.split()[1].rstrip(b";").decode()
