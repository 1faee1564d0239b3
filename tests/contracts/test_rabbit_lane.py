"""A lane on a real RabbitMQ: one sender for a partition, and exact places of deliveries, whichever side dies."""

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Self

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection
from yarl import URL

from weir.envelope import new_id
from weir.rabbitmq import contract
from weir.rabbitmq.contract import DeliveryProgress
from weir.rabbitmq.lane import Lane, LaneLostError, LaneTakenError, PublishRefusedError

pytestmark = pytest.mark.rabbitmq

KEEP_S = 3600.0
WITHIN_S = 20.0

Connect = Callable[[], Awaitable[AbstractConnection]]


@pytest.fixture
async def connect(rabbitmq_url: str) -> AsyncIterator[Connect]:
    """Opens connections."""
    made: list[AbstractConnection] = []

    async def connect() -> AbstractConnection:
        made.append(await aio_pika.connect(rabbitmq_url))
        return made[-1]

    yield connect
    for connection in made:
        await connection.close()


@pytest.fixture
async def receipts(connect: Connect) -> AsyncIterator[str]:
    name = new_id("receipts-")
    yield name
    async with await (await connect()).channel() as channel:
        await channel.queue_delete(name)


@pytest.fixture
async def queue(connect: Connect) -> AsyncIterator[str]:
    """A response queue."""
    name = new_id("response-")
    async with await (await connect()).channel() as channel:
        await channel.declare_queue(name, durable=True)
        yield name
        await channel.queue_delete(name)


def lane_on(connection: AbstractConnection, receipts: str, *, timeout_s: float = WITHIN_S) -> Lane:
    return Lane(connection, receipts, timeout_s=timeout_s, keep_s=KEEP_S)


class Writer:
    """Sends words to a queue over any lane."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.submission = new_id("evt-")
        self.place = DeliveryProgress()

    async def say(self, lane: Lane, *, end: bool = False) -> None:
        body = b"" if end else b"word %d " % self.place.seq
        old, headers = self.place, contract.said("u", self.place.seq)
        self.place = DeliveryProgress(old.seq + 1, old.position + len(body), zlib.crc32(body, old.crc), end)
        message_id = contract.message_id(self.submission, self.place)
        await lane.send(contract.answer(body, headers, message_id=message_id, correlation_id=None), self.queue)


class Cable:
    """A connection to RabbitMQ that can be cut at any point, also within a message."""

    def __init__(self, url: str) -> None:
        self._far = URL(url)
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._plugged, "127.0.0.1")
        self.url = str(self._far.with_port(self._server.sockets[0].getsockname()[1]))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._server.close()
        await self._server.wait_closed()

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _plugged(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._far.host, self._far.port)
        self._writers += [writer, far_writer]
        self._pumps += [
            asyncio.create_task(_pump(reader, far_writer)),
            asyncio.create_task(_pump(far_reader, writer)),
        ]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


async def read(connection: AbstractConnection, queue: str) -> list[int]:
    """Take all messages out of a queue; returns their numbers."""
    async with await connection.channel() as channel:
        there = await channel.get_queue(queue)
        found = []
        while message := await there.get(no_ack=True, fail=False):
            found.append(int(str(message.headers["seq"])))
    return found


async def opened(connection: AbstractConnection, receipts: str) -> Lane:
    """Open a lane, as soon as that is possible."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            lane = lane_on(connection, receipts)
            with suppress(LaneTakenError):
                await lane.open()
                return lane
            await lane.close()
            await asyncio.sleep(0.05)


async def test_places_are_exact_after_connections_died_in_the_middle_of_publishing(
    connect: Connect, rabbitmq_url: str, receipts: str, queue: str
) -> None:
    writer, reader = Writer(queue), await connect()
    for deaths in range(8):
        async with Cable(rabbitmq_url) as cable:
            connection = await aio_pika.connect(cable.url)
            lane = await opened(connection, receipts)
            writer.place = lane.place(writer.submission) or DeliveryProgress()
            flights = [asyncio.ensure_future(writer.say(lane)) for _ in range(200)]
            if deaths:  # the first time, nothing may have got through
                await asyncio.wait(flights, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0.002 * deaths)
            cable.cut()
            await asyncio.gather(*flights, return_exceptions=True)
            async with asyncio.timeout(WITHIN_S):
                await lane.lost
            await connection.close()
    async with await opened(reader, receipts) as lane:
        place = lane.place(writer.submission)
        seqs = await read(reader, queue)
    assert place is not None
    assert place.seq == len(seqs) > 8
    assert seqs == list(range(len(seqs)))


