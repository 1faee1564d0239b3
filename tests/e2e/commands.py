"""Commands beside the workers, started as users start them: ``faust -A app …``."""

import asyncio
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tests.e2e.workers import FAUST, ROOT, Worker
from weir.envelope import Json

WITHIN_S = 300.0


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Json:
        """The report of the command, if it made one."""
        assert self.code in {0, 6}, self.err
        found: Json = orjson.loads(self.out)
        return found


def launched(worker: Worker, *arguments: str, cwd: Path = ROOT, **env: str) -> "subprocess.Popen[str]":
    """Start a command with the settings of a worker, on its log."""
    command, pipe = [str(FAUST), "-A", worker.app, *arguments], subprocess.PIPE
    environment = {"PYTHONPATH": str(ROOT), **worker.environment, **env}
    return subprocess.Popen(command, cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True)


async def ended(command: "subprocess.Popen[str]") -> Done:
    """Wait for a command's end; it does not outlive the test."""
    try:
        out, err = await asyncio.to_thread(command.communicate, timeout=WITHIN_S)
    finally:
        command.kill()
    assert "Traceback" not in err, err
    return Done(command.returncode, out, err)


async def faust(worker: Worker, *arguments: str, cwd: Path = ROOT, **env: str) -> Done:
    """Run a command to its end, with whatever exit code."""
    return await ended(launched(worker, *arguments, cwd=cwd, **env))


async def ran(worker: Worker, *arguments: str, code: int = 0) -> str:
    """The output of a command: stdout, or if it was to fail, stderr."""
    done = await faust(worker, *arguments)
    assert done.code == code, done
    return done.err if code else done.out


async def reported(worker: Worker, *arguments: str) -> dict[str, Any]:
    """The report of a command, as JSON."""
    return (await faust(worker, *arguments, "--json")).json


async def run_of(command: "subprocess.Popen[str]") -> str:
    """The id of the run that a command has begun, which it prints first."""
    assert command.stderr is not None
    async with asyncio.timeout(WITHIN_S):
        while not (line := await asyncio.to_thread(command.stderr.readline)).startswith("weir: run "):
            assert line, "it ended before it began"
    return line.split()[2].rstrip(";:,.")


def killed(command: "subprocess.Popen[str]") -> None:
    """kill -9."""
    command.kill()
    command.communicate()
