"""What a worker has to deliver: one task for each order, its event settled only after the log says that it was made."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from weir import topics
from weir.chat.dead_lettering import bury
from weir.envelope import MalformedRecordError
from weir.log.log import Delivered, Partition
from weir.rabbitmq import orders
from weir.rabbitmq.delivering import Delivering, UndeliverableError
from weir.rabbitmq.orders import Order
from weir.rabbitmq.outlets import NotOwnedError, Outlets
from weir.worker import Worker

logger = logging.getLogger(__name__)

TRIES = 3  # of a delivery that meets a defect of ours
RETRY_S = 1.0
LOOK_S = 0.2  # between two looks, while stopping, at whether there is anything left to wait for
GRACE_S = 2.0  # for the end of an answer to get out, after the last one is generated


@dataclass(slots=True, eq=False)
class Courier:
    """One delivery under way."""

    order: Order
    events: list[Delivered] = field(default_factory=list)  # its order, and those that ask for the same
    ended: bool = False  # its last message goes out, or has
    task: "asyncio.Task[None] | None" = None

    def end(self) -> None:
        """Its last message goes out."""
        self.ended = True


class Couriers:
    """Takes events of chat-deliveries, many at once.

    Args:
        worker: which.
        delivering: makes one delivery.
        outlets: of RabbitMQ, by partition.
        in_flight: how many requests are being answered on this worker.
    """

    def __init__(
        self, worker: Worker, delivering: Delivering, outlets: Outlets, *, in_flight: Callable[[], int]
    ) -> None:
        self._worker, self._generating = worker, in_flight
        self._delivering = delivering
        self._outlets = outlets
        self._under_way: dict[tuple[str, str], Courier] = {}  # by uid and queue
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Deliveries that are not made yet."""
        return len(self._tasks)

    async def take(self, event: Delivered) -> None:
        """Take one event. Never waits for RabbitMQ: that would hold up the requests of other doors."""
        if self._worker.draining:
            await asyncio.get_running_loop().create_future()  # until the stopping worker cancels this stream
        try:
            self._take(event, orders.decode(event.message.value))
        except MalformedRecordError as error:
            await bury(self._worker, event, str(error))

    def _take(self, event: Delivered, order: Order) -> None:
        key = (order.uid, order.queue)
        before = self._under_way.get(key)
        if before is not None and _is_answered_by(before, order):
            before.events.append(event)
            return
        courier = self._under_way[key] = Courier(order, [event])
        courier.task = asyncio.create_task(self._run(courier, event.message.partition, before))
        self._tasks.add(courier.task)
        courier.task.add_done_callback(self._tasks.discard)

    async def drain(self, seconds: float) -> None:
        """Go on while answers are generated here; what is left goes to the next owner, who knows how far it came.

        On Kafka a worker that stops owns nothing any more, so all of it goes to others at once.
        """
        loop = asyncio.get_running_loop()
        deadline, idle_since = loop.time() + seconds, loop.time()
        while self._tasks and loop.time() < deadline and loop.time() - idle_since < GRACE_S:
            await asyncio.wait(set(self._tasks), timeout=LOOK_S)
            if self._generating():
                idle_since = loop.time()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, courier: Courier, partition: int, before: Courier | None) -> None:
        order = courier.order
        try:
            if before is not None and before.task is not None:
                await asyncio.wait({before.task})  # another answer, for the same queue
            reason = await self._make(courier, partition)
            for event in courier.events:
                if reason is None:
                    event.ack()
                else:
                    await bury(self._worker, event, reason)
        except NotOwnedError:
            logger.debug("delivery of %s goes on elsewhere", order.uid)
        finally:
            if self._under_way.get((order.uid, order.queue)) is courier:
                del self._under_way[order.uid, order.queue]

    async def _make(self, courier: Courier, partition: int) -> str | None:
        """Why it could not be made; None if it was."""
        order = courier.order
        at = Partition(topics.CHAT_CHUNKS.name, partition)
        for tries_left in reversed(range(TRIES)):
            try:
                await self._delivering.deliver(order, at, lambda: self._outlets.wait(partition), courier.end)
            except UndeliverableError as error:
                return str(error)
            except NotOwnedError:
                raise
            except Exception:
                logger.exception("delivery of %s: a defect, %d more tries", order.uid, tries_left)
                await asyncio.sleep(RETRY_S)
            else:
                return None
        return "a defect in delivering it"


def _is_answered_by(before: Courier, order: Order) -> bool:
    """Whether an order needs no delivery of its own, beside one to the same queue.

    It is that very order, given out again after a rebalance; or the same was asked meanwhile: two streams in one queue
    would be none. Who asks after the end may have read it, and gets the answer again.
    """
    redriven = order.redriven or before.order.redriven  # for an answer of its own, or for none
    same = (order.fingerprint, order.tenant) == (before.order.fingerprint, before.order.tenant)
    return order.submission == before.order.submission or (same and not redriven and not before.ended)
