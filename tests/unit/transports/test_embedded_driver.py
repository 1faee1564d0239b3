"""Faust on a log file: a real worker, an agent that settles late and in any order, a table, a restart."""

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import faust
import pytest
from faust.exceptions import ImproperlyConfigured
from faust.types import EventT

from transports.embedded.client import EmbeddedLog
from transports.log import Partition
from transports.recovery import TableManager

pytestmark = [
    # Faust 0.15.3 and its dependencies on Python 3.11; none of it is about our code.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]

START_S = 20.0


async def until(condition: Callable[[], object], *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # the subject must not help its own test
            await asyncio.sleep(0.01)


class Worker:
    """An app with one agent that holds its events until the test settles them, and one table."""

    def __init__(self, path: Path, query: str = "") -> None:
        self.app: Any = faust.App(  # Any: Faust's types lack what its drivers have
            "embedded-test",
            broker=f"sqlite://{path}{query}",
            datadir=str(path.parent / "faust"),
            topic_partitions=2,
            stream_wait_empty=False,
            stream_buffer_maxsize=64,
            broker_commit_interval=0.1,
            table_standby_replicas=0,
            web_enabled=False,
            reply_to="embedded-test-replies",
            consumer_auto_offset_reset="earliest",
            TableManager=TableManager,
        )
        self.topic = self.app.topic("work", key_type=bytes, value_type=bytes, value_serializer="raw")
        self.table: Any = self.app.Table("done", key_type=bytes, value_type=bytes, partitions=2)
        self.events: dict[bytes, EventT[Any]] = {}
        self.seen: list[bytes] = []
        self.gate = asyncio.Event()

        @self.app.agent(self.topic)
        async def agent(stream: Any) -> None:
            async for event in stream.noack().events():
                self.seen.append(event.value)
                self.events[event.value] = event
                if event.value.startswith(b"table:"):
                    self.table[event.key] = event.value
                    event.ack()
                if event.value.startswith(b"auto:"):
                    event.ack()
                if event.value == b"too big":
                    await self.gate.wait()
                    self.table[event.key] = bytes(1 << 20)
                    event.ack()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Worker"]:
        async with asyncio.timeout(START_S):
            await self.app.start()
            await self.app.tables.recovery.completed.wait()
        try:
            yield self
        finally:
            async with asyncio.timeout(START_S):
                await self.app.stop()

    async def send(self, *values: bytes, partition: int = 0) -> None:
        for value in values:
            await (await self.topic.send(key=value, value=value, partition=partition))

    def settle(self, *values: bytes) -> None:
        for value in values:
            self.events[value].ack()

    def committed(self, partition: int = 0) -> int | None:
        offsets: dict[Partition, int] = self.app.transport.file.committed("embedded-test")
        return offsets.get(Partition("work", partition))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


async def test_a_worker_is_ready_at_once_and_sees_what_is_sent(path: Path) -> None:
    async with Worker(path).running() as worker:
        await worker.send(b"a", b"b")
        await until(lambda: worker.seen == [b"a", b"b"])


async def test_after_a_restart_exactly_the_unsettled_events_come_again_and_tables_recover(path: Path) -> None:
    async with Worker(path).running() as worker:
        await worker.send(*(b"%d" % i for i in range(6)))
        await worker.send(*(b"table:%d" % i for i in range(20)), partition=1)
        await until(lambda: len(worker.seen) == 26)
        worker.settle(b"5", b"0", b"4", b"1")  # 2 and 3 stay in flight
        await until(lambda: worker.committed() == 2)
        await until(lambda: worker.committed(1) == 20)
    async with Worker(path).running() as worker:
        assert dict(worker.table.items()) == {b"table:%d" % i: b"table:%d" % i for i in range(20)}
        await until(lambda: len(worker.seen) >= 4)
        worker.settle(b"2", b"3", b"4", b"5")
        await until(lambda: worker.committed() == 6)
        assert worker.seen == [b"2", b"3", b"4", b"5"]
    async with Worker(path).running() as worker:
        await worker.send(b"new")
        await until(lambda: worker.seen)
        assert worker.seen == [b"new"]


async def test_an_acknowledgement_from_before_a_rebalance_settles_nothing(path: Path) -> None:
    async with Worker(path).running() as worker:
        await worker.send(b"a")
        await until(lambda: worker.seen)
        worker.app.consumer_generation_id += 1
        worker.settle(b"a")
        await worker.app.consumer.commit()
        assert worker.committed() is None


async def test_rebalances_while_messages_flow_lose_nothing(path: Path) -> None:
    async with Worker(path).running() as worker:
        values = [b"auto:%04d" % i for i in range(3000)]
        topics = {tp.topic for tp in worker.app.consumer.assignment()}
        for i, value in enumerate(values):
            await worker.topic.send(key=value, value=value, partition=0)
            if i % 500 == 250:
                await worker.app.consumer.subscribe(topics)
            if i % 20 == 0:
                await asyncio.sleep(0.005)
        await until(lambda: worker.committed() == 3000, within_s=20)
        assert set(worker.seen) == set(values)


async def test_a_second_worker_on_the_file_is_told_to_use_kafka(path: Path) -> None:
    async with Worker(path).running():
        second = Worker(path)
        with pytest.raises(ImproperlyConfigured, match=r"already has a worker \(pid \d+\).*Kafka") as refused:
            await second.app.start()
        assert "\n" not in str(refused.value)
        await second.app.stop()


async def test_records_of_other_processes_reach_the_agent_without_polling(path: Path) -> None:
    program = textwrap.dedent(f"""
        import asyncio
        from transports.embedded.client import EmbeddedLog

        async def main():
            log = EmbeddedLog({str(path)!r})
            await log.start()
            await log.append("work", 1, b"k", b"from outside")
            await log.stop()

        asyncio.run(main())
    """)
    async with Worker(path).running() as worker:
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program], check=True, timeout=20)
        await until(lambda: worker.seen == [b"from outside"], within_s=0.5)


