"""Orders that become deliveries, orders that belong to one that is under way, and the settling of events."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.unit.weir import workers
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog
from tests.unit.weir.workers import FakeMembership, FakeMessage
from weir import topics
from weir.log.log import Partition
from weir.log.partitioner import partition_for
from weir.rabbitmq import dispatching as module
from weir.rabbitmq import orders
from weir.rabbitmq.delivering import Delivering, UndeliverableError
from weir.rabbitmq.dispatching import Dispatcher
from weir.rabbitmq.orders import Order
from weir.rabbitmq.outlets import NotOwnedError, Outlet, Outlets

PARTITION = 2
LETTERS = topics.CHAT_DEAD_LETTERS
ORDER = Order(
    uid="u",
    submission="evt-1",
    tenant="t",
    fingerprint="f",
    chunks_from=7,
    stream=True,
    name="u",
    queue="response_u",
    declare=True,
    again=False,
)
OTHER_BODY = replace(ORDER, submission="evt-2", fingerprint="g")


class FakeEvent(workers.FakeEvent):
    """An event of chat-deliveries."""

    def __init__(self, value: bytes) -> None:
        super().__init__(
            FakeMessage(value=value, topic=topics.CHAT_DELIVERIES.name, partition=PARTITION, key=b"u", timestamp=0.0)
        )


def event_of(order: Order) -> Any:
    return FakeEvent(orders.encode(order))


class FakeDelivering:
    """Each delivery waits for its lane and then for its end; the test gives both."""

    def __init__(self) -> None:
        self.begun: list[Order] = []
        self._ends: dict[str, asyncio.Future[None]] = {}

    def end(self, submission: str) -> "asyncio.Future[None]":
        return self._ends.setdefault(submission, asyncio.get_running_loop().create_future())

    async def deliver(
        self,
        order: Order,
        at: Partition,
        outlet: Callable[[], Awaitable[Outlet]],
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        assert at == Partition(topics.CHAT_CHUNKS.name, PARTITION)
        await outlet()
        self.begun.append(order)
        self.last_message = on_end
        await asyncio.shield(self.end(order.submission))


class FakeOutlets:
    """Has a lane for each partition that is its own."""

    def __init__(self) -> None:
        self.own = {PARTITION}

    async def wait(self, partition: int) -> Outlet:
        if partition not in self.own:
            raise NotOwnedError
        return cast("Outlet", None)


class Stage:
    def __init__(self) -> None:
        self.generating = 0
        self.log = MemoryLog()
        self.membership = FakeMembership()
        self.delivering, self.outlets = FakeDelivering(), FakeOutlets()
        self.dispatcher = Dispatcher(
            workers.worker_of(self.log, membership=self.membership),
            cast("Delivering", self.delivering),
            cast("Outlets", self.outlets),
            in_flight=lambda: self.generating,
        )

    @property
    def begun(self) -> list[str]:
        return [order.submission for order in self.delivering.begun]

    async def take(self, *events: Any) -> None:
        for event in events:
            await self.dispatcher.take(event)
        await settled()

    async def end(self, submission: str, error: Exception | None = None) -> None:
        ending = self.delivering.end(submission)
        if error is None:
            ending.set_result(None)
        else:
            ending.set_exception(error)
        await settled()

    def letters(self) -> list[bytes | None]:
        """Return the dead letters."""
        return self.log.values(Partition(LETTERS.name, partition_for(b"u", LETTERS.partitions)))


async def settled() -> None:
    """Let all tasks run that can run."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(module, "RETRY_S", 0)
    monkeypatch.setattr(module, "GRACE_S", 0.05)
    monkeypatch.setattr(module, "LOOK_S", 0.01)
    stage = Stage()
    yield stage
    await stage.dispatcher.drain(0)


async def test_an_event_is_acknowledged_after_its_delivery_is_made(stage: Stage) -> None:
    event = event_of(ORDER)
    await stage.take(event)
    assert (event.acks, stage.dispatcher.waiting) == (0, 1)
    await stage.end("evt-1")
    assert (event.acks, stage.dispatcher.waiting) == (1, 0)


async def test_the_same_order_again_belongs_to_the_delivery_under_way(stage: Stage) -> None:
    """The order comes again after a rebalance, or RabbitMQ gave the message to two workers."""
    events = [event_of(ORDER), event_of(ORDER), event_of(replace(ORDER, submission="evt-3", again=True))]
    await stage.take(*events)
    await stage.end("evt-1")
    assert stage.begun == ["evt-1"]
    assert [event.acks for event in events] == [1, 1, 1]


