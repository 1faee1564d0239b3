"""The workloads, and one cell of the measurement: one workload against one target."""

import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import orjson

from bench.load import Figures, Job
from bench.processes import NOISY, ROOT, BenchError, CpuMeter, await_quiet, module
from bench.targets import HTTP, RABBITMQ, Field, Target
from bench.upstream import model_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A number of clients that ask for answers of a given length and pace."""

    key: str
    clients: int
    tokens: int
    pace_ms: int
    door: str = HTTP

    @property
    def title(self) -> str:
        """The workload in words."""
        pace = f"{self.pace_ms} ms each" if self.pace_ms else "full speed"
        door = " over RabbitMQ" if self.door == RABBITMQ else ""
        return f"{self.key}: {self.clients} client{'s' * (self.clients > 1)}{door}, {self.tokens} tokens, {pace}"


W1 = Workload(key="W1", clients=1, tokens=50, pace_ms=5)
W2 = Workload(key="W2", clients=64, tokens=50, pace_ms=5)
W3 = Workload(key="W3", clients=32, tokens=200, pace_ms=0)
W4 = Workload(key="W4", clients=50, tokens=50, pace_ms=5, door=RABBITMQ)
WORKLOADS = (W1, W2, W3, W4)
GENERATORS = {HTTP: "bench.load", RABBITMQ: "bench.queue_load"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The result of one workload against one target in one round."""

    workload: str
    target: str
    round: int
    figures: Figures
    cpu: dict[str, float]  # cores busy, by process

    def to_json(self) -> dict[str, object]:
        """The cell as JSON, for the results."""
        return asdict(self)


def measure(workload: Workload, target: Target, field: Field, *, number: int, seconds: float, warmup_s: float) -> Cell:
    """Measure one cell, with a load generator of its own."""
    job = Job(
        port=target.port,
        clients=workload.clients,
        model=model_name(workload.tokens, workload.pace_ms),
        tokens=workload.tokens,
        seconds=seconds,
        warmup_s=warmup_s,
        run=secrets.token_hex(4),
        queue=target.queue,
    )
    pipe, command = subprocess.PIPE, module(GENERATORS[workload.door])
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, cwd=ROOT) as generator:
        lines = _talk(generator, orjson.dumps(asdict(job)) + b"\n")
        meter = CpuMeter({"generator": generator.pid, **field.pids})
        _expect(lines, "begin")
        meter.begin()
        _expect(lines, "end")
        cpu = meter.end()
        figures = Figures(**orjson.loads(next(lines)))
    return Cell(workload=workload.key, target=target.key, round=number, figures=figures, cpu=cpu)


def _talk(generator: "subprocess.Popen[bytes]", line: bytes) -> Iterator[bytes]:
    if generator.stdin is None or generator.stdout is None:
        raise BenchError("the load generator has no pipes")
    generator.stdin.write(line)
    generator.stdin.close()
    return iter(generator.stdout)


def _expect(lines: Iterator[bytes], word: str) -> None:
    line = next(lines, b"").decode().strip()
    if line != word:
        raise BenchError(f"the load generator said {line!r} instead of {word!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often and how long every cell is measured."""

    rounds: int
    seconds: float  # of each cell
    warmup_s: float  # before it
    # for each cell: how long to wait for other programs to be quiet, and to repeat it if they were not
    patience_s: float


def run(workloads: Sequence[Workload], field: Field, pace: Pace) -> Iterator[Cell]:
    """All cells, interleaved, so that a disturbance of the machine affects all targets alike.

    First, each target gets a short load that is not counted, for connections, caches, and Kafka's compiler.
    """
    for target in field.targets:
        for workload in workloads:
            measure(workload, target, field, number=0, seconds=min(1.0, pace.seconds), warmup_s=pace.warmup_s)
    for number in range(1, pace.rounds + 1):
        for workload in workloads:
            for target in field.targets:
                yield _quiet_cell(workload, target, field, number, pace)


def _quiet_cell(workload: Workload, target: Target, field: Field, number: int, pace: Pace) -> Cell:
    """Measure a cell without disturbance by other programs, within the patience. Its figures do not influence that."""
    deadline = time.monotonic() + pace.patience_s
    while True:
        await_quiet(field.pids, deadline)
        cell = measure(workload, target, field, number=number, seconds=pace.seconds, warmup_s=pace.warmup_s)
        if cell.cpu["others"] <= NOISY or time.monotonic() >= deadline:
            return cell
