"""The kill cycle as a test: the whole of it, 1,500 requests, which takes two to three minutes."""

import random

import pytest

from tests.cycle.cycle import cycle
from tests.cycle.plan import Options

pytestmark = pytest.mark.kafka


async def test_no_request_is_lost_or_answered_twice_while_workers_come_and_go_and_kafka_restarts() -> None:
    assert await cycle(Options(seed=random.randrange(1_000_000))) == []
