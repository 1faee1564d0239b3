"""The provider of real brokers, tested without one: kept services, reports, and leftovers."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from tests.services import KAFKA_VARIABLE, RABBITMQ_VARIABLE
from tests.services import __main__ as provider
from tests.services import process as services
from tests.services.fixtures import address_from

GIVEN = {KAFKA_VARIABLE: "kafka.example:9092", RABBITMQ_VARIABLE: "amqp://user:secret@rabbit.example/"}
# A child of `launch` that only sleeps, in a parent that says its pid and waits to be killed.
PARENT = """
import sys, threading, time
from tests.services.process import launch
pids = []
thread = threading.Thread(target=lambda: pids.append(launch([sys.executable, "-c", "import time; time.sleep(60)"]).pid))
thread.start()
thread.join()
print(pids[0], flush=True)
time.sleep(60)
"""


class Fake(services.Broker):
    """A broker that is any Python program, and answers once it has written a file."""

    name = "fake"
    start_timeout_s = 10.0

    def __init__(self, code: str) -> None:
        super().__init__()
        self.code = code
        self.prepared = 0

    def _prepare(self) -> None:
        self.prepared += 1

    def _launch_all(self) -> None:
        (self.folder / "up").unlink(missing_ok=True)
        self._launch([sys.executable, "-c", self.code, str(self.folder / "up")])

    def _answers(self) -> bool:
        return (self.folder / "up").exists()

    @property
    def pid(self) -> int:
        return self._processes[-1].pid


class NothingToStop(ExitStack):
    """A stack without services."""

    def push(self, exit: object) -> NoReturn:  # noqa: A002 - ExitStack names it
        raise AssertionError(exit)

    def enter_context(self, cm: object) -> NoReturn:
        raise AssertionError(cm)

    def callback(self, callback: object, /, *_: object, **__: object) -> NoReturn:
        raise AssertionError(callback)


SERVES = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"
FAILS = "import sys; print('line 1'); sys.exit('no room on this disk')"


def run_provider(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.services", *arguments]
    # A suite that runs in the background of a script ignores SIGINT, and its children would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            command, env={**os.environ, **GIVEN}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    finally:
        signal.signal(signal.SIGINT, before)


def exists(pid: int) -> bool:
    """Whether the process still runs; a zombie does not."""
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return listed.stdout.strip() != "" and not listed.stdout.startswith("Z")


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while exists(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


def test_an_address_in_the_environment_is_used_and_nothing_is_left_to_stop() -> None:
    stack = NothingToStop()
    assert provider.provide(GIVEN, stack) == GIVEN


def test_only_what_is_missing_is_started_and_it_is_closed_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[services.Broker] = []
    monkeypatch.setattr(provider, "compose_works", lambda: False)
    monkeypatch.setattr(provider, "start_all", started.extend)
    with ExitStack() as stack:
        addresses = provider.provide({KAFKA_VARIABLE: "kafka.example:9092"}, stack)
        (rabbit,) = started
        assert rabbit.folder.exists()
    assert addresses[KAFKA_VARIABLE] == "kafka.example:9092"
    assert addresses[RABBITMQ_VARIABLE].startswith("amqp://guest:guest@127.0.0.1:")
    assert not rabbit.folder.exists()


def test_a_password_in_a_given_address_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        provider.provide(GIVEN, stack)
    printed = capfd.readouterr().err
    assert "rabbit.example" in printed
    assert "secret" not in printed


def test_the_command_gets_the_addresses_and_its_exit_code_is_returned() -> None:
    code = f"import os, sys; print(os.environ['{KAFKA_VARIABLE}']); sys.exit(7)"
    child = run_provider("--", sys.executable, "-c", code)
    output, _ = child.communicate(timeout=20)
    assert (output, child.returncode) == ("kafka.example:9092\n", 7)


def test_a_command_ended_by_a_signal_gives_the_code_a_shell_would_give() -> None:
    child = run_provider("--", sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    child.communicate(timeout=20)
    assert child.returncode == 137


def test_a_command_that_does_not_exist_gives_127() -> None:
    child = run_provider("--", "no-such-command-anywhere")
    _, errors = child.communicate(timeout=20)
    assert child.returncode == 127
    assert "no-such-command-anywhere: No such file" in errors


def test_arguments_without_the_two_dashes_are_refused() -> None:
    child = run_provider("pytest")
    _, errors = child.communicate(timeout=20)
    assert child.returncode == 2
    assert "python -m tests.services -- COMMAND" in errors


def test_without_a_command_the_addresses_are_printed_until_the_interrupt() -> None:
    child = run_provider()
    assert child.stdout is not None
    lines = {child.stdout.readline(), child.stdout.readline()}
    assert lines == {f"export {name}={address}\n" for name, address in GIVEN.items()}
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=20)
    assert child.returncode == 130


def test_sigterm_is_passed_to_the_command() -> None:
    child = run_provider("--", sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(60)")
    assert child.stdout is not None
    pid = int(child.stdout.readline())
    child.terminate()
    child.communicate(timeout=20)
    assert child.returncode == 143
    assert not exists(pid)


def test_children_are_gone_after_their_parent_was_killed_and_stay_when_only_a_thread_ended() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], text=True, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    time.sleep(0.2)  # long enough for the kernel to have killed it with the thread that asked for it
    assert exists(pid)
    parent.kill()
    parent.communicate(timeout=20)
    wait_until_gone(pid)


def test_a_broker_that_fails_to_start_reports_the_end_of_its_log() -> None:
    with pytest.raises(services.ServiceError, match=r"(?s)fake ended while starting.*no room on this disk"):
        Fake(FAILS).__enter__()


def test_a_broker_that_never_answers_is_given_up_and_ended() -> None:
    fake = Fake("import time; time.sleep(60)")
    fake.start_timeout_s = 0.2
    with pytest.raises(services.ServiceError, match="fake does not answer"):
        fake.start()
    assert not fake.running
    fake.close()


def test_a_broker_can_be_stopped_killed_and_restarted_and_is_prepared_once() -> None:
    with Fake(SERVES) as fake:
        first = fake.pid
        fake.restart()
        assert fake.pid != first
        fake.kill()
        assert not fake.running
        fake.start()
        last = fake.pid
        assert fake.prepared == 1
    wait_until_gone(last)
    assert not fake.folder.exists()


def test_when_one_broker_fails_the_other_does_not_stay() -> None:
    good, bad = Fake(SERVES), Fake(FAILS)
    with pytest.raises(services.ServiceError, match="no room on this disk"):
        provider.start_all([good, bad])
    assert not good.running
    assert not good.folder.exists()
    with pytest.raises(services.ServiceError, match="fake was closed"):
        good.start()


def test_an_interrupt_while_brokers_start_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Fake("import time; time.sleep(60)")

    def interrupted(*_: object) -> None:
        while not slow.running:
            time.sleep(0.01)
        raise provider.Interrupted(signal.SIGTERM)

    monkeypatch.setattr(provider, "as_completed", interrupted)
    with pytest.raises(provider.Interrupted):
        provider.start_all([slow])
    assert not slow.running


def test_ports_are_outside_the_range_of_outgoing_connections() -> None:
    ports = services.free_ports(5)
    assert len(set(ports)) == 5
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if ephemeral.exists():
        assert max(ports) < int(ephemeral.read_text().split()[0])


def test_no_port_is_given_out_twice_nor_to_two_processes_of_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    given = services.free_ports(20) + services.free_ports(20)
    monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "3")
    for number in range(3):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", f"gw{number}")
        ports = services.free_ports(20)
        assert {port % 3 for port in ports} == {number}
        given += ports
    assert len(set(given)) == len(given)


def test_a_missing_address_fails_the_test_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KAFKA_VARIABLE, raising=False)
    with pytest.raises(pytest.fail.Exception, match="run `make test`, or set WEIR_TEST_KAFKA"):
        address_from(KAFKA_VARIABLE)
