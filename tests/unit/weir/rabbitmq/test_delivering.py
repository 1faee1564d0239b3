"""From the log into messages: sent, in flight or waiting, when the answer is generated again or the lane is lost."""

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import orjson
import pytest
from aio_pika import Message

from tests.unit.weir.chat.helpers import RID, UID, begin, ends, frame, restart, says
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog, tails_of
from weir import topics
from weir.chat import frames
from weir.chat.frames import Frame, FrameKind
from weir.log.log import Partition
from weir.rabbitmq.contract import DeliveryProgress, place_of
from weir.rabbitmq.delivering import Delivering
from weir.rabbitmq.lane import Lane, LaneLostError
from weir.rabbitmq.orders import Order
from weir.rabbitmq.outlets import Outlet
from weir.rabbitmq.queues import Queues
from weir.rabbitmq.way import FLIGHTS_MAX
from weir.settings import Settings

AT = Partition(topics.CHAT_CHUNKS.name, 3)
ORDER = Order(
    uid=UID,
    submission=RID,
    tenant="t",
    fingerprint="f",
    chunks_from=0,
    stream=True,
    name=UID,
    queue="response_1",
    declare=True,
    again=False,
)


class FakeRabbit:
    """A queue with its receipts, and the lanes to it one after the other."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.place: DeliveryProgress | None = None
        self.open = asyncio.Event()  # messages land while it is set
        self.open.set()
        self.on_the_way = 0
        self.asked = 0  # for the queue
        self.cancels = 0  # so many questions, as aiormq does when a channel goes
        self.lane = FakeLane(self)

    async def outlet(self) -> Outlet:
        if self.lane.lost.done():
            self.lane = FakeLane(self)
        return Outlet(cast("Lane", self.lane), cast("Queues", self))

    async def reach(self, name: str, *, declare: bool) -> bool:
        del name, declare
        self.asked += 1
        if self.asked <= self.cancels:
            raise asyncio.CancelledError
        return True

    def forget(self, name: str) -> None:
        """Act as `Queues` on a queue whose delivery is made."""

    @property
    def text(self) -> str:
        return b"".join(message.body for message in self.messages).decode()

    @property
    def seqs(self) -> list[Any]:
        return [message.headers["seq"] for message in self.messages]


class FakeLane:
    def __init__(self, rabbit: FakeRabbit) -> None:
        self._rabbit = rabbit
        self._turn = asyncio.Lock()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def place(self, submission: str) -> DeliveryProgress | None:
        assert submission == RID
        return self._rabbit.place

    async def send(self, message: Message, queue: str) -> None:
        assert queue == ORDER.queue
        rabbit = self._rabbit
        rabbit.on_the_way += 1
        async with self._turn:
            opened = asyncio.ensure_future(rabbit.open.wait())
            either: set[asyncio.Future[Any]] = {opened, self.lost}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            rabbit.on_the_way -= 1
            if self.lost.done():
                raise LaneLostError
            found = place_of(message.message_id)
            assert found is not None
            rabbit.messages.append(message)
            rabbit.place = found[1]

    async def forget(self, submission: str) -> None:
        assert submission == RID
        self._rabbit.place = None


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def rabbit() -> FakeRabbit:
    return FakeRabbit()


@pytest.fixture
async def delivery(log: MemoryLog, rabbit: FakeRabbit) -> AsyncIterator["asyncio.Task[None]"]:
    """A delivery under way."""
    async with tails_of(log) as tails:
        making = asyncio.ensure_future(
            Delivering(log=log, tails=tails, settings=Settings()).deliver(ORDER, AT, rabbit.outlet)
        )
        yield making
        making.cancel()
        await asyncio.gather(making, return_exceptions=True)


def write(log: MemoryLog, *records: Frame) -> int:
    """Write frames; return the offset of the last one."""
    return [log.put(AT, UID.encode(), frames.encode(record, event_id="e", tenant="t")) for record in records][-1]


async def until(rabbit: FakeRabbit, *, on_the_way: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while rabbit.on_the_way != on_the_way:
            await asyncio.sleep(0)
    for _ in range(20):  # and what is read after it waits for its turn
        await asyncio.sleep(0)


WORDS = [f"word {n} " for n in range(FLIGHTS_MAX + 4)]
SAID = [says("a", seq, word) for seq, word in enumerate(WORDS)]
SAID_AGAIN = [says("b", seq, word) for seq, word in enumerate(WORDS)]


async def done(delivery: "asyncio.Task[None]", log: MemoryLog, rabbit: FakeRabbit) -> None:
    async with asyncio.timeout(WAIT_S):
        await delivery
    assert rabbit.text == "".join(WORDS)
    assert rabbit.seqs == list(range(len(rabbit.messages)))
    assert [message.headers["done"] for message in rabbit.messages].index(True) == len(rabbit.messages) - 1
    assert [frame.kind for frame in log.frames(AT)].count(FrameKind.DELIVERED) == 1
    assert rabbit.place is None


async def test_text_that_waits_for_its_turn_does_not_come_again_when_the_answer_is_said_again(
    delivery: "asyncio.Task[None]", log: MemoryLog, rabbit: FakeRabbit
) -> None:
    rabbit.open.clear()
    last = write(log, begin("a"), *SAID)
    await until(rabbit, on_the_way=FLIGHTS_MAX)
    write(log, restart("b", after=last), *SAID_AGAIN)
    for _ in range(50):
        await asyncio.sleep(0)
    rabbit.open.set()
    write(log, ends("b"))
    await done(delivery, log, rabbit)


async def test_the_next_lane_goes_on_where_messages_have_landed(
    delivery: "asyncio.Task[None]",
    log: MemoryLog,
    rabbit: FakeRabbit,
    caplog: pytest.LogCaptureFixture,
) -> None:
    write(log, begin("a"), *SAID[:3])
    async with asyncio.timeout(WAIT_S):
        while rabbit.text != "".join(WORDS[:3]):
            await asyncio.sleep(0)
    rabbit.open.clear()
    write(log, *SAID[3:])
    await until(rabbit, on_the_way=FLIGHTS_MAX)
    rabbit.lane.lost.set_result(None)
    await until(rabbit, on_the_way=FLIGHTS_MAX)
    rabbit.open.set()
    write(log, ends("a"))
    await done(delivery, log, rabbit)
    gc.collect()
    assert not caplog.records, "each error of a message is taken note of"


async def test_a_wait_that_aiormq_cancels_is_no_end_of_the_delivery(log: MemoryLog, rabbit: FakeRabbit) -> None:
    rabbit.cancels = 2
    write(log, begin("a"), *SAID, ends("a"))
    async with tails_of(log) as tails:
        delivering = Delivering(log=log, tails=tails, settings=Settings())
        await done(asyncio.ensure_future(delivering.deliver(ORDER, AT, rabbit.outlet)), log, rabbit)
    assert rabbit.asked == 3


@pytest.mark.parametrize("kind", [FrameKind.ATTACH, FrameKind.CONFLICT])
async def test_an_order_for_what_came_back_from_the_dead_letters_is_void_where_that_was_answered_already(
    log: MemoryLog, rabbit: FakeRabbit, kind: FrameKind
) -> None:
    write(log, frame(kind, rid="evt-0", submission=RID, first=0))
    async with tails_of(log) as tails, asyncio.timeout(WAIT_S):
        order = replace(ORDER, redriven=True)
        await Delivering(log=log, tails=tails, settings=Settings()).deliver(order, AT, rabbit.outlet)
    assert (rabbit.messages, rabbit.asked) == ([], 0)


async def test_an_order_for_what_came_back_and_was_begun_is_delivered(log: MemoryLog, rabbit: FakeRabbit) -> None:
    write(log, begin("a"), *SAID, ends("a"))
    async with tails_of(log) as tails:
        order = replace(ORDER, redriven=True)
        delivering = Delivering(log=log, tails=tails, settings=Settings())
        await done(asyncio.ensure_future(delivering.deliver(order, AT, rabbit.outlet)), log, rabbit)


@pytest.mark.parametrize(
    "order",
    [
        replace(ORDER, chunks_from=50),
        replace(ORDER, chunks_from=1, chunks_topic_id="old"),
        replace(ORDER, chunks_from=50, again=True),
        replace(ORDER, chunks_from=50, redriven=True),
        replace(ORDER, chunks_from=50, stream=False),
    ],
    ids=["behind the end", "of another topic", "taken before", "sent again", "whole"],
)
async def test_the_client_of_an_answer_in_a_log_that_is_gone_gets_one_message_that_says_so(
    log: MemoryLog, rabbit: FakeRabbit, order: Order
) -> None:
    log.topic_ids[AT.topic] = "new"
    log.put(AT, b"another", b"x")
    log.put(AT, b"another", b"x")
    async with tails_of(log) as tails, asyncio.timeout(WAIT_S):
        await Delivering(log=log, tails=tails, settings=Settings()).deliver(order, AT, rabbit.outlet)
    (message,) = rabbit.messages
    assert (message.headers["done"], message.headers["status"]) == (True, "failed")
    assert b'"gone"' in orjson.dumps(message.headers["error"])
    (mark,) = log.values(AT)[2:]
    assert frames.decode(mark).kind is FrameKind.DELIVERED


async def test_the_client_of_an_answer_whose_log_is_replaced_meanwhile_gets_a_last_message(
    log: MemoryLog, rabbit: FakeRabbit, delivery: "asyncio.Task[None]"
) -> None:
    write(log, begin("a"), says("a", 0, "word"))
    async with asyncio.timeout(WAIT_S):
        while not rabbit.messages:
            await asyncio.sleep(0.005)
        log.replace(AT, "new")
        await delivery
    assert (rabbit.text, rabbit.messages[-1].headers["done"]) == ("word", True)
