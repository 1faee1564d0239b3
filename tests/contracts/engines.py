"""Whole Faust workers on either broker, for `test_engine.py` and `test_repairs.py`.

A `Stage` is one broker set up for one test: a consumer group, its topics, and a log client to write and to read. A
`Worker` is a Faust app in this process, and ``python -m tests.contracts.engines`` is one in a process of its own, which
can be killed.
"""

import asyncio
import contextlib
import os
import sys
from abc import ABC, abstractmethod
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import faust
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from faust.tables.manager import TableManager as StockTables
from faust.tables.recovery import Recovery as FaustRecovery
from faust.transport.drivers import aiokafka

from tests.contracts.logs import new_name, read_all, until
from tests.services.process import TETHER
from weir.log.embedded import driver as embedded
from weir.log.embedded.client import EmbeddedLog
from weir.log.embedded.file import LogFile
from weir.log.embedded.upkeep import Upkeep
from weir.log.kafka import driver as kafka
from weir.log.kafka.client import KafkaLog
from weir.log.kafka.driver import ENGINE_SETTINGS, broker_url
from weir.log.kafka.security import KafkaSecurity
from weir.log.log import LogClient, Partition, Record, TopicSpec

PARTITIONS = 2
LIMIT_S = 30.0


class Worker:
    """A Faust worker in this process: one agent, which settles only the events that the test names, and one table.

    Args:
        stage: the broker and its topics.
        folder: the folder for its files; each worker of a group needs one of its own.
        writes: the agent writes every event's value into the table, under its key.
        acks: the agent acknowledges every event, after its gate.
        automatic: the stream acknowledges, as Faust's own do; Weir's never do.
        types: the types of the table's keys and values.
        transport: makes another driver than the one of the stage, from a broker and an app.
        settings: settings of the app, over those of Weir's engine.
    """

    def __init__(
        self,
        stage: "Stage",
        folder: str = "worker",
        *,
        writes: bool = False,
        acks: bool = False,
        automatic: bool = False,
        types: type[Any] = bytes,
        transport: Callable[[Any, Any], Any] | None = None,
        **settings: Any,
    ) -> None:
        self.stage = stage
        self.events: list[faust.Event] = []
        self.gate = asyncio.Event()  # the agent waits here with every event; open unless a test closes it
        self.gate.set()
        # Any: Faust's types lack what its drivers have
        self.app: Any = faust.App(
            stage.name,
            **{
                **ENGINE_SETTINGS,
                "broker": stage.url,
                "broker_credentials": stage.security.broker_credentials(),
                "datadir": str(stage.folder / folder),
                "web_enabled": False,
                "reply_to": f"{stage.name}-reply",
                "topic_partitions": PARTITIONS,
                "topic_disable_leader": True,
                "table_standby_replicas": 0,
                "broker_commit_interval": 0.1,
                "broker_session_timeout": 6.0,
                "broker_heartbeat_interval": 0.3,
                "stream_buffer_maxsize": 64,
                **settings,
            },
        )
        if transport is not None:
            self.app.transport = transport(self.app.conf.broker, self.app)
        self.topic = self.app.topic(stage.topic, key_type=bytes, value_type=bytes, value_serializer="raw")
        self.table: Any = self.app.Table("state", partitions=PARTITIONS, key_type=types, value_type=types)
        tables: Any = self.app.tables
        tables.sleep = _at_once  # it gives modules a second to declare tables; these are declared

        @self.app.agent(self.topic)
        async def take(stream: Any) -> None:
            async for event in (stream if automatic else stream.noack()).events():
                self.events.append(event)
                await self.gate.wait()
                if writes and event.value is None:
                    self.table.pop(event.key, None)
                elif writes:
                    self.table[event.key] = event.value
                if acks:
                    event.ack()

    @property
    def recovery(self) -> FaustRecovery:
        recovery: FaustRecovery = self.app.tables.recovery
        return recovery

    @property
    def values(self) -> list[bytes]:
        """The values that the agent received, in this order."""
        return [event.value for event in self.events]

    @property
    def state(self) -> dict[bytes, bytes]:
        """The rows of the table."""
        return {bytes(key): bytes(value) for key, value in self.table.items()}

    def ack(self, *values: bytes) -> None:
        for event in self.events:
            if event.value in values:
                event.ack()

    async def receive(self, count: int) -> list[bytes]:
        """Wait for so many values, and return all."""
        await until(lambda: len(self.events) >= count, within_s=LIMIT_S)
        return self.values

    def wait_late(self) -> asyncio.Event:
        """Make recovery wait for its end only after the end; the event is set when it is about to.

        It waits after the fetcher has started, so here the fetcher starts when the tables are read.
        """
        fetcher, about_to = self.app._fetcher, asyncio.Event()
        start = fetcher.maybe_start

        async def late() -> None:
            await start()
            await until(lambda: not self.recovery.in_recovery, within_s=LIMIT_S)
            await asyncio.sleep(0.1)
            about_to.set()

        fetcher.maybe_start = late
        return about_to

    async def rebalanced(self, generation: int) -> None:
        """Wait until a rebalance after that generation is over."""
        app = self.app
        await until(lambda: app.consumer_generation_id > generation and not app.rebalancing, within_s=LIMIT_S)

    @asynccontextmanager
    async def running(self, *, ready: bool = True) -> AsyncIterator["Worker"]:
        """Start, wait until it is ready unless told otherwise, and stop at the end."""
        start = asyncio.create_task(self.app.start())  # returns when the tables are read
        try:
            if ready:
                await asyncio.wait_for(asyncio.shield(start), LIMIT_S)
            yield self
        finally:
            async with asyncio.timeout(LIMIT_S):
                await self.app.stop()
                await asyncio.wait([start])
                await asyncio.gather(start, return_exceptions=True)


