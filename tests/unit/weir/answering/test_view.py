"""One request as its generator sees it."""

import asyncio

import pytest

from tests.unit.weir.answering.helpers import (
    AT,
    REQUEST,
)
from tests.unit.weir.log.memory_log import MemoryLog, tails_of
from weir.answering.view import View
from weir.log.log import LogError


async def test_tails_that_were_stopped_end_the_reading_and_not_the_event_loop() -> None:
    log = MemoryLog()
    async with tails_of(log) as tails, tails.open(AT, 0, key=REQUEST.key) as tail:
        view = View(tail, REQUEST.event_id)
        await tails.stop()
        with pytest.raises(LogError, match="stopped"):
            await asyncio.wait_for(view.wait(60), 5)
