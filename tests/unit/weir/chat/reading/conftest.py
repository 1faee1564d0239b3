"""A log in memory, and its tails."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.weir.log.memory_log import MemoryLog, tails_of
from weir.log.tails import Tails


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def tails(log: MemoryLog) -> AsyncIterator[Tails]:
    async with tails_of(log) as tails:
        yield tails