async def _at_once(_: float) -> None:
    await asyncio.sleep(0)


STOCK: dict[str, Any] = {"transport": aiokafka.Transport, "TableManager": StockTables}
"""Arguments of `Worker` for stock Faust, apart from settings. On Kafka."""


def without(*repairs: type) -> dict[str, Any]:
    """Arguments of `Worker` for Weir's Kafka driver without some repairs."""
    bases = tuple(base for base in kafka.Consumer.__bases__ if base not in repairs)
    assert len(bases) < len(kafka.Consumer.__bases__)
    return {"transport": type("Transport", (kafka.Transport,), {"Consumer": type("Consumer", bases, {})})}


class Stage(ABC):
    """One broker, set up for one test."""

    url: str  # the broker argument of faust.App
    security = KafkaSecurity()

    def __init__(self, log: LogClient, folder: Path, name: str | None = None) -> None:
        self.log = log
        self.folder = folder
        self.name = name or new_name()  # of the consumer group
        self.topic = f"{self.name}-in"
        self.changelog = f"{self.name}-state-changelog"

    async def open(self) -> None:
        await self.log.start()
        await self.log.create_topics([TopicSpec(name=self.topic, partitions=PARTITIONS)], replication=1)

    async def close(self) -> None:
        await self.log.stop()

    async def write(self, *values: bytes | None, partition: int = 0, key: bytes = b"k") -> None:
        """Append values to the agent's topic, in this order."""
        await asyncio.gather(*(self.log.append(self.topic, partition, key, value) for value in values))

    async def changes(self, partition: int) -> list[Record]:
        """The records of the table's changelog."""
        return await read_all(self.log, Partition(self.changelog, partition))

    @abstractmethod
    async def rebalance(self, worker: Worker) -> None:
        """Make the only worker of the group give up its partitions and get them again."""

    @abstractmethod
    async def committed(self, partition: int = 0) -> int | None:
        """The offset that the group has committed for the agent's topic, as the broker knows it."""

    async def commits(self, offset: int, partition: int = 0) -> None:
        """Wait until exactly that offset is committed."""
        async with asyncio.timeout(LIMIT_S):
            while (known := await self.committed(partition)) is None or known < offset:
                await asyncio.sleep(0.05)
        assert known == offset

    @abstractmethod
    async def make_compacting(self) -> None:
        """Before the worker starts: make the table's changelog compact soon."""

    @abstractmethod
    async def compact(self) -> None:
        """Let compaction run, while no worker runs."""

    @abstractmethod
    async def refuse_changes(self, worker: Worker) -> None:
        """Make the broker refuse large records for the table's changelog."""

    @asynccontextmanager
    async def process(self) -> AsyncIterator["Outside"]:
        """A worker in a process of its own."""
        kind = type(self).__name__
        program = [sys.executable, "-W", "ignore", "-m", __name__, kind, self.address, self.name, str(self.folder)]
        tethered = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), *program]
        process = await asyncio.create_subprocess_exec(*tethered, stdin=PIPE, stdout=PIPE)
        outside = Outside(process)
        try:
            yield outside
        finally:
            await outside.kill()

    @property
    @abstractmethod
    def address(self) -> str:
        """The address of the broker."""


