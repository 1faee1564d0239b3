"""RabbitMQ from the outside, as a client of the door sees it; and a worker that many tests share."""

import asyncio
import sqlite3
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import aio_pika
import orjson
import pika
from aio_pika import Message
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue
from aiormq.exceptions import ChannelLockedResource, ChannelNotFoundEntity

from tests.e2e.workers import Worker, get_json
from tests.services.process import end, free_ports, launch
from tests.services.rabbitmq import is_open
from weir.log.kafka.client import KafkaLog
from weir.log.log import Partition

T = TypeVar("T")

WITHIN_S = 30.0
DIRECT = "amq.rabbitmq.reply-to"  # RabbitMQ's own: answers to a consumer without a queue


def new_name(what: str) -> str:
    """A name for one test, on a RabbitMQ that all tests share."""
    return f"{what}-{uuid.uuid4().hex[:8]}"


@dataclass
class Answer:
    """The messages of one answer, in the order in which they came."""

    messages: list[AbstractIncomingMessage] = field(default_factory=list)

    @property
    def text(self) -> str:
        return b"".join(message.body for message in self.messages).decode()

    @property
    def last(self) -> dict[str, Any]:
        """Headers of the last message."""
        return dict(self.messages[-1].headers)

    def check(self, uid: str) -> Self:
        """Check an answer: its uid, numbers without a gap, one end, which is the last message."""
        headers = [message.headers for message in self.messages]
        assert [h["seq"] for h in headers] == list(range(len(headers)))
        assert [h["done"] for h in headers] == [False] * (len(headers) - 1) + [True]
        assert {h["uid"] for h in headers} == {uid}
        return self


class Client:
    """Sends requests and reads queues, over one connection."""

    def __init__(self, connection: AbstractConnection, channel: AbstractChannel, queue: str) -> None:
        self.connection = connection
        self.channel = channel
        self.queue = queue

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str, queue: str) -> AsyncIterator["Client"]:
        connection = await aio_pika.connect(url)
        async with connection:
            yield cls(connection, await connection.channel(on_return_raises=True), queue)

    async def send(self, body: Any, *, to: str | None = None, **properties: Any) -> None:
        """Publish a request and wait until RabbitMQ has it. Bytes are sent unchanged, any other body as JSON."""
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        await self.channel.default_exchange.publish(Message(raw, **properties), to or self.queue)

    async def there(self, queue: str, within_s: float = WITHIN_S) -> None:
        """Wait until a queue exists."""
        async with asyncio.timeout(within_s):
            while await self.count(queue) is None:
                await asyncio.sleep(0.05)

    async def count(self, queue: str) -> int | None:
        """Messages that are ready in a queue; None if there is none. An exclusive queue of another connection has 0."""
        channel = await self.connection.channel()
        try:
            declared = await channel.declare_queue(queue, passive=True)
        except ChannelNotFoundEntity:
            return None
        except ChannelLockedResource:
            return 0
        finally:
            if not channel.is_closed:
                await channel.close()
        return declared.declaration_result.message_count or 0

    async def counts(self, queue: str, wanted: int | None, within_s: float = WITHIN_S) -> None:
        """Wait until a queue holds so many messages; None: until it is gone."""
        found = await self.count(queue)
        try:
            async with asyncio.timeout(within_s):
                while found != wanted:
                    await asyncio.sleep(0.1)
                    found = await self.count(queue)
        except TimeoutError:
            raise AssertionError(f"{queue} holds {found} messages, not {wanted}") from None

    async def answer(self, queue: str, within_s: float = WITHIN_S) -> Answer:
        """Read a queue up to the message that is marked as the last."""
        await self.there(queue, within_s)
        async with reading(await self.channel.get_queue(queue, ensure=False)) as inbox:
            return await inbox.answer(within_s)

    async def buried(self, mark: str) -> AbstractIncomingMessage:
        """The message with ``mark`` in its body from the dead queue; removes the messages before it, too."""
        dead = f"{self.queue}.dead"
        await self.there(dead)
        async with reading(await self.channel.get_queue(dead, ensure=False)) as inbox:
            while mark.encode() not in (message := await inbox.take()).body:
                continue
            return message


