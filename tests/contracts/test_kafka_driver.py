"""Faust on a real Kafka with the repaired driver: late acknowledgements, restarts, rebalances, table recovery.

Each app is a whole Faust worker in this process; two apps with the same id are two workers of one group.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import faust
import pytest
from faust.contrib.asgi import faust_app_running
from faust.tables.recovery import Recovery as FaustRecovery
from faust.transport.drivers import aiokafka

from transports.kafka.client import KafkaLog
from transports.kafka.driver import ENGINE_SETTINGS, Consumer, Transport, broker_url
from transports.kafka.repairs import Settlement
from transports.log import TopicSpec
from transports.recovery import Recovery

pytest_plugins = ["tests.services.fixtures"]
pytestmark = pytest.mark.kafka

Event = faust.Event


class Worker:
    """A Faust app with one agent that takes events and acknowledges none by itself."""

    def __init__(self, name: str, broker: str, folder: Path, *, blocked: bool = False, **settings: Any) -> None:
        self.events: list[Event] = []
        self.go_on = asyncio.Event()
        if not blocked:
            self.go_on.set()
        self.app = faust.App(
            name,
            broker=broker,
            **{
                **ENGINE_SETTINGS,
                "datadir": str(folder),
                "web_enabled": False,
                "topic_partitions": 2,
                "topic_disable_leader": True,
                "broker_commit_interval": 0.2,
                "broker_session_timeout": 6.0,
                "broker_heartbeat_interval": 0.5,
                "stream_buffer_maxsize": 64,
                **settings,
            },
        )
        self.topic = self.app.topic(f"{name}-in", key_type=bytes, value_type=bytes, value_serializer="raw")
        self.table = self.app.Table("state", partitions=2, key_type=bytes, value_type=bytes)

        @self.app.agent(self.topic)
        async def take(stream: Any) -> None:
            async for event in stream.noack().events():
                self.events.append(event)
                self.table[event.key] = event.value
                await self.go_on.wait()

    def consume_with(self, consumer: type[aiokafka.Consumer]) -> None:
        transport = type("Transport", (aiokafka.Transport,), {"Consumer": consumer})
        self.app.transport = transport(self.app.conf.broker, self.app)

    @property
    def recovery(self) -> FaustRecovery:
        recovery: FaustRecovery = self.app.tables.recovery  # type: ignore[attr-defined] # not in Faust's interface
        return recovery

    @property
    def values(self) -> list[bytes]:
        return [event.value for event in self.events]

    def ack(self, *values: bytes) -> None:
        for event in self.events:
            if event.value in values:
                event.ack()

    async def receive(self, count: int) -> list[bytes]:
        await until(lambda: len(self.events) >= count)
        return self.values


async def until(condition: Callable[[], bool], limit_s: float = 30) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - a test
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[Worker]:
    async with faust_app_running(worker.app):
        await until(worker.recovery.completed.is_set)
        yield worker


@pytest.fixture
def name() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def log(kafka_bootstrap: str, name: str) -> AsyncIterator[KafkaLog]:
    log = KafkaLog(kafka_bootstrap)
    await log.start()
    await log.create_topics([TopicSpec(name=f"{name}-in", partitions=2)], replication=1)
    yield log
    await log.stop()


def numbers(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


async def test_after_a_restart_everything_from_the_lowest_unacknowledged_on_comes_again(
    kafka_bootstrap: str, log: KafkaLog, name: str, tmp_path: Path
) -> None:
    broker = broker_url(kafka_bootstrap)
    for value in numbers(0, 12):
        await log.append(f"{name}-in", 0, b"k", value)
    async with running(Worker(name, broker, tmp_path)) as worker:
        assert await worker.receive(12) == numbers(0, 12)
        worker.ack(b"11", b"7", b"1", b"5", b"0", b"2")
        await asyncio.sleep(0.5)
    async with running(Worker(name, broker, tmp_path)) as worker:
        assert await worker.receive(9) == numbers(3, 12)
        worker.ack(*reversed(numbers(3, 12)))
        await asyncio.sleep(0.5)
    async with running(Worker(name, broker, tmp_path)) as worker:
        await log.append(f"{name}-in", 0, b"k", b"last")
        assert await worker.receive(1) == [b"last"]


async def test_what_was_acknowledged_just_before_the_stop_is_committed(
    kafka_bootstrap: str, log: KafkaLog, name: str, tmp_path: Path
) -> None:
    broker = broker_url(kafka_bootstrap)
    for value in numbers(0, 4):
        await log.append(f"{name}-in", 0, b"k", value)
    async with running(Worker(name, broker, tmp_path, broker_commit_interval=60.0)) as worker:
        await worker.receive(4)
        worker.ack(b"0", b"1")
    async with running(Worker(name, broker, tmp_path)) as worker:
        assert await worker.receive(2) == [b"2", b"3"]


class WithoutSeekToStart(Settlement, aiokafka.Consumer):
    """The driver but for one repair."""


@pytest.mark.parametrize("consumer", [Consumer, WithoutSeekToStart, aiokafka.Consumer])
async def test_a_rebalance_before_the_first_commit_loses_nothing(
    kafka_bootstrap: str, log: KafkaLog, name: str, tmp_path: Path, consumer: type[aiokafka.Consumer]
) -> None:
    """The agent is busy with the first message of each partition; the others wait in a queue, which Faust clears.

    Without the repair, and with stock Faust, the same steps lose messages: that is what keeps this test honest.
    """
    broker = broker_url(kafka_bootstrap)
    written = numbers(0, 20)
    for number, value in enumerate(written):
        await log.append(f"{name}-in", number % 2, b"k", value)
    busy, other = Worker(name, broker, tmp_path / "1", blocked=True), Worker(name, broker, tmp_path / "2")
    busy.consume_with(consumer)
    other.consume_with(consumer)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running(busy))
        await first.receive(1)
        second = await stack.enter_async_context(running(other))
        await until(lambda: len(second.app.consumer.assignment()) > 0)
        await until(lambda: not first.app.rebalancing and not second.app.rebalancing)
        first.go_on.set()

        def seen() -> set[bytes]:
            return {*first.values, *second.values}

        if consumer is Consumer:
            await until(lambda: seen() == set(written))
        else:
            await asyncio.sleep(4)
            assert seen() < set(written)


async def test_tables_come_back_from_their_changelog(
    kafka_bootstrap: str, log: KafkaLog, name: str, tmp_path: Path
) -> None:
    broker = broker_url(kafka_bootstrap)
    for key in numbers(0, 30):
        await log.append(f"{name}-in", int(key) % 2, key, b"value " + key)
    async with running(Worker(name, broker, tmp_path)) as worker:
        await worker.receive(30)
        await asyncio.sleep(0.5)
    for attempt in range(3):  # the store is in memory: each start reads the changelog
        async with running(Worker(name, broker, tmp_path / str(attempt))) as worker:
            assert {bytes(key): bytes(value) for key, value in worker.table.items()} == {
                key: b"value " + key for key in numbers(0, 30)
            }


async def test_the_end_of_recovery_cannot_be_missed(kafka_bootstrap: str, name: str, tmp_path: Path) -> None:
    """Set and cleared before anyone waits, as ``_slurp_changelogs`` does; a new recovery begins anew."""
    worker = Worker(name, broker_url(kafka_bootstrap), tmp_path)
    ours, stock = worker.recovery, FaustRecovery(worker.app, worker.app.tables)
    assert isinstance(ours, Recovery)
    for recovery in (ours, stock):
        recovery._set_recovery_started()
        recovery.signal_recovery_end.set()
        recovery.signal_recovery_end.clear()
    assert ours.signal_recovery_end.is_set()
    assert not stock.signal_recovery_end.is_set()
    ours._set_recovery_started()
    assert not ours.signal_recovery_end.is_set()


async def test_the_url_scheme_finds_the_repaired_driver(kafka_bootstrap: str, name: str, tmp_path: Path) -> None:
    app = Worker(name, broker_url(kafka_bootstrap), tmp_path).app
    assert isinstance(app.transport, Transport)
    assert app.transport.Consumer is Consumer


@pytest.mark.parametrize(
    ("servers", "url"),
    [
        ("a:9092", "kafka-atleastonce://a:9092"),
        ("a:9092, b:9093,", "kafka-atleastonce://a:9092;kafka-atleastonce://b:9093"),
    ],
)
def test_a_bootstrap_list_becomes_a_broker_url(servers: str, url: str) -> None:
    assert broker_url(servers) == url


def test_no_server_is_no_broker_url() -> None:
    with pytest.raises(ValueError, match="no Kafka server"):
        broker_url(" , ")


async def test_a_recovery_that_gets_no_records_is_pushed(
    kafka_bootstrap: str, log: KafkaLog, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the flow stays stopped in the middle of a recovery, stock Faust waits for ever."""
    broker = broker_url(kafka_bootstrap)
    async with running(Worker(name, broker, tmp_path)) as worker:
        await log.append(f"{name}-in", 0, b"k", b"v")
        await worker.receive(1)
        worker.ack(b"v")
        await asyncio.sleep(0.5)
    lost: list[Consumer] = []
    resume = Consumer.resume_flow

    def lose_the_first(consumer: Consumer) -> None:
        if lost:
            resume(consumer)
        else:
            lost.append(consumer)
            consumer.stop_flow()

    monkeypatch.setattr(Consumer, "resume_flow", lose_the_first)
    async with running(Worker(name, broker, tmp_path / "again")) as worker:
        assert lost
        assert worker.table[b"k"] == b"v"
