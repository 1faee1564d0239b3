"""Commands beside the workers, started as people start them: ``faust -A app …``."""

import asyncio
import os
import subprocess
from dataclasses import dataclass
from typing import Any

import orjson

from tests.e2e.workers import FAUST, ROOT, Worker

WITHIN_S = 300.0


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


def launched(worker: Worker, *arguments: str) -> "subprocess.Popen[str]":
    """A command with the settings of a worker, on its log."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", ""),
        "WEIR_DATA_DIR": str(worker.folder / "data"),
        "RABBITMQ_URL": "",
        **worker.env,
    }
    command = [str(FAUST), "-A", "app", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True)


async def ended(command: "subprocess.Popen[str]") -> Done:
    """A command at its end; it does not outlive the test."""
    try:
        out, err = await asyncio.to_thread(command.communicate, timeout=WITHIN_S)
    finally:
        command.kill()
    assert "Traceback" not in err, err
    return Done(command.returncode, out, err)


async def faust(worker: Worker, *arguments: str) -> Done:
    """Run a command to its end, whatever that is."""
    return await ended(launched(worker, *arguments))


async def ran(worker: Worker, *arguments: str, code: int = 0) -> str:
    """What a command wrote to stdout, or where it was to fail, to stderr."""
    done = await faust(worker, *arguments)
    assert done.code == code, done
    return done.err if code else done.out


async def reported(worker: Worker, *arguments: str) -> dict[str, Any]:
    """The report of a command, as JSON."""
    report: dict[str, Any] = orjson.loads(await ran(worker, *arguments, "--json"))
    return report


async def run_of(command: "subprocess.Popen[str]") -> str:
    """The id of the run that a command has begun: it says so first."""
    assert command.stderr is not None
    async with asyncio.timeout(WITHIN_S):
        line = await asyncio.to_thread(command.stderr.readline)
    assert " run " in line, line
    return line.split(" run ")[1].split()[0].rstrip(";:,.")


def killed(command: "subprocess.Popen[str]") -> None:
    """kill -9."""
    command.kill()
    command.communicate()
