"""The RabbitMQ door of one worker: requests in from the queue, answers out to the response queues."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from weir import topics
from weir.chat.accept import Door
from weir.chat.audit import Audit
from weir.chat.cancelling import Cancelled
from weir.rabbitmq.consumer import QueueConsumer
from weir.rabbitmq.delivering import Delivering
from weir.rabbitmq.dispatching import Dispatcher
from weir.rabbitmq.ingress import Intake
from weir.rabbitmq.link import Link
from weir.rabbitmq.outlets import Outlets
from weir.rabbitmq.refusing import Refusing
from weir.worker import Worker


@dataclass(frozen=True, slots=True)
class RabbitDoor:
    """The parts of the door; each of its two connections is kept for as long as the worker lives."""

    consumer: QueueConsumer  # takes requests, over `incoming`
    dispatcher: Dispatcher
    outlets: Outlets  # send answers, over `outgoing`
    incoming: Link
    outgoing: Link

    def state(self) -> str:
        """The state for GET /ping."""
        if "away" in {self.incoming.state, self.outgoing.state}:
            return "away"
        return "connected" if self.consumer.taking else "waiting"

    @classmethod
    def of(
        cls,
        worker: Worker,
        door: Door,
        *,
        cancel: Callable[[str], Awaitable[Cancelled]],
        audit: Audit,
        in_flight: Callable[[], int],
    ) -> "RabbitDoor":
        """Make the door of a worker.

        Args:
            worker: the worker.
            door: accepts requests.
            cancel: cancels a request, by its uid.
            audit: records cancels and refusals.
            in_flight: the number of requests being answered on this worker.
        """
        settings = worker.settings
        outlets = Outlets(
            settings,
            own=lambda: worker.own_partitions(topics.CHAT_DELIVERIES) if worker.membership.settled else None,
        )
        delivering = Delivering(log=worker.log, tails=worker.tails, settings=settings)
        dispatcher = Dispatcher(worker, delivering, outlets, in_flight=in_flight)

        def ready() -> bool:
            busy = in_flight() >= settings.max_in_flight or dispatcher.waiting >= settings.max_in_flight * 2
            return not worker.draining and not busy and outlets.queues is not None

        intake = Intake(
            door=door,
            log=worker.log,
            settings=settings,
            queues=lambda: outlets.queues,
            cancel=cancel,
            audit=audit,
            refusing=Refusing(
                log=worker.log,
                settings=settings,
                queues=lambda: outlets.queues,
                metrics=worker.metrics,
                audit=audit,
            ),
        )
        urls, timeout_s = settings.amqp_urls, settings.rabbitmq_timeout_s
        return cls(
            QueueConsumer(settings, take=intake.take, ready=ready),
            dispatcher,
            outlets,
            incoming=Link("requests", urls, timeout_s=timeout_s),
            outgoing=Link("answers", urls, timeout_s=timeout_s),
        )