async def test_a_client_that_asks_after_the_last_message_gets_the_answer_again(stage: Stage) -> None:
    """A client that asks again at once may have read the message."""
    first, same, again = event_of(ORDER), event_of(ORDER), event_of(replace(ORDER, submission="evt-2"))
    await stage.take(first)
    stage.delivering.last_message()
    await stage.take(same, again)
    assert stage.begun == ["evt-1"]
    await stage.end("evt-1")
    assert ([event.acks for event in (first, same, again)], stage.begun) == ([1, 1, 0], ["evt-1", "evt-2"])
    await stage.end("evt-2")
    assert again.acks == 1


async def test_another_body_for_the_same_queue_waits_for_the_first(stage: Stage) -> None:
    first, second, third = event_of(ORDER), event_of(OTHER_BODY), event_of(replace(ORDER, submission="evt-3"))
    await stage.take(first, second, third)
    assert stage.begun == ["evt-1"]
    await stage.end("evt-1")
    assert stage.begun == ["evt-1", "evt-2"]
    await stage.end("evt-2")
    assert stage.begun == ["evt-1", "evt-2", "evt-3"]
    assert [event.acks for event in (first, second, third)] == [1, 1, 0]


async def test_other_queues_and_other_uids_do_not_wait(stage: Stage) -> None:
    await stage.take(
        event_of(ORDER),
        event_of(replace(ORDER, submission="evt-2", queue="response_v")),
        event_of(replace(ORDER, submission="evt-3", uid="v")),
    )
    assert stage.begun == ["evt-1", "evt-2", "evt-3"]


async def test_a_delivery_of_a_partition_that_is_another_workers_is_dropped_and_may_come_back(stage: Stage) -> None:
    stage.outlets.own = set()
    lost, again = event_of(ORDER), event_of(ORDER)
    await stage.take(lost)
    assert (lost.acks, stage.dispatcher.waiting, stage.begun) == (0, 0, [])
    stage.outlets.own = {PARTITION}
    await stage.take(again)
    await stage.end("evt-1")
    assert (lost.acks, again.acks) == (0, 1)


async def test_what_cannot_be_delivered_is_a_dead_letter_and_holds_up_nothing(stage: Stage) -> None:
    first, second = event_of(ORDER), event_of(OTHER_BODY)
    await stage.take(first, second)
    await stage.end("evt-1", UndeliverableError("no such queue"))
    assert first.acks == 1
    assert b"no such queue" in (stage.letters()[0] or b"")
    await stage.end("evt-2")
    assert second.acks == 1
    assert len(stage.letters()) == 1


async def test_a_defect_is_tried_again_and_then_a_dead_letter(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    event = event_of(ORDER)
    await stage.take(event)
    await stage.end("evt-1", ValueError("a defect"))
    async with asyncio.timeout(WAIT_S):
        while not event.acks:
            await asyncio.sleep(0)
    assert stage.begun == ["evt-1"] * module.TRIES
    assert len(stage.letters()) == 1
    assert caplog.text.count("ValueError: a defect") == module.TRIES


async def test_what_is_no_order_is_a_dead_letter(stage: Stage) -> None:
    event: Any = FakeEvent(b"no order")
    await stage.take(event)
    assert (event.acks, stage.begun, len(stage.letters())) == (1, [], 1)


async def test_a_stop_waits_for_deliveries_while_answers_are_generated_and_leaves_the_rest(stage: Stage) -> None:
    first, second = event_of(ORDER), event_of(replace(ORDER, submission="evt-2", queue="response_v"))
    await stage.take(first, second)
    stage.generating = 1
    stage.membership.draining = True
    stopping = asyncio.create_task(stage.dispatcher.drain(WAIT_S))
    await asyncio.sleep(0.1)
    assert not stopping.done()
    await stage.end("evt-1")
    stage.generating = 0
    await stopping
    assert (first.acks, second.acks, stage.dispatcher.waiting) == (1, 0, 0)


async def test_a_stopping_worker_takes_nothing_new(stage: Stage) -> None:
    stage.membership.draining = True
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stage.dispatcher.take(event_of(ORDER)), 0.05)
    assert stage.dispatcher.waiting == 0


REDRIVEN = replace(ORDER, submission="evt-4", redriven=True)


async def test_what_came_back_from_the_dead_letters_is_delivered_after_what_waits_for_the_same_queue(
    stage: Stage,
) -> None:
    """That message may be the error with which the request had failed, while RabbitMQ was away."""
    first, again = event_of(ORDER), event_of(REDRIVEN)
    await stage.take(first, again)
    assert stage.begun == ["evt-1"]
    await stage.end("evt-1")
    assert (stage.begun, first.acks, again.acks) == (["evt-1", "evt-4"], 1, 0)


async def test_no_order_relies_on_a_delivery_that_may_turn_out_to_be_none(stage: Stage) -> None:
    again, asked = event_of(REDRIVEN), event_of(replace(ORDER, submission="evt-5"))
    await stage.take(again, event_of(REDRIVEN), asked)
    await stage.end("evt-4")
    assert (stage.begun, again.acks, asked.acks) == (["evt-4", "evt-5"], 1, 0)
