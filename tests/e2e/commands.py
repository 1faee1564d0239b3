"""Commands beside a worker, as people run them: ``faust -A app replay …``."""

import asyncio
import os
import subprocess
from typing import Any

import orjson

from tests.e2e.workers import FAUST, ROOT, Worker

WITHIN_S = 120.0


def launched(worker: Worker, *args: str) -> "subprocess.Popen[str]":
    """A command with the settings of a worker, on its log."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", ""),
        "WEIR_DATA_DIR": str(worker.folder / "data"),
        **worker.env,
    }
    return subprocess.Popen(
        [str(FAUST), "-A", "app", *args],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def ran(worker: Worker, *args: str, code: int = 0) -> str:
    """What a command wrote to stdout, or where it was to fail, to stderr."""
    command = launched(worker, *args)
    try:
        out, err = await asyncio.to_thread(command.communicate, timeout=WITHIN_S)
    finally:
        command.kill()
    assert command.returncode == code, f"{command.returncode}: {out}\n{err}"
    assert "Traceback" not in err, err
    return err if code else out


async def reported(worker: Worker, *args: str) -> dict[str, Any]:
    """The report of a command, as JSON."""
    report: dict[str, Any] = orjson.loads(await ran(worker, *args, "--json"))
    return report
