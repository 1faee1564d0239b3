"""Commands beside the workers, started as people start them."""

import asyncio
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.workers import FAUST, Worker
from tests.services.process import launch

WITHIN_S = 300.0


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


def env_of(worker: Worker) -> dict[str, str]:
    """The environment that a worker's log is found with."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", ""),
        "WEIR_DATA_DIR": str(worker.folder / "data"),
        "RABBITMQ_URL": "",
        **worker.env,
    }


async def faust(worker: Worker, *arguments: str) -> Done:
    """Run a command on a worker's log to its end."""
    done = await asyncio.to_thread(
        subprocess.run,
        [str(FAUST), "-A", "app", *arguments],
        cwd=worker.folder,
        env=env_of(worker),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


@dataclass
class Running:
    """A command that runs, and may be killed."""

    worker: Worker
    arguments: tuple[str, ...]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        command = [str(FAUST), "-A", "app", *self.arguments]
        self.process = launch(command, env=env_of(self.worker), log=self.log)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    async def ended(self) -> int:
        """Its exit code."""
        return await asyncio.to_thread(self.process.wait, WITHIN_S)
