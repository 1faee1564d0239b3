"""The intake on a real RabbitMQ, when its channel or queue is closed."""

import asyncio
from typing import Any, cast

import aio_pika
import pytest

from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog
from weir.chat.accept import Door
from weir.chat.audit import Audit
from weir.envelope import new_id
from weir.events.publishing import Events
from weir.rabbitmq.ingress import Intake, QueueGoneError
from weir.rabbitmq.queues import Queues
from weir.settings import Settings
from weir.telemetry.worker_metrics import Metrics

pytestmark = pytest.mark.rabbitmq


@pytest.mark.parametrize("what", ["channel", "queue"])
async def test_an_intake_whose_channel_or_queue_is_closed_says_so(rabbitmq_url: str, what: str) -> None:
    """RabbitMQ closes the channel of a consumer that keeps a message for too long; the connection stays."""
    name, log = new_id("intake"), MemoryLog()
    intake = Intake(
        door=cast("Door", None),
        log=log,
        settings=Settings(rabbitmq_queue=name),
        queues=lambda: cast("Queues", object()),
        has_room=lambda: True,
        metrics=Metrics(),
        cancel=cast("Any", None),
        audit=Audit(Events(log), "default"),
    )

    def taking() -> bool:
        return intake.taking

    async with await aio_pika.connect(rabbitmq_url) as connection, await aio_pika.connect(rabbitmq_url) as other:
        using = asyncio.create_task(intake.use(connection))
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
