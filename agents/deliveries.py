"""The deliveries agent: answers from the log into the response queues of RabbitMQ, and the door itself.

Where RabbitMQ is off there is none, and what was ordered waits in the log.
"""

from typing import Any

from faust.types import StreamT
from mode import Service

from app import app
from app.core import unacknowledged
from weir import topics
from weir.rabbitmq.delivering import Delivering
from weir.rabbitmq.dispatching import Couriers
from weir.rabbitmq.ingress import Intake
from weir.rabbitmq.link import Link
from weir.rabbitmq.outlets import Outlets

settings = app.settings

if settings.amqp_urls:
    outlets = Outlets(
        settings, own=lambda: None if app.rebalancing or not app.started else app.own_partitions(topics.CHAT_DELIVERIES)
    )
    couriers = Couriers(app, Delivering(log=app.log_client, tails=app.tails, settings=settings), outlets)
    intake = Intake(
        door=app.door,
        log=app.log_client,
        settings=settings,
        queues=lambda: outlets.queues,
        metrics=app.metrics,
        cancel=app.cancel,
        has_room=lambda: (
            not app.draining
            and app.in_flight() < settings.max_in_flight
            and couriers.waiting < settings.max_in_flight * 2
        ),
    )
    incoming = Link("requests", settings.amqp_urls, timeout_s=settings.rabbitmq_timeout_s)
    outgoing = Link("answers", settings.amqp_urls, timeout_s=settings.rabbitmq_timeout_s)
    app.health["rabbitmq"] = lambda: (
        "away" if "away" in {incoming.state, outgoing.state} else "connected" if intake.taking else "waiting"
    )
    app.on_drain(intake.drain)
    app.on_drain(couriers.drain)

    @app.agent(app.source(topics.CHAT_DELIVERIES), name="deliveries")
    async def deliver(stream: StreamT[Any]) -> None:
        """Make deliveries, many at once; each is acknowledged after the log says that it was made."""
        async for event in unacknowledged(stream):
            await couriers.take(event)

    @app.service
    class RabbitDoor(Service):
        """Two connections: RabbitMQ may stop reading from one that publishes, and acknowledgements would wait, too."""

        @Service.task
        async def _requests(self) -> None:
            await incoming.keep(intake.use)

        @Service.task
        async def _answers(self) -> None:
            await outgoing.keep(outlets.use)
