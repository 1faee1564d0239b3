"""The launcher with real processes: a stand-in for Faust prints its arguments, then waits to be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from demo.model import serving
from demo.run import answers

FAUST = """
import json, os, sys, time
told = {"url": os.environ.get("OPENAI_URL"), "rabbitmq": os.environ.get("RABBITMQ_URL")}
print(json.dumps({"argv": sys.argv[1:], "pid": os.getpid(), **told}), flush=True)
time.sleep(600)
"""
NO_SERVER = "http://127.0.0.1:9/v1"  # discard: nothing listens there
ROOT = Path(__file__).parents[3]


@contextmanager
def launched(folder: Path, local_llm_url: str, **env: str) -> Iterator[tuple[int, str, dict[str, object]]]:
    """Run the launcher; yield its pid, its output, and the arguments of the worker that it became."""
    (folder / "faust").mkdir()
    (folder / "faust" / "__init__.py").touch()
    (folder / "faust" / "__main__.py").write_text(FAUST)
    command = [sys.executable, "-c", f"from demo.run import main; main({local_llm_url!r})"]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "LOG_LEVEL", "RESTAPI_"))}
    # The stand-in must be found before the real Faust, in the launcher's working directory.
    environment = {**inherited, "PYTHONPATH": f"{folder}:{ROOT}", **env}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            printed = ""
            for line in process.stdout:
                if line.startswith('{"argv"'):
                    yield process.pid, printed, orjson.loads(line)
                    break
                printed += line
        finally:
            process.kill()


def _gone_within(url: str, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not answers(url):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_demo_model_ends_with_the_worker(tmp_path: Path, number: signal.Signals) -> None:
    with launched(tmp_path, NO_SERVER) as (pid, printed, worker):
        assert worker["pid"] == pid
        url = str(worker["url"])
        assert answers(url)
        assert "DEMO MODEL" in printed
        assert url in printed
        os.kill(pid, number)
        assert _gone_within(url, 5)


def test_an_interrupt_from_the_terminal_is_for_the_worker_alone(tmp_path: Path) -> None:
    with launched(tmp_path, NO_SERVER) as (pid, _, worker):
        children = Path(f"/proc/{pid}/task/{pid}/children")
        if not children.exists():
            pytest.skip("lists children through /proc")
        (child,) = map(int, children.read_text().split())
        assert os.getpgid(child) != os.getpgid(pid)
        assert answers(str(worker["url"]))


def test_the_worker_is_faust_and_the_note_has_the_port(tmp_path: Path) -> None:
    with launched(tmp_path, NO_SERVER, RESTAPI_PORT="8099") as (_, printed, worker):
        assert worker["argv"] == ["-A", "app", "worker"]
        assert "http://localhost:8099/v1/chat/completions" in printed
        assert "http://localhost:8099/requests" in printed
        folder = os.path.relpath(Path(sys.executable).parent, tmp_path)
        assert f"run {folder}/faust" in printed


@pytest.mark.parametrize("url", ["", "amqp://guest:guest@localhost:5672/"])
def test_a_demo_model_takes_no_requests_from_rabbitmq(tmp_path: Path, url: str) -> None:
    with launched(tmp_path, NO_SERVER, RABBITMQ_URL=url) as (_, printed, worker):
        assert worker["rabbitmq"] == ""
        assert "RabbitMQ is off" in printed


def test_a_given_url_is_left_alone(tmp_path: Path) -> None:
    given = {"OPENAI_URL": "http://llm.example/v1", "RABBITMQ_URL": "amqp://mq/"}
    with launched(tmp_path, NO_SERVER, **given) as (_, printed, worker):
        assert (worker["url"], worker["rabbitmq"]) == (given["OPENAI_URL"], given["RABBITMQ_URL"])
        assert "RabbitMQ is off" not in printed
        assert "DEMO MODEL" not in printed


def test_a_password_in_the_url_is_not_printed(tmp_path: Path) -> None:
    with launched(tmp_path, NO_SERVER, OPENAI_URL="https://ada:hush@llm.example/v1") as (_, printed, worker):
        assert worker["url"] == "https://ada:hush@llm.example/v1"
        assert "OPENAI_URL, https://llm.example/v1" in printed
        assert "hush" not in printed


def test_a_local_llm_is_used_where_one_answers(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "demo.model", "--exit-with-stdin"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as llm:
        assert llm.stdout is not None
        local = llm.stdout.readline().split()[-1]
        with launched(tmp_path, local) as (_, printed, worker):
            assert worker["url"] is None
            assert "DEMO MODEL" not in printed
            assert local in printed
    assert llm.returncode == 0  # it ended with its stdin


async def test_only_a_server_that_lists_models_answers() -> None:
    assert not answers(NO_SERVER)
    async with serving() as url:
        pass
    assert not answers(url)
