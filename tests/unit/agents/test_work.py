"""What a worker has in flight, and how it lets go of it."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from agents.answering import NotBegunError, Slot
from agents.work import Work
from answers.fold import Answer
from app import requests
from app.requests import ChatRequest
from tables import terminals
from tests.unit.agents.helpers import REQUEST
from tests.unit.app.memory_log import WAIT_S
from transports.log import Partition


class FakeAnswering:
    """Follows somebody else's attempt for ever, or until it is told that an attempt is needed."""

    def __init__(self, *, begins: bool) -> None:
        self.begins = begins
        self.began = asyncio.Event()
        self.needed = asyncio.Event()

    async def answer(
        self, _request: ChatRequest, _at: Partition, *, slot: Slot, on_attempt: Callable[[str], None], give_up: bool
    ) -> Answer:
        del on_attempt, give_up
        if not self.begins:
            slot.give_back()
        self.began.set()
        await self.needed.wait()
        raise NotBegunError


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(terminals, "table", {})
    return SimpleNamespace(draining=False, settings=SimpleNamespace(max_in_flight=1))


def event(acknowledged: list[int]) -> Any:
    message = SimpleNamespace(value=requests.encode(REQUEST), partition=2, offset=7)
    return SimpleNamespace(message=message, ack=lambda: acknowledged.append(7))


@pytest.mark.parametrize("begins", [True, False])
async def test_what_a_stopping_worker_has_not_begun_is_left_at_once_and_not_acknowledged(
    app: Any, begins: bool, caplog: pytest.LogCaptureFixture
) -> None:
    acknowledged: list[int] = []
    answering: Any = FakeAnswering(begins=begins)
    work = Work(app, answering)
    async with asyncio.timeout(WAIT_S / 2):
        await work.take(event(acknowledged))
        await answering.began.wait()
        app.draining = True
        if begins:  # it finds out by itself; who only follows is not asked
            answering.needed.set()
        await work.drain(WAIT_S)
    assert (work.in_flight, acknowledged, caplog.records) == (0, [], [])
