"""Both logs for the contract suite: opens a log, removes its records, and uses it from another process.

The promises themselves are in the ``test_log*.py`` in this folder, which use only `LogClient` and `Tails`.
"""

import asyncio
import contextlib
import os
import sqlite3
import sys
import textwrap
import uuid
from abc import ABC, abstractmethod
from asyncio.subprocess import PIPE, Process
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from tests.services.process import TETHER
from weir.log.embedded.client import EmbeddedLog
from weir.log.embedded.upkeep import Upkeep, _prefix_deletion
from weir.log.kafka.client import KafkaLog
from weir.log.log import LogClient, Partition, Record, TopicSpec

OUTSIDE_S = 60.0  # another process is ended after this

PROGRAM = """
import asyncio, sys, time
from {module} import {client}
from weir.log.log import Partition, TopicSpec
from weir.log.tails import Tails

def say(*words):
    print(*words, flush=True)

async def hear():
    return (await asyncio.to_thread(sys.stdin.readline)).strip()

async def main():
    log = {client}(sys.argv[1])
    await log.start()
{body}
    await log.stop()

asyncio.run(main())
"""


def new_name() -> str:
    """A topic name for one test, on a Kafka that all tests share."""
    return f"test-{uuid.uuid4().hex[:12]}"


async def until(condition: Callable[[], object], *, within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # the subject must not help its own test
            await asyncio.sleep(0.003)


class Outside:
    """Another process that has the log open."""

    def __init__(self, process: Process) -> None:
        self.process = process

    async def line(self) -> str:
        """The next line that the process prints; empty when it has ended."""
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    def tell(self, line: object) -> None:
        """Make its `hear` return this line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def rest(self) -> list[str]:
        """All lines that it prints until it ends, whole ones only."""
        said, _ = await self.process.communicate()
        return said.decode().split("\n")[:-1]


class Log(ABC):
    """A real log of one broker, with its clients."""

    module: str
    client_name: str
    operated = False  # whether operators set retention with tools of their own

    def __init__(self, address: str) -> None:
        self.address = address
        self._clients: list[LogClient] = []

    async def client(self, *, max_request_size: int = 1 << 20, max_waiting_bytes: int = 64 << 20) -> LogClient:
        """A started client; it is stopped with the test."""
        client = self.make(max_request_size, max_waiting_bytes)
        self._clients.append(client)
        await client.start()
        return client

    async def close(self) -> None:
        while self._clients:
            await self._clients.pop().stop()

    @contextlib.asynccontextmanager
    async def outside(self, body: str) -> AsyncIterator[Outside]:
        """Run ``body`` in another process, with a started ``log``, and `say` and `hear` to talk with the test."""
        indented = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
        program = PROGRAM.format(module=self.module, client=self.client_name, body=indented)
        command = [sys.executable, "-I", "-S", str(TETHER), str(os.getpid()), sys.executable, "-c", program]
        child = await asyncio.create_subprocess_exec(*command, self.address, stdin=PIPE, stdout=PIPE)
        try:
            async with asyncio.timeout(OUTSIDE_S):
                yield Outside(child)
        finally:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.communicate()

    @abstractmethod
    def make(self, max_request_size: int = 1 << 20, max_waiting_bytes: int = 64 << 20) -> LogClient:
        """A client that is not started."""

    @abstractmethod
    async def settings(self, topic: str) -> tuple[float | None, bool]:
        """Retention in seconds and whether it is compacted, according to the log."""

    @abstractmethod
    async def new_table(self) -> Partition:
        """The only partition of a new compacted topic that is cleaned soon."""

    @abstractmethod
    async def upkeep(self) -> None:
        """Let retention and compaction run."""

    @abstractmethod
    async def cut(self, at: Partition, offset: int) -> None:
        """Delete all records before ``offset``, as retention does."""


class OnFile(Log):
    """The embedded log."""

    module, client_name = "weir.log.embedded.client", "EmbeddedLog"

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))

    def make(self, max_request_size: int = 1 << 20, max_waiting_bytes: int = 64 << 20) -> EmbeddedLog:
        return EmbeddedLog(self.address, max_request_size=max_request_size, max_waiting_bytes=max_waiting_bytes)

    async def _opened(self) -> EmbeddedLog:
        client = await self.client()
        assert isinstance(client, EmbeddedLog)
        return client

    async def settings(self, topic: str) -> tuple[float | None, bool]:
        with contextlib.closing(sqlite3.connect(self.address)) as db:
            row = db.execute("SELECT retention_s, compacted FROM topics WHERE name=?", (topic,)).fetchone()
        return row[0], bool(row[1])

    async def new_table(self) -> Partition:
        name = new_name()
        await (await self._opened()).create_topics([TopicSpec(name=name, partitions=1, compacted=True)], replication=1)
        return Partition(name, 0)

    async def upkeep(self) -> None:
        await Upkeep((await self._opened()).file, lag_s=0.0, tombstone_s=0.0, min_dirty=1).sweep()

    async def cut(self, at: Partition, offset: int) -> None:
        file = (await self._opened()).file
        await file.run(_prefix_deletion(file.id(at), offset))
        file.refresh()


class OnKafka(Log):
    """A real Kafka."""

    module, client_name = "weir.log.kafka.client", "KafkaLog"
    operated = True

    def make(self, max_request_size: int = 1 << 20, max_waiting_bytes: int = 64 << 20, prefix: str = "") -> KafkaLog:
        return KafkaLog(
            self.address,
            request_timeout_s=3.0,  # appending to a topic that does not exist takes as long
            max_request_size=max_request_size,
            max_waiting_bytes=max_waiting_bytes,
            prefix=prefix,
        )

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[Any]:  # aiokafka has no types
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    async def settings(self, topic: str) -> tuple[float | None, bool]:
        async with self.admin() as admin:
            (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        found = {entry[0]: entry[1] for entry in answer.resources[0][4]}
        retention_ms, policy = int(found["retention.ms"]), found["cleanup.policy"].split(",")
        assert ("delete" in policy) == (retention_ms >= 0 or "compact" not in policy)
        return (None if retention_ms < 0 else retention_ms / 1000), "compact" in policy

    async def new_table(self) -> Partition:
        name = new_name()
        settings = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
        settings |= {"max.compaction.lag.ms": "200", "min.compaction.lag.ms": "0", "delete.retention.ms": "0"}
        async with self.admin() as admin:
            await admin.create_topics([NewTopic(name, 1, 1, topic_configs=settings)])
        await (await self.client()).create_topics([TopicSpec(name=name, partitions=1)], replication=1)  # wait for it
        return Partition(name, 0)

    async def upkeep(self) -> None:
        """Do nothing: Kafka does it by itself, about once a second."""

    async def cut(self, at: Partition, offset: int) -> None:
        async with self.admin() as admin:
            await admin.delete_records({TopicPartition(*at): RecordsToDelete(before_offset=offset)})


async def new_topic(client: LogClient, partitions: int = 6, retention_s: float | None = None) -> Partition:
    """A partition of a new topic: the last one."""
    name = new_name()
    await client.create_topics([TopicSpec(name=name, partitions=partitions, retention_s=retention_s)], replication=1)
    return Partition(name, partitions - 1)


class Collected:
    """The records that a feed delivered, by partition."""

    def __init__(self) -> None:
        self.records: defaultdict[int, list[Record]] = defaultdict(list)

    def __call__(self, records: Sequence[Record], /) -> None:
        for record in records:
            self.records[record.partition].append(record)

    def offsets(self, at: Partition) -> list[int]:
        return offsets(self.records[at.partition])

    async def reach(self, at: Partition, offset: int) -> None:
        found = self.records[at.partition]
        await until(lambda: found and found[-1].offset >= offset)


def offsets(records: Sequence[Record]) -> list[int]:
    return [record.offset for record in records]


def values(records: Sequence[Record]) -> list[bytes | None]:
    return [record.value for record in records]


async def append_many(client: LogClient, at: Partition, count: int, key: bytes | None = None) -> list[int]:
    """Append the numbers from 0 on."""
    return await asyncio.gather(*(client.append(*at, key, b"%d" % number) for number in range(count)))


async def read_all(client: LogClient, at: Partition, position: int = 0, limit: int = 500) -> list[Record]:
    """All records of a partition, page by page."""
    found: list[Record] = []
    while page := await client.read(at, position, limit=limit):
        assert len(page) <= limit
        assert page[0].offset >= position
        found += page
        position = page[-1].offset + 1
    return found
