"""The Node client: `npm ci` installs its libraries."""

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pytest

HERE = Path(__file__).parent
INSTALL_WITHIN_S = 600
RUN_WITHIN_S = 60


class ProgramError(Exception):
    """The program reports an error."""


class Program:
    """amqp_client.js with its libraries."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, url: str, queue: str, body: dict[str, Any]) -> str:
        """Run the program; returns its output.

        Raises:
            ProgramError: it failed; with its error text.
        """
        command = ["node", str(self._folder / "amqp_client.js"), url, queue, orjson.dumps(body).decode()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_WITHIN_S, check=False)
        if done.returncode:
            raise ProgramError(done.stderr)
        return done.stdout


@functools.cache
def installed() -> Program:
    """The client in a temporary folder of its own, once for all tests."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.fail("node and npm are missing; `make system` installs them", pytrace=False)
    temporary = tempfile.TemporaryDirectory(prefix="weir-node-")
    _kept.append(temporary)
    folder = Path(temporary.name)
    for name in ("package.json", "package-lock.json", "amqp_client.js"):
        shutil.copy(HERE / name, folder)
    _run("npm ci", ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
    return Program(folder)


_kept: list["tempfile.TemporaryDirectory[str]"] = []  # until the interpreter ends


def _run(what: str, command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_WITHIN_S, check=False)
    if done.returncode:
        pytest.fail(f"{what} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}", pytrace=False)