class Embedded(Stage):
    """The embedded log."""

    def __init__(self, address: str, folder: Path, name: str | None = None) -> None:
        self._log = EmbeddedLog(address)
        super().__init__(self._log, folder, name)
        self._address = address
        self.url = f"sqlite://{address}"

    @property
    def address(self) -> str:
        return self._address

    @property
    def file(self) -> LogFile:
        """The open file of the stage's own log client."""
        return self._log.file

    async def rebalance(self, worker: Worker) -> None:
        """Subscribe again: there is no other member, and a new subscription takes the same way."""
        consumer = worker.app.consumer
        assert isinstance(worker.app.transport, embedded.Transport)
        await consumer.subscribe({tp.topic for tp in consumer.assignment()})

    async def committed(self, partition: int = 0) -> int | None:
        return self.file.committed(self.name).get(Partition(self.topic, partition))

    async def make_compacting(self) -> None:
        """Do nothing: Faust's changelogs are compacted, and upkeep runs when it is called."""

    async def compact(self) -> None:
        await Upkeep(self.file, lag_s=0.0, tombstone_s=0.0, min_dirty=1).sweep()
        await self._log.stop()  # with its records in memory
        await self._log.start()

    async def refuse_changes(self, worker: Worker) -> None:
        """Fill the disk. SQLite takes the file's present size at least."""
        await worker.app.transport.file.run(lambda db: db.execute("PRAGMA max_page_count=1").fetchall())


class Kafka(Stage):
    """A real Kafka."""

    def __init__(
        self, address: str, folder: Path, name: str | None = None, security: KafkaSecurity | None = None
    ) -> None:
        super().__init__(KafkaLog(address, security=security), folder, name)
        self.security = security or KafkaSecurity()
        self._address = address
        self.url = broker_url(address)
        self._admin: Any = None  # aiokafka has no types

    @property
    def address(self) -> str:
        return self._address

    async def open(self) -> None:
        await super().open()
        self._admin = AIOKafkaAdminClient(bootstrap_servers=self._address, **self.security.client_options())
        await self._admin.start()

    async def close(self) -> None:
        await self._admin.close()
        await super().close()

    async def rebalance(self, worker: Worker) -> None:
        """Join the group once more: the broker then asks every member to."""
        thread = worker.app.consumer._thread
        thread.thread_loop.call_soon_threadsafe(thread._consumer._coordinator.request_rejoin)

    async def committed(self, partition: int = 0) -> int | None:
        offsets = await self._admin.list_consumer_group_offsets(self.name)
        return {tuple(tp): found.offset for tp, found in offsets.items()}.get((self.topic, partition))

    async def topics(self) -> set[str]:
        """All topics of the cluster."""
        return set(await self._admin.list_topics())

    async def make_compacting(self) -> None:
        settings = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
        settings |= {"max.compaction.lag.ms": "200", "min.compaction.lag.ms": "0", "delete.retention.ms": "0"}
        await self._admin.create_topics([NewTopic(self.changelog, PARTITIONS, 1, topic_configs=settings)])

    async def compact(self) -> None:
        """Do nothing: Kafka compacts by itself, about once a second."""

    async def refuse_changes(self, worker: Worker) -> None:  # noqa: ARG002
        setting = {"max.message.bytes": "1000"}
        await self._admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, self.changelog, configs=setting)])


class Outside:
    """A worker in a process of its own: it prints the values of its agent, and acknowledges those that it is sent."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.values: list[bytes] = []

    async def receive_until(self, last: bytes) -> list[bytes]:
        """The values up to this one."""
        assert self._process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            while last not in self.values:
                line = await self._process.stdout.readline()
                assert line, "the worker ended"
                self.values.append(line.strip())
        return self.values

    def ack(self, *values: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b" ".join(values) + b"\n")

    async def kill(self) -> None:
        """kill -9."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()


async def main(kind: str, address: str, name: str, folder: str) -> None:
    """Run a worker that talks with a test."""
    stage = {"Embedded": Embedded, "Kafka": Kafka}[kind](address, Path(folder), name)
    await stage.open()
    # With an id of its own, a worker that is started again after a kill need not wait for the dead one's session.
    worker = Worker(stage, consumer_group_instance_id=name)
    async with worker.running():
        said = 0
        orders = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
        while True:
            for value in worker.values[said:]:
                sys.stdout.write(value.decode() + "\n")
                said += 1
            sys.stdout.flush()
            if orders.done():
                worker.ack(*(word.encode() for word in orders.result().split()))
                orders = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
            await asyncio.sleep(0.02)


def numbers(first: int, last: int) -> list[bytes]:
    """The values from one up to, not including, another."""
    return [b"%d" % number for number in range(first, last)]


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
