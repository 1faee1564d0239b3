"""Faust's own commands on this application: their output, and one line where they fail."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import Start
from tests.e2e.workers import FAUST, ROOT


def ran(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "RABBITMQ_URL": ""}
    command = [str(FAUST), "-A", "app", *arguments]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("agents",), "agent-metrics-events, ai-learning-signals"),
        (("tables",), "How requests ended"),
        (("models",), "ModelReqRepRequest"),
        (("--help",), "export"),
        (("version",), "weir 0.1.0, commit "),
        (("--json", "version"), '{"name": "weir", "version": "0.1.0", "commit": "'),
    ],
)
def test_a_command_of_faust_tells_what_is_there(tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    done = ran(tmp_path, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert told in done.stdout


async def test_a_worker_starts_without_a_traceback_where_the_extra_for_traces_is_missing(
    tmp_path: Path, make_worker: Start
) -> None:
    missing = tmp_path / "path" / "opentelemetry"
    missing.mkdir(parents=True)
    (missing / "__init__.py").write_text("raise ModuleNotFoundError('no opentelemetry here')")
    worker = await make_worker({}, PYTHONPATH=f"{missing.parent}:{ROOT}").start()
    log = worker.log.read_text()
    assert "Traceback" not in log
    assert "opentelemetry" not in log


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("model", "X"), "weir: No model 'X'."),
        (("completion",), "weir: Missing required dependency"),
    ],
)
def test_a_command_of_faust_that_cannot_says_why_in_one_line(
    tmp_path: Path, arguments: tuple[str, ...], line: str
) -> None:
    done = ran(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1
