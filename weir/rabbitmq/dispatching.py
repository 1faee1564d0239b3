"""Runs a worker's deliveries: one task for each order, its event settled only after the log has the delivered mark."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from weir import topics
from weir.chat.dead_lettering import dead_letter
from weir.envelope import MalformedRecordError
from weir.log.log import Delivered, Partition
from weir.rabbitmq import orders
from weir.rabbitmq.delivering import Delivering, UndeliverableError
from weir.rabbitmq.orders import Order
from weir.rabbitmq.outlets import NotOwnedError, Outlets
from weir.worker import Worker

logger = logging.getLogger(__name__)

TRIES = 3  # of a delivery that fails because of a defect in Weir
RETRY_S = 1.0
LOOK_S = 0.2  # while stopping, between two checks whether there is any delivery left to wait for
GRACE_S = 2.0  # for the end of an answer to be sent, after the last answer is generated


@dataclass(slots=True, eq=False)
class Dispatch:
    """One delivery under way."""

    order: Order
    events: list[Delivered] = field(default_factory=list)  # its order, and other orders for the same answer
    ended: bool = False  # its last message is being sent, or was
    task: "asyncio.Task[None] | None" = None

    def end(self) -> None:
        """Note that the last message is being sent."""
        self.ended = True


class Dispatcher:
    """Takes events of chat-deliveries, many at once.

    Args:
        worker: which.
        delivering: makes one delivery.
        outlets: the outlets to RabbitMQ, by partition.
        in_flight: returns the number of requests being answered on this worker.
    """

    def __init__(
        self, worker: Worker, delivering: Delivering, outlets: Outlets, *, in_flight: Callable[[], int]
    ) -> None:
        self._worker, self._generating = worker, in_flight
        self._delivering = delivering
        self._outlets = outlets
        self._under_way: dict[tuple[str, str], Dispatch] = {}  # by uid and queue
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """The number of deliveries that are not made yet."""
        return len(self._tasks)

    async def take(self, event: Delivered) -> None:
        """Take one event. Never waits for RabbitMQ: that would block the requests of other doors."""
        if self._worker.draining:
            await asyncio.get_running_loop().create_future()  # until the stopping worker cancels this stream
        try:
            self._take(event, orders.decode(event.message.value))
        except MalformedRecordError as error:
            await dead_letter(self._worker, event, str(error))

    def _take(self, event: Delivered, order: Order) -> None:
        key = (order.uid, order.queue)
        before = self._under_way.get(key)
        if before is not None and _is_answered_by(before, order):
            before.events.append(event)
            return
        dispatch = self._under_way[key] = Dispatch(order, [event])
        dispatch.task = asyncio.create_task(self._run(dispatch, event.message.partition, before))
        self._tasks.add(dispatch.task)
        dispatch.task.add_done_callback(self._tasks.discard)

    async def drain(self, seconds: float) -> None:
        """Continue while answers are generated here; the next owner continues where each delivery stands.

        On Kafka a worker that stops owns no partition any more, so all deliveries go to other workers at once.
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

    async def _run(self, dispatch: Dispatch, partition: int, before: Dispatch | None) -> None:
        order = dispatch.order
        try:
            if before is not None and before.task is not None:
                await asyncio.wait({before.task})  # of another answer, for the same queue
            reason = await self._make(dispatch, partition)
            for event in dispatch.events:
                if reason is None:
                    event.ack()
                else:
                    await dead_letter(self._worker, event, reason)
        except NotOwnedError:
            logger.debug("delivery of %s goes on elsewhere", order.uid)
        finally:
            if self._under_way.get((order.uid, order.queue)) is dispatch:
                del self._under_way[order.uid, order.queue]

    async def _make(self, dispatch: Dispatch, partition: int) -> str | None:
        """Make a delivery; returns the reason if it could not be made, else None."""
        order = dispatch.order
        at = Partition(topics.CHAT_CHUNKS.name, partition)
        for tries_left in reversed(range(TRIES)):
            try:
                await self._delivering.deliver(order, at, lambda: self._outlets.wait(partition), dispatch.end)
            except UndeliverableError as error:
                return str(error)
            except NotOwnedError:
                raise
            except Exception:
                logger.exception("delivery of %s: a defect, %d more tries", order.uid, tries_left)
                await asyncio.sleep(RETRY_S)
            else:
                return None
        return "a defect in Weir while delivering the answer"


def _is_answered_by(before: Dispatch, order: Order) -> bool:
    """Whether an order needs no delivery of its own, beside one to the same queue.

    It is the same order, delivered again after a rebalance, or another order for the same answer, placed meanwhile: two
    streams of it in one queue could not be read. A client that orders after the end may have read it, and gets it
    again.
    """
    redriven = order.redriven or before.order.redriven  # each is for an answer of its own, or for none
    same = (order.fingerprint, order.tenant) == (before.order.fingerprint, before.order.tenant)
    return order.submission == before.order.submission or (same and not redriven and not before.ended)
