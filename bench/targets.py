"""The four targets: no proxy, a bare proxy that parses, Weir on the embedded log, Weir on a real Kafka.

All of them run for the whole time, and only one of them has load at a time; what the others cost while they idle stands
in the results.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.processes import FAUST, Running, environment, module, start
from tests.services.kafka import KafkaBroker
from tests.services.process import free_ports

NO_PROXY, BARE, EMBEDDED, KAFKA = "none", "bare", "embedded", "kafka"
NAMES = {
    NO_PROXY: "no proxy",
    BARE: "bare parsing proxy",
    EMBEDDED: "Weir, embedded log",
    KAFKA: "Weir, Kafka acks=all",
}

# The broker of the tests looks after retention every second; a broker that serves does so every few minutes.
SERVING: Mapping[str, str] = {
    "log.initial.task.delay.ms": "30000",
    "log.retention.check.interval.ms": "300000",
    "log.segment.delete.delay.ms": "60000",
    "log.cleaner.backoff.ms": "15000",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where load goes, and the processes that work for it."""

    key: str
    port: int
    pids: Mapping[str, int]  # by role: proxy, worker, broker; not the upstream


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Everything that runs."""

    upstream: Running
    targets: Sequence[Target]

    @property
    def pids(self) -> dict[str, int]:
        """All processes but the generator's, by name."""
        found = {"upstream": self.upstream.pid}
        for target in self.targets:
            found |= {f"{target.key} {role}": pid for role, pid in target.pids.items()}
        return found


class BenchKafka(KafkaBroker):
    """A Kafka whose process we can ask how busy it is."""

    def __init__(self) -> None:
        super().__init__(SERVING)

    @property
    def pid(self) -> int:
        """The broker's."""
        return self._processes[-1].pid


def worker_settings(folder: Path, upstream_port: int, port: int, env: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker: the defaults, but for what says where everything is."""
    return environment(
        {
            "OPENAI_URL": f"http://127.0.0.1:{upstream_port}/v1",
            "RESTAPI_HOST": "127.0.0.1",
            "RESTAPI_ADVERTISED_HOST": "127.0.0.1",
            "RESTAPI_PORT": str(port),
            "WEIR_DATA_DIR": str(folder / "data"),
            "RABBITMQ_URL": "",  # off, unless it is what is measured
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


def start_all(keys: Sequence[str], folder: Path, stack: ExitStack) -> Field:
    """Start what these targets need; ``stack`` stops it."""
    upstream, upstream_port = start_upstream(folder, stack)
    targets = []
    for key in keys:
        print(f"starting {NAMES[key]} …", flush=True)
        if key == NO_PROXY:
            targets.append(Target(key=key, port=upstream_port, pids={}))
        elif key == BARE:
            targets.append(_bare(folder, upstream_port, stack))
        elif key == EMBEDDED:
            running, port = _worker("embedded", folder / "embedded", upstream_port, {})
            stack.callback(running.stop)
            targets.append(Target(key=key, port=port, pids={"worker": running.pid}))
        else:
            broker = stack.enter_context(BenchKafka())
            running, port = _worker("kafka", folder / "kafka", upstream_port, on_kafka(broker.bootstrap))
            stack.callback(running.stop)
            targets.append(Target(key=key, port=port, pids={"worker": running.pid, "broker": broker.pid}))
    return Field(upstream=upstream, targets=targets)


def _bare(folder: Path, upstream_port: int, stack: ExitStack) -> Target:
    port = free_ports(1)[0]
    command = module("bench.proxy", port, f"http://127.0.0.1:{upstream_port}/v1")
    running = start("bare proxy", command, folder, ping=f"http://127.0.0.1:{port}/ping")
    stack.callback(running.stop)
    return Target(key=BARE, port=port, pids={"proxy": running.pid})