async def test_the_log_client_shares_the_file_with_the_worker(path: Path) -> None:
    async with Worker(path, "?sync=full").running() as worker:
        log = EmbeddedLog(path)
        await log.start()
        assert log.file is worker.app.transport.file
        await log.append("work", 0, b"k", b"v", [("h", b"\xff")])
        await until(lambda: worker.seen == [b"v"])
        assert worker.events[b"v"].headers == {"h": b"\xff"}
        await log.stop()
        await worker.send(b"still open")


async def test_a_worker_whose_streams_are_full_goes_on_when_they_drain(path: Path) -> None:
    async with Worker(path).running() as worker:
        values = [b"%04d" % i for i in range(1000)]
        await asyncio.gather(*[await worker.topic.send(key=v, value=v, partition=0) for v in values])
        await until(lambda: len(worker.seen) == 1000)
        assert worker.seen == values
        worker.settle(*values)
        await until(lambda: worker.committed() == 1000)


@pytest.mark.parametrize("broker", ["sqlite:///", "sqlite:///x.db?sync=perhaps"])
async def test_a_broker_url_that_cannot_be_meant_is_refused(broker: str, path: Path) -> None:
    app: Any = faust.App("refused", broker=broker, datadir=str(path.parent))
    with pytest.raises(ImproperlyConfigured, match="broker sqlite"):
        _ = app.transport.file


async def test_a_table_change_that_cannot_be_written_stops_the_worker_before_it_commits(path: Path) -> None:
    worker = Worker(path)
    async with worker.running():
        await worker.send(b"too big")
        await until(lambda: worker.seen)
        # The limit holds for the writing connection; SQLite makes it the present size of the file at least.
        await worker.app.transport.file.run(lambda db: db.execute("PRAGMA max_page_count=1").fetchall())
        worker.gate.set()
        await until(lambda: worker.app.crashed)
        assert worker.app.transport.torn
    async with Worker(path).running() as worker:  # another connection, without the limit
        await until(lambda: worker.seen == [b"too big"])
        assert not dict(worker.table.items())
