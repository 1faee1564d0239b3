"""The processes of a run: starts them, and measures how much of the cores each of them uses."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.services.process import end, launch, log_tail

ROOT = Path(__file__).parents[1]
FAUST = Path(sys.executable).with_name("faust")
UP_WITHIN_S = 60.0
STOP_GRACE_S = 40.0
NOISY = 0.25  # cores busy with other programs: results measured meanwhile are worth little
LOOK_S = 0.5
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """A program that the benchmark needs does not work."""


@dataclass(slots=True, kw_only=True)
class Running:
    """A process under measurement."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """The pid for /proc; the tether becomes the program, so this is the program's own."""
        return self.process.pid

    def stop(self) -> None:
        """Send SIGTERM, then SIGKILL."""
        end(self.process, STOP_GRACE_S)


def start(
    name: str, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None, ping: str | None = None
) -> Running:
    """Start a process that dies with this one, and wait until ``ping`` answers 200."""
    log = folder / f"{name.replace(' ', '-')}.log"
    running = Running(name=name, process=launch(command, env=env or environment(), log=log), log=log)
    if ping is not None:
        await_ping(running, ping)
    return running


def environment(settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process: only the variables by which programs are found, so that no setting leaks in."""
    return {**{key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}, **(settings or {})}


def module(name: str, *arguments: object) -> list[str]:
    """The command that runs a module of this project."""
    return [sys.executable, "-m", name, *map(str, arguments)]


def await_ping(running: Running, url: str, within_s: float = UP_WITHIN_S, every_s: float = 0.05) -> None:
    """Wait until a process serves."""
    deadline = time.monotonic() + within_s
    while not answers(url):
        if running.process.poll() is not None or time.monotonic() > deadline:
            raise BenchError(f"{running.name} does not serve {url}; the end of its log:\n{log_tail(running.log)}")
        time.sleep(every_s)


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 -- the benchmark's own, on loopback
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def cpu_s(pid: int) -> float:
    """Seconds that a process has spent on the cores, threads included; 0 if it is gone."""
    try:
        # The name, in brackets, may hold spaces; utime and stime are fields 14 and 15 of proc(5).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def machine_cpu_s() -> float:
    """Seconds that all cores together were busy since the machine was started, stolen time included."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = (
        int(ticks) for ticks in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S


class CpuMeter:
    """CPU seconds per second of each process between two moments, and of all other programs."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = dict(pids)
        self._began_at = 0.0
        self._before: dict[str, float] = {}
        self._machine_before = 0.0

    def begin(self) -> None:
        """Start the measurement."""
        self._began_at, self._machine_before = time.perf_counter(), machine_cpu_s()
        self._before = {name: cpu_s(pid) for name, pid in self._pids.items()}

    def end(self) -> dict[str, float]:
        """End the measurement; 1.0 is one core, busy all the time."""
        seconds = time.perf_counter() - self._began_at
        busy = {name: (cpu_s(pid) - self._before[name]) / seconds for name, pid in self._pids.items()}
        busy["others"] = max(0.0, (machine_cpu_s() - self._machine_before) / seconds - sum(busy.values()))
        return {name: round(share, 3) for name, share in busy.items()}


def await_quiet(pids: Mapping[str, int], deadline: float) -> None:
    """Wait until other programs leave the cores alone, or until the deadline of the monotonic clock."""
    while time.monotonic() < deadline:
        meter = CpuMeter(pids)
        meter.begin()
        time.sleep(LOOK_S)
        if meter.end()["others"] <= NOISY:
            return
