"""S: measures how long a worker with many requests in its tables takes to serve again.

A past is written (bench/history.py); then workers are started, stopped, started, killed and started again. Measured
from the start of the process until it answers /ping, until the first token of a new request, and until it has answered
how old requests, spread over all, ended.
"""

import http.client
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from bench.processes import FAUST, ROOT, BenchError, CpuMeter, Running, await_ping, cpu_s, module, start
from bench.reading import TOKEN
from bench.targets import BenchKafka, on_kafka, start_upstream, worker_settings
from bench.upstream import model_name
from tests.services.process import free_ports

WITHIN_S = 180.0
HISTORY_WITHIN_S = 900.0
POLL_S = 0.02
OLD_ONES = 50
NO_TABLES, STOP, KILL = "no tables on disk", "stop", "kill -9"
MEMORY, ROCKSDB = {"TABLE_STORE": "memory"}, {"TABLE_STORE": "rocksdb"}


def old_uid(number: int) -> str:
    """The name of a request of the past."""
    return f"bench-{number:07d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """One start of a worker that has requests in its tables; seconds since the process was launched."""

    case: str  # log and table store
    after: str  # how the worker before it ended
    records: int
    ping_s: float
    token_s: float  # a new request's first token
    old_s: float  # until it knows how old requests ended
    cpu_s: float  # that the worker used until then: the rest of the time is waiting
    cpu: dict[str, float]  # cores busy meanwhile, by process

    @property
    def serves_s(self) -> float:
        """The time when the worker serves everything."""
        return max(self.ping_s, self.token_s, self.old_s)

    def to_json(self) -> dict[str, object]:
        """The start as JSON, for the results."""
        return asdict(self)


@dataclass(slots=True, kw_only=True)
class Bed:
    """A worker that is started again and again with the same settings, and the processes beside it."""

    case: str
    folder: Path
    env: Mapping[str, str]
    port: int
    records: int
    beside: Mapping[str, int]  # pids by name
    running: Running | None = None

    def launch(self) -> Running:
        """Start the worker's process."""
        name = self.case.replace(",", "")
        self.running = start(name, [str(FAUST), "-A", "app", "worker"], self.folder, self.env)
        return self.running

    def serve(self) -> Running:
        """Start the worker, and wait until it serves."""
        running = self.launch()
        await_ping(running, f"http://127.0.0.1:{self.port}/ping", WITHIN_S, POLL_S)
        return running

    def end(self, how: str) -> None:
        """End the worker with SIGTERM, or kill -9."""
        if self.running is not None and how == KILL:
            self.running.process.kill()
            self.running.process.wait()
        elif self.running is not None:
            self.running.stop()

    def make_history(self) -> None:
        """Write a past. A first worker makes the topics; it must be gone while the group's offsets are set."""
        self.serve()
        self.end(STOP)
        arguments = module("bench.history", self.records)
        subprocess.run(arguments, check=True, cwd=ROOT, env=dict(self.env), timeout=HISTORY_WITHIN_S)

    def measure(self, after: str) -> Start:
        """Start the worker, and measure the times."""
        launched_at = time.perf_counter()
        running = self.launch()
        meter = CpuMeter({"worker": running.pid, **self.beside})
        meter.begin()
        await_ping(running, f"http://127.0.0.1:{self.port}/ping", WITHIN_S, POLL_S)
        ping_s = time.perf_counter() - launched_at
        until(partial(speaks, self.port), "the first token of a new request")
        token_s = time.perf_counter() - launched_at
        for number in range(0, self.records, max(1, self.records // OLD_ONES)):
            until(partial(knows, self.port, old_uid(number)), "how an old request ended")
        old_s = time.perf_counter() - launched_at
        return Start(
            case=self.case,
            after=after,
            records=self.records,
            ping_s=round(ping_s, 2),
            token_s=round(token_s, 2),
            old_s=round(old_s, 2),
            cpu_s=round(cpu_s(running.pid), 2),
            cpu=meter.end(),
        )


def until(holds: Callable[[], bool], what: str) -> None:
    """Ask again until a condition holds.

    Raises:
        BenchError: it does not hold for very long.
    """
    deadline = time.monotonic() + WITHIN_S
    while not holds():
        if time.monotonic() > deadline:
            raise BenchError(f"after {WITHIN_S:.0f} s there is still no sign of {what}")
        time.sleep(POLL_S)


def speaks(port: int) -> bool:
    """Whether a new request gets a token."""
    question = {"model": model_name(5, 0), "messages": [{"role": "user", "content": "Awake?"}], "stream": True}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
    try:
        headers = {"content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(question), headers)
        response = connection.getresponse()
        return response.status == 200 and any(TOKEN in line for line in response)
    except OSError:
        return False
    finally:
        connection.close()


def knows(port: int, uid: str) -> bool:
    """Whether an old request is known as completed, in both tables."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
    try:
        connection.request("GET", f"/requests/{uid}")
        response = connection.getresponse()
        row = json.loads(response.read())
        return response.status == 200 and row["state"] == "completed" and bool(row.get("ended_at"))
    except OSError:
        return False
    finally:
        connection.close()


def beds(folder: Path, records: int, stack: ExitStack) -> Iterator[Bed]:
    """The cases: the embedded log, Kafka with tables in memory, and on disk. The last two share one Kafka."""
    upstream, upstream_port = start_upstream(folder, stack)
    beside = {"upstream": upstream.pid}

    def bed(case: str, env: Mapping[str, str], beside: Mapping[str, int]) -> Bed:
        port, own = free_ports(1)[0], folder / case.replace(", ", "-")
        own.mkdir()
        made = Bed(
            case=case,
            folder=own,
            env=worker_settings(own, upstream_port, port, env),
            port=port,
            records=records,
            beside=beside,
        )
        stack.callback(made.end, KILL)
        return made

    yield bed("embedded, memory", MEMORY, beside)
    broker = stack.enter_context(BenchKafka())
    beside = {**beside, "broker": broker.pid}
    kafka = on_kafka(broker.bootstrap)
    yield bed("kafka, memory", {**kafka, **MEMORY}, beside)
    yield bed("kafka, rocksdb", {**kafka, **ROCKSDB}, beside)


def run(folder: Path, records: int, times: int) -> Iterator[Start]:
    """All starts, one after the other, without any other load."""
    with ExitStack() as stack:
        for bed in beds(folder, records, stack):
            if bed.env["TABLE_STORE"] == "memory":
                began_at = time.monotonic()
                bed.make_history()
                took_s = time.monotonic() - began_at
                print(f"{bed.case}: {bed.records} finished requests written in {took_s:.1f} s", flush=True)
            else:
                yield bed.measure(NO_TABLES)
            for _ in range(times):
                for how in (STOP, KILL):
                    bed.end(how)
                    yield bed.measure(how)
            bed.end(STOP)
