"""Child processes that die with this one, and the base class of all brokers for tests.

How it works: each child is started through `tether.py`, so the kernel kills it when its parent dies. The kernel takes
"parent" to mean the *thread* that forked, not the process: a child started from a short-lived thread would be killed
when that thread ends. Therefore one thread, which lives as long as the interpreter, starts all children.
"""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

TETHER = Path(__file__).with_name("tether.py")
LOG_TAIL_LINES = 40
PORTS = range(20000, 32000)

_given_out: set[int] = set()
_launcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="test-services-launcher")


class ServiceError(RuntimeError):
    """A service for the tests could not be provided."""


def say(text: str) -> None:
    """One line of progress, on stderr: stdout belongs to the command or to the `export` lines."""
    sys.stderr.write(f"services: {text}\n")
    sys.stderr.flush()


def launch(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    own_session: bool = True,
) -> subprocess.Popen[bytes]:
    """Start `command` so that it dies with this process.

    A session of its own keeps a Ctrl-C in the terminal away from it: this process also stops it, in order.
    """
    # -I -S: without site-packages and PYTHON* variables it starts in 15 ms and cannot be led astray.
    tethered = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *command]

    def start() -> subprocess.Popen[bytes]:
        if log is None:
            return subprocess.Popen(tethered, env=env, start_new_session=own_session)
        with log.open("ab") as output:
            return subprocess.Popen(
                tethered,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=own_session,
            )

    return _launcher.submit(start).result()


def end(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """Send SIGTERM, and SIGKILL when the grace period is over."""
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Loopback ports without a listener, below the range from which the kernel takes outgoing ones.

    A port from that range could be taken by any client while a broker restarts; worse, a client that keeps trying to
    reach its broker there may be given the very same port for its own end, and so be connected to itself.

    None is given out twice, and processes of pytest-xdist have each a share of their own: a port where nothing listens
    may be that of a worker that a test has just killed and is about to start again.
    """
    share, shares = _share()
    own = [port for port in PORTS if port % shares == share and port not in _given_out]
    found: list[int] = []
    for port in random.sample(own, len(own)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            _given_out.update(found)
            return found
    raise ServiceError(f"found only {len(found)} of {count} free ports")


def _share() -> tuple[int, int]:
    """Number of this process among those that pytest-xdist runs side by side, and how many they are."""
    shares = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % shares, shares


def log_tail(log: Path) -> str:
    """The last lines of a log, without terminal colours."""
    if not log.exists():
        return "(no log)"
    text = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
    return "\n".join(text.splitlines()[-LOG_TAIL_LINES:]) or "(its log is empty)"


class Broker(ABC):
    """A real broker of one test or of one test run, in a temporary folder and on free loopback ports.

    `start`, `stop`, `kill` and `restart` keep data and ports; `close` ends it and takes its data along. As a context
    manager it is started on entry and closed on exit.
    """

    name: str
    start_timeout_s = 60.0
    stop_grace_s = 15.0

    def __init__(self) -> None:
        # It cleans up at interpreter exit, too, if close() was not called.
        self._temporary = tempfile.TemporaryDirectory(prefix=f"weir-{self.name}-", ignore_cleanup_errors=True)
        self.folder = Path(self._temporary.name)
        self.log = self.folder / f"{self.name}.log"
        # The order in which they were started; the broker itself is the last one.
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._prepared = False
        self._closed = False

    @abstractmethod
    def _prepare(self) -> None:
        """Find or fetch the program and write its configuration, once."""

    @abstractmethod
    def _launch_all(self) -> None:
        """Launch the processes with `_launch`, the broker itself last."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the broker serves clients; an open port is not enough."""

    @property
    def running(self) -> bool:
        """Whether its processes exist."""
        return bool(self._processes) and all(process.poll() is None for process in self._processes)

    def start(self) -> Self:
        """Start the broker, unless it runs, and wait until it answers."""
        if self.running:
            return self
        try:
            if not self._prepared:
                self._prepare()
                self._prepared = True
            say(f"starting {self.name} …")
            started_at = time.monotonic()
            self._launch_all()
            self._await_answer(started_at + self.start_timeout_s)
        except BaseException:
            self.kill()
            raise
        say(f"{self.name} is up in {time.monotonic() - started_at:.1f} s")
        return self

    def stop(self) -> None:
        """Shut the broker down in order (SIGTERM); `start` brings it back with its data."""
        for process in reversed(self._take_processes()):
            end(process, self.stop_grace_s)

    def kill(self) -> None:
        """Send SIGKILL, as if the machine had failed; `start` brings it back with its data."""
        for process in reversed(self._take_processes()):
            process.kill()
            process.wait()

    def pause(self) -> None:
        """Send SIGSTOP: the broker hangs, and keeps its connections."""
        for process in self._processes:
            process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Send SIGCONT."""
        for process in self._processes:
            process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop the broker in order and start it again, with the same data and ports."""
        self.stop()
        self.start()

    def close(self) -> None:
        """End the broker for good. Its data goes too, so an orderly shutdown would only cost seconds."""
        with self._lock:
            self._closed = True
        self.kill()
        self._temporary.cleanup()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take_processes(self) -> list[subprocess.Popen[bytes]]:
        with self._lock:
            processes, self._processes = self._processes, []
        return processes

    def _launch(self, command: Sequence[str], env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        # Under the lock: a close() from another thread either prevents this process, or finds it.
        with self._lock:
            if self._closed:
                raise ServiceError(f"{self.name} was closed")
            process = launch(command, env=env, log=self.log)
            self._processes.append(process)
        return process

    def _run(self, command: Sequence[str], what: str, timeout_s: float) -> None:
        """Run one command of the preparation to its end."""
        process = self._launch(command)
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise self._failure(f"{what} takes longer than {timeout_s:.0f} s") from None
        with self._lock:
            # close() may have taken it away already.
            self._processes = [other for other in self._processes if other is not process]
        if code != 0:
            raise self._failure(f"{what} failed (exit code {code})")

    def _await_answer(self, deadline: float) -> None:
        while not self._answers():
            if not self.running:
                codes = [process.poll() for process in self._processes]
                raise self._failure(f"{self.name} ended while starting (exit codes {codes})")
            if time.monotonic() > deadline:
                raise self._failure(f"{self.name} does not answer after {self.start_timeout_s:.0f} s")
            time.sleep(0.05)

    def _failure(self, what: str) -> ServiceError:
        return ServiceError(f"{what}; the end of its log:\n{log_tail(self.log)}")
