"""The messages of one delivery, on a lane that a test controls."""

import asyncio
import gc
from typing import Any, cast

import pytest

from weir.rabbitmq.contract import DeliveryProgress
from weir.rabbitmq.lane import Lane, LaneLostError
from weir.rabbitmq.orders import Order
from weir.rabbitmq.way import FLIGHTS_MAX, Way

ORDER = Order(
    uid="u",
    submission="evt-1",
    tenant="t",
    fingerprint="f",
    chunks_from=0,
    stream=True,
    name="u",
    queue="response_u",
    declare=True,
    again=False,
)


class LostLane:
    """Takes messages until it is lost, with all of them under way."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    async def send(self, *_: Any) -> None:
        await self.lost.wait()
        raise LaneLostError


async def test_a_lane_that_is_lost_with_many_messages_under_way_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    lane = LostLane()
    way = Way(ORDER, cast("Lane", lane), DeliveryProgress())
    for n in range(FLIGHTS_MAX):
        await way.say(b"%d" % n)
    await asyncio.sleep(0)
    lane.lost.set()
    await way.settle()
    with pytest.raises(LaneLostError):
        await way.say(b"more")
    gc.collect()  # asyncio logs an exception that was not retrieved when its task goes
    assert caplog.records == []