class Inbox(Generic[T]):
    """Messages that a consumer received and the test has not taken yet."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[T] = asyncio.Queue()

    async def take(self, within_s: float = WITHIN_S) -> T:
        async with asyncio.timeout(within_s):
            return await self.queue.get()


class Answers(Inbox[AbstractIncomingMessage]):
    """Messages of answers."""

    async def answer(self, within_s: float = WITHIN_S) -> Answer:
        answer = Answer()
        try:
            async with asyncio.timeout(within_s):
                while not answer.messages or not answer.last["done"]:
                    answer.messages.append(await self.queue.get())
        except TimeoutError:
            raise AssertionError(f"no end after {len(answer.messages)} messages: {answer.text!r}") from None
        return answer


@asynccontextmanager
async def reading(queue: AbstractQueue) -> AsyncIterator[Answers]:
    """Consume a queue."""
    inbox = Answers()
    tag = await queue.consume(inbox.queue.put, no_ack=True)
    yield inbox
    await queue.cancel(tag)


# -- with pika, which sets no message id and refuses no name of a queue


@dataclass(frozen=True)
class Said:
    """One message of an answer."""

    body: str
    headers: dict[str, Any]
    correlation_id: str | None


def asked_with_pika(desk: "Desk", body: dict[str, Any], answers: str, **properties: Any) -> list[Said]:
    """Ask, and read the answer: from a queue of the client's own if it gives ``reply_to``. Blocks."""
    with pika.BlockingConnection(pika.URLParameters(desk.url)) as connection:
        channel = connection.channel()
        if answers != DIRECT:
            channel.queue_declare(answers, durable="reply_to" not in properties, exclusive="reply_to" in properties)
        said: list[Said] = []

        def on_message(_channel: Any, _method: Any, came: Any, content: bytes) -> None:
            said.append(Said(content.decode(), came.headers, came.correlation_id))

        channel.basic_consume(answers, on_message, auto_ack=True)
        channel.basic_publish("", desk.queue, orjson.dumps(body), pika.BasicProperties(**properties))
        deadline = time.monotonic() + WITHIN_S
        while not said or not said[-1].headers["done"]:
            assert time.monotonic() < deadline, f"no end after {len(said)} messages"
            connection.process_data_events(time_limit=0.5)
        if answers != DIRECT:
            channel.queue_delete(answers)
        return said


# -- a worker for many tests


@dataclass
class Desk:
    """A worker with a demo model behind it, and the queue that it takes requests from."""

    worker: Worker
    url: str  # of RabbitMQ
    queue: str
    upstream: str

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        async with Client.connected(self.url, self.queue) as client:
            yield client


@contextmanager
def demo_model(log: Path) -> Iterator[str]:
    """The demo model in a process of its own: it outlives the event loop of a test."""
    (port,) = free_ports(1)
    process = launch([sys.executable, "-m", "demo.model", "--port", str(port)], log=log)
    try:
        while not is_open(port):
            assert process.poll() is None, log.read_text()
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        end(process, 5.0)


@contextmanager
def opened(folder: Path, url: str, env: Mapping[str, str]) -> Iterator[Desk]:
    """A worker that has begun to take requests."""
    with demo_model(folder / "demo.log") as upstream:
        queue = new_name("asked")
        more = {"OPENAI_URL": upstream, "RABBITMQ_URL": url, "RABBITMQ_QUEUE": queue}
        worker = Worker(env={**env, **more}, folder=folder)
        try:
            asyncio.run(until_connected(worker))
            yield Desk(worker, url, queue, upstream)
        finally:
            worker.kill()


async def until_connected(worker: Worker) -> Worker:
    await worker.start()
    await until_rabbitmq_is(worker, "connected")
    return worker


async def until_rabbitmq_is(worker: Worker, state: str, within_s: float = WITHIN_S) -> None:
    """Wait for a state of RabbitMQ in GET /ping."""
    ping: dict[str, object] = {}
    try:
        async with asyncio.timeout(within_s):
            while ping.get("rabbitmq") != state:
                ping = await get_json(f"{worker.url}/ping")
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"{ping}, not {state!r}:\n{worker.log_end()}") from None


# -- the log


async def values(worker: Worker, topic: str) -> list[dict[str, Any]]:
    """All events of a topic, read from the log itself."""
    kafka = worker.env.get("KAFKA_BOOTSTRAP_SERVERS")
    raw = await _from_kafka(kafka, topic) if kafka else _from_file(worker.folder / "data" / "weir.db", topic)
    return [orjson.loads(value) for value in raw]


def _from_file(path: Path, topic: str) -> list[bytes]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as log:
        return [value for (value,) in log.execute("SELECT value FROM log WHERE topic = ? ORDER BY offset", (topic,))]


async def _from_kafka(bootstrap: str, topic: str) -> list[bytes]:
    log = KafkaLog(bootstrap)
    await log.start()
    found: list[bytes] = []
    try:
        for partition in range(log.partitions(topic)):
            at = Partition(topic, partition)
            position, bounds_end = await log.bounds(at)
            while position < bounds_end:
                records = await log.read(at, position)
                if not records:
                    break
                found += [record.value for record in records if record.value is not None]
                position = records[-1].offset + 1
    finally:
        await log.stop()
    return found
