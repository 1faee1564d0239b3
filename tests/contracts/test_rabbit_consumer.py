"""The consumer of requests on a real RabbitMQ, when its channel or queue is closed."""

import asyncio
from typing import Any, cast

import aio_pika
import pytest

from tests.unit.weir.log.memory_log import WAIT_S
from weir.envelope import new_id
from weir.rabbitmq.consumer import QueueConsumer, QueueGoneError
from weir.settings import Settings

pytestmark = pytest.mark.rabbitmq


@pytest.mark.parametrize("what", ["channel", "queue"])
async def test_a_consumer_whose_channel_or_queue_is_closed_says_so(rabbitmq_url: str, what: str) -> None:
    """RabbitMQ closes the channel of a consumer that keeps a message for too long; the connection stays."""
    name = new_id("intake")
    consumer = QueueConsumer(Settings(rabbitmq_queue=name), take=cast("Any", None), ready=lambda: True)

    def taking() -> bool:
        return consumer.taking

    async with await aio_pika.connect(rabbitmq_url) as connection, await aio_pika.connect(rabbitmq_url) as other:
        using = asyncio.create_task(consumer.use(connection))
        async with asyncio.timeout(WAIT_S):
            while not taking():
                await asyncio.sleep(0.01)
        if what == "queue":
            await (await other.channel()).queue_delete(name)
        else:
            transport: Any = connection.transport
            (channel,) = [one for one in transport.connection.channels.values() if one is not None and one.number]
            await channel.basic_ack(999)  # of a message that does not exist
        async with asyncio.timeout(WAIT_S):
            with pytest.raises(QueueGoneError):
                await using
        assert not taking()
        await (await other.channel()).queue_delete(name)
