"""The parts of the Kafka client that need no Kafka."""

import asyncio

import pytest

from weir.log.kafka.client import KafkaLog


async def test_a_cancellation_that_comes_together_with_an_answer_is_not_forgotten() -> None:
    """A reader that is cancelled ends; with asyncio.wait_for it swallowed the cancellation, and read on for ever."""
    log = KafkaLog("127.0.0.1:1")

    async def answered() -> int:
        asyncio.get_running_loop().call_soon(reading.cancel)
        return 1

    async def read() -> None:
        assert await log._bounded("ask", answered()) == 1
        await asyncio.get_running_loop().create_future()  # for more

    reading = asyncio.create_task(read())
    done, _ = await asyncio.wait({reading}, timeout=1)
    reading.cancel()
    assert done
    with pytest.raises(asyncio.CancelledError):
        await reading
