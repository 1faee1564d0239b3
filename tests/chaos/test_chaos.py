"""The fault bench as a test: a short run, with at least one fault of each kind."""

import random

import pytest

from tests.chaos.chaos import chaos
from tests.chaos.plan import Options

pytestmark = [pytest.mark.kafka, pytest.mark.rabbitmq]


# aio_pika's connection closes itself when it is collected; in another thread, that of a broker's start, it cannot.
@pytest.mark.filterwarnings("ignore:coroutine 'Connection.close' was never awaited:RuntimeWarning")
async def test_every_promise_holds_while_workers_and_brokers_come_and_go() -> None:
    seed = random.randrange(1_000_000)
    assert await chaos(Options(seed=seed, seconds=40.0, requests=120, streams_s=(3.0, 12.0))) == []