async def test_a_second_lane_is_refused_and_gets_it_after_its_challenge(
    connect: Connect, receipts: str, queue: str
) -> None:
    first_on, second_on, writer = await connect(), await connect(), Writer(queue)
    first, second = lane_on(first_on, receipts), lane_on(second_on, receipts)
    await first.open()
    for _ in range(3):
        await writer.say(first)
    with pytest.raises(LaneTakenError):
        await second.open()
    await second.close()
    async with asyncio.timeout(WITHIN_S):
        await first.lost  # it was asked to close
    await first.close()
    async with await opened(second_on, receipts) as third:
        assert third.place(writer.submission) == writer.place


async def test_a_lane_that_is_lost_sends_nothing_more(connect: Connect, receipts: str, queue: str) -> None:
    connection, writer = await connect(), Writer(queue)
    lane = await opened(connection, receipts)
    await writer.say(lane)
    await lane.close()
    with pytest.raises(LaneLostError):
        await writer.say(lane)
    assert await read(connection, queue) == [0]


async def test_what_waits_for_its_turn_is_not_sent_after_the_lane_is_closed(
    connect: Connect, receipts: str, queue: str
) -> None:
    """aiormq would write it on a closed channel, or on the next one with its number."""
    connection, writer = await connect(), Writer(queue)
    lane = await opened(connection, receipts)
    flights = [asyncio.ensure_future(writer.say(lane)) for _ in range(500)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await lane.close()
    results = await asyncio.gather(*flights, return_exceptions=True)
    assert all(result is None or isinstance(result, LaneLostError) for result in results)
    async with await opened(connection, receipts) as after:
        await asyncio.sleep(0.5)
        assert not connection.is_closed
        seqs = await read(connection, queue)
        assert seqs == list(range(len(seqs)))
        assert len(seqs) < len(flights)
        place = after.place(writer.submission)
        assert (place.seq if place else 0) == len(seqs)


async def test_a_lane_whose_closing_is_cancelled_is_closed_all_the_same(
    connect: Connect, receipts: str, queue: str
) -> None:
    connection, writer = await connect(), Writer(queue)
    lane = await opened(connection, receipts)
    flights = [asyncio.ensure_future(writer.say(lane)) for _ in range(100)]
    closing = asyncio.ensure_future(lane.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, *flights, return_exceptions=True)
    await (await opened(await connect(), receipts)).close()


async def test_a_message_that_waits_for_too_long_takes_those_behind_it_along(
    connect: Connect, receipts: str, queue: str
) -> None:
    """Otherwise a later message would be in the queue, and its receipt would count text that no client has."""
    connection, writer = await connect(), Writer(queue)
    lane = lane_on(connection, receipts, timeout_s=0.5)
    await lane.open()
    await writer.say(lane)
    channel: Any = lane._channel
    flights = []
    async with (await channel.get_underlay_channel()).lock:  # as with a RabbitMQ that does not read any more
        for _ in range(5):
            flights.append(asyncio.ensure_future(writer.say(lane)))
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.05)  # the first has waited for too long, and the others have not
    results = await asyncio.gather(*flights, return_exceptions=True)
    assert all(isinstance(result, LaneLostError) for result in results)
    async with await opened(await connect(), receipts) as after:
        assert await read(connection if not connection.is_closed else await connect(), queue) == [0]
        place = after.place(writer.submission)
        assert place is not None
        assert place.seq == 1


async def test_a_delivery_that_is_forgotten_leaves_no_receipt(connect: Connect, receipts: str, queue: str) -> None:
    connection, first, second = await connect(), Writer(queue), Writer(queue)
    async with await opened(connection, receipts) as lane:
        for _ in range(3):
            await first.say(lane)
            await second.say(lane)
        await first.say(lane, end=True)
        await lane.forget(first.submission)
    async with await opened(connection, receipts) as lane:
        assert lane.place(first.submission) is None
        assert lane.place(second.submission) == second.place


async def test_the_queue_of_receipts_does_not_grow(connect: Connect, receipts: str, queue: str) -> None:
    connection, looker = await connect(), await connect()
    async with await opened(connection, receipts) as lane:
        for _ in range(20):
            writer = Writer(queue)
            for _ in range(10):
                await asyncio.gather(*(writer.say(lane) for _ in range(10)))
            await writer.say(lane, end=True)
            await lane.forget(writer.submission)
    async with await looker.channel() as channel:  # its close returns unacknowledged messages to the queue
        left = (await channel.declare_queue(receipts, passive=True)).declaration_result.message_count
    assert left == 0


async def test_a_full_queue_refuses_and_the_lane_goes_on(connect: Connect, receipts: str, queue: str) -> None:
    connection, full, writer = await connect(), new_id("full-"), Writer(queue)
    async with await connection.channel() as channel:
        await channel.declare_queue(full, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        async with await opened(connection, receipts) as lane:
            refused = Writer(full)
            await refused.say(lane)
            with pytest.raises(PublishRefusedError):
                await refused.say(lane)
            await lane.forget(refused.submission)
            await writer.say(lane)
        await channel.queue_delete(full)
    assert await read(connection, queue) == [0]
