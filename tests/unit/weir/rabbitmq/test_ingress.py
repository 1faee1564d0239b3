"""A message that a frozen worker was taking was delivered to another one meanwhile."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from tests.defaults import CHAT_PARTITIONS
from tests.unit.weir.answering.helpers import REQUEST
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog
from weir import topics
from weir.chat.accept import Door
from weir.chat.audit import Audit
from weir.chat.requests import ChatRequest
from weir.events.publishing import Events
from weir.log.log import Partition
from weir.log.partitioner import partition_for
from weir.rabbitmq import orders
from weir.rabbitmq.consumer import QueueConsumer
from weir.rabbitmq.ingress import Intake
from weir.rabbitmq.link import HEARTBEAT_S
from weir.rabbitmq.refusing import Refusing
from weir.settings import Settings
from weir.telemetry.traceparent import parse
from weir.telemetry.worker_metrics import Metrics

AT = Partition(topics.CHAT_DELIVERIES.name, partition_for(REQUEST.key, CHAT_PARTITIONS))

PLACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BODY = b'{"model": "m", "messages": []}'


class FakeDoor:
    """A door that takes its time."""

    def __init__(self, clock: list[float], takes_s: float) -> None:
        self._clock, self._takes_s = clock, takes_s
        self.traceparent: str | None = None

    def mint_uid(self) -> str:
        return "minted"

    async def accept(self, *_: object, traceparent: str | None, **__: object) -> ChatRequest:
        self.traceparent = traceparent
        self._clock[0] += self._takes_s
        return REQUEST


class FakeChannel:
    is_closed = False
    connection = SimpleNamespace(connection_tune=SimpleNamespace(frame_max=131_072))

    def __init__(self) -> None:
        self.acks = 0

    async def basic_ack(self, *_: object, **__: object) -> None:
        self.acks += 1


def consumer_of(log: MemoryLog, door: FakeDoor, **changed: Any) -> QueueConsumer:
    settings, audit = Settings(**changed), Audit(Events(log), "default")
    intake = Intake(
        door=cast("Door", door),
        log=log,
        settings=settings,
        queues=lambda: None,
        cancel=AsyncMock(),
        audit=audit,
        refusing=Refusing(log=log, settings=settings, queues=lambda: None, metrics=Metrics(), audit=audit),
    )
    return QueueConsumer(settings, take=intake.take, ready=lambda: True)


def message_of(channel: FakeChannel, *, redelivered: bool = False, headers: dict[str, Any] | None = None) -> Any:
    header = ContentHeader()
    header.unmarshal(ContentHeader(body_size=len(BODY), properties=Basic.Properties(headers=headers)).marshal())
    return DeliveredMessage(
        delivery=Basic.Deliver("tag", 1, redelivered, "", "chat_incoming"),
        header=header,
        body=BODY,
        channel=cast("Any", channel),
    )


async def test_an_order_that_is_not_confirmed_in_time_is_tried_again_for_the_same_request() -> None:
    clock, log, channel = [0.0], MemoryLog(), FakeChannel()
    log.appending = asyncio.Event()
    taking = asyncio.create_task(
        consumer_of(log, FakeDoor(clock, 1.0), accept_timeout_s=0.05)._on_message(message_of(channel))
    )
    await asyncio.sleep(0.1)  # the first try is over
    assert channel.acks == 0
    log.appending.set()
    async with asyncio.timeout(WAIT_S):
        await taking
    assert orders.decode(log.values(AT)[-1]).again
    assert (channel.acks, clock[0]) == (1, 1.0)  # accepted once


@pytest.mark.parametrize(
    ("redelivered", "takes_s", "again"),
    [(False, 0.1, False), (True, 0.1, True), (False, HEARTBEAT_S + 1.0, True)],
)
async def test_an_order_tells_whether_there_may_be_another_for_the_same_message(
    monkeypatch: pytest.MonkeyPatch, redelivered: bool, takes_s: float, again: bool
) -> None:
    clock, log, channel = [0.0], MemoryLog(), FakeChannel()
    monkeypatch.setattr("weir.rabbitmq.ingress.time", SimpleNamespace(monotonic=lambda: clock[0], time=time.time))
    consumer = consumer_of(log, FakeDoor(clock, takes_s))
    message = message_of(channel, redelivered=redelivered)
    await consumer._on_message(message)
    (value,) = log.values(AT)
    assert orders.decode(value).again is again
    assert channel.acks == 1


@pytest.mark.parametrize("given", [PLACE, bytearray(PLACE.encode()), "nonsense", 7, None])
async def test_a_message_may_say_what_it_is_part_of(given: object) -> None:
    door, channel = FakeDoor([0.0], 0.0), FakeChannel()
    message = message_of(channel, headers=None if given is None else {"Traceparent": given})
    await consumer_of(MemoryLog(), door)._on_message(message)
    assert channel.acks == 1
    assert parse(door.traceparent) is not None  # its own, where it brings none
    assert (door.traceparent == PLACE) == (given in (PLACE, bytearray(PLACE.encode())))
