"""The targets: no proxy, a bare proxy that parses, Weir on the embedded log, Weir on a real Kafka.

Over RabbitMQ there are three: an echo that answers without Weir, and Weir on either log. They share one RabbitMQ, and
each has a queue of requests of its own.

All targets of a door run for as long as it is measured, and only one of them has load at a time; the cost of the idle
ones is in the results.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.processes import FAUST, Running, environment, module, start
from tests.services.kafka import KafkaBroker
from tests.services.process import free_ports
from tests.services.rabbitmq import RabbitBroker

NO_PROXY, BARE, ECHO, EMBEDDED, KAFKA = "none", "bare", "echo", "embedded", "kafka"
NAMES = {
    NO_PROXY: "no proxy",
    BARE: "bare parsing proxy",
    ECHO: "RabbitMQ alone",
    EMBEDDED: "Weir, embedded log",
    KAFKA: "Weir, Kafka acks=all",
}
HTTP, RABBITMQ = "http", "rabbitmq"
DOORS = {HTTP: (NO_PROXY, BARE, EMBEDDED, KAFKA), RABBITMQ: (ECHO, EMBEDDED, KAFKA)}

# The tests' broker applies retention every second; a production broker does so every few minutes.
SERVING: Mapping[str, str] = {
    "log.initial.task.delay.ms": "30000",
    "log.retention.check.interval.ms": "300000",
    "log.segment.delete.delay.ms": "60000",
    "log.cleaner.backoff.ms": "15000",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The target of a load, and the processes that work for it."""

    key: str
    port: int
    pids: Mapping[str, int]  # by role: proxy, worker, broker; without the processes that all targets share
    queue: str = ""  # the queue of requests, if the port is RabbitMQ's


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """All processes of a measurement."""

    shared: Mapping[str, int]  # pids by name: upstream, rabbitmq
    targets: Sequence[Target]

    @property
    def pids(self) -> dict[str, int]:
        """All processes but the generator's, by name."""
        found = dict(self.shared)
        for target in self.targets:
            found |= {f"{target.key} {role}": pid for role, pid in target.pids.items()}
        return found


class BenchKafka(KafkaBroker):
    """A Kafka with the pid of its process, for its CPU time."""

    def __init__(self) -> None:
        super().__init__(SERVING)

    @property
    def pid(self) -> int:
        """The broker's pid."""
        return self._processes[-1].pid


class BenchRabbit(RabbitBroker):
    """A RabbitMQ with the pid of its process, for its CPU time."""

    @property
    def pid(self) -> int:
        """The server's pid."""
        return self._processes[-1].pid


def worker_settings(folder: Path, upstream_port: int, port: int, env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker: the defaults, except for addresses and folders."""
    return environment(
        {
            "OPENAI_URL": f"http://127.0.0.1:{upstream_port}/v1",
            "RESTAPI_HOST": "127.0.0.1",
            "RESTAPI_ADVERTISED_HOST": "127.0.0.1",
            "RESTAPI_PORT": str(port),
            "WEIR_DATA_DIR": str(folder / "data"),
            "RABBITMQ_URL": "",  # off, unless it is measured
            **env,
        }
    )


def _worker(name: str, folder: Path, upstream_port: int, env: Mapping[str, str]) -> tuple[Running, int]:
    port = free_ports(1)[0]
    folder.mkdir()
    settings = worker_settings(folder, upstream_port, port, env)
    return start(name, [str(FAUST), "-A", "app", "worker"], folder, settings, f"http://127.0.0.1:{port}/ping"), port


def on_kafka(bootstrap: str) -> dict[str, str]:
    """The settings that put a worker on this broker."""
    return {"KAFKA_BOOTSTRAP_SERVERS": bootstrap, "KAFKA_REPLICATION_FACTOR": "1"}


def start_upstream(folder: Path, stack: ExitStack) -> tuple[Running, int]:
    """The fake LLM and its port."""
    port = free_ports(1)[0]
    upstream = start("upstream", module("bench.upstream", port), folder, ping=f"http://127.0.0.1:{port}/v1/models")
    stack.callback(upstream.stop)
    return upstream, port


def start_all(door: str, keys: Sequence[str], folder: Path, stack: ExitStack) -> Field:
    """Start the processes that these targets need at a door; ``stack`` stops them."""
    folder = folder / door
    folder.mkdir()
    upstream, upstream_port = start_upstream(folder, stack)
    shared = {"upstream": upstream.pid}
    rabbit = stack.enter_context(BenchRabbit()) if door == RABBITMQ else None
    if rabbit is not None:
        shared["rabbitmq"] = rabbit.pid
    targets = []
    for key in keys:
        print(f"starting {NAMES[key]} …", flush=True)
        if key == NO_PROXY:
            targets.append(Target(key=key, port=upstream_port, pids={}))
        elif key == BARE:
            targets.append(_bare(folder, upstream_port, stack))
        elif key == ECHO and rabbit is not None:
            targets.append(_echo(folder, rabbit, stack))
        else:
            targets.append(_weir(key, folder, upstream_port, rabbit, stack))
    return Field(shared=shared, targets=targets)


def _weir(key: str, folder: Path, upstream_port: int, rabbit: BenchRabbit | None, stack: ExitStack) -> Target:
    env: dict[str, str] = {}
    pids, queue = {}, ""
    if key == KAFKA:
        broker = stack.enter_context(BenchKafka())
        pids["broker"] = broker.pid
        env |= on_kafka(broker.bootstrap)
    if rabbit is not None:
        queue = f"chat_{key}"
        env |= {"RABBITMQ_URL": rabbit.url, "RABBITMQ_QUEUE": queue}
    running, port = _worker(key, folder / key, upstream_port, env)
    stack.callback(running.stop)
    return Target(key=key, port=rabbit.port if rabbit else port, pids={"worker": running.pid, **pids}, queue=queue)


def _echo(folder: Path, rabbit: BenchRabbit, stack: ExitStack) -> Target:
    queue = f"chat_{ECHO}"
    running = start("echo", module("bench.echo", rabbit.port, queue), folder)
    stack.callback(running.stop)
    return Target(key=ECHO, port=rabbit.port, pids={"worker": running.pid}, queue=queue)


def _bare(folder: Path, upstream_port: int, stack: ExitStack) -> Target:
    port = free_ports(1)[0]
    command = module("bench.proxy", port, f"http://127.0.0.1:{upstream_port}/v1")
    running = start("bare proxy", command, folder, ping=f"http://127.0.0.1:{port}/ping")
    stack.callback(running.stop)
    return Target(key=BARE, port=port, pids={"proxy": running.pid})
