"""The deliveries agent: delivers answers from the log to the response queues of RabbitMQ, and holds the door itself.

Where RabbitMQ is off there is no such agent, and ordered deliveries wait in the log.
"""

from typing import Any

from faust.types import StreamT
from mode import Service

from app import app, parts
from app.core import unacknowledged
from weir import topics
from weir.rabbitmq.door import RabbitDoor


def serve(door: RabbitDoor) -> None:
    """Add the agent, and the connections to RabbitMQ, to the application."""

    @app.agent(app.source(topics.CHAT_DELIVERIES), name="deliveries")
    async def deliver(stream: StreamT[Any]) -> None:
        """Make deliveries, many at once; each event is acknowledged after the log has the delivered mark."""
        async for event in unacknowledged(stream):
            await door.dispatcher.take(event)

    @app.service
    class RabbitMQ(Service):
        """Holds two connections: RabbitMQ may stop reading from one that publishes, and acknowledgements would wait."""

        @Service.task
        async def _requests(self) -> None:
            await door.incoming.keep(door.consumer.use)

        @Service.task
        async def _answers(self) -> None:
            await door.outgoing.keep(door.outlets.use)


if parts.rabbitmq is not None:
    serve(parts.rabbitmq)
