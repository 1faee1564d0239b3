"""Holds the lanes of the partitions that this worker owns, while there is a connection."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from aio_pika.abc import AbstractConnection

from weir import topics
from weir.rabbitmq.lane import Lane, LaneTakenError
from weir.rabbitmq.link import LINK_ERRORS
from weir.rabbitmq.queues import Queues
from weir.settings import Settings

logger = logging.getLogger(__name__)

LOOK_S = 0.2  # between two checks of the partitions that this worker owns
TAKEN_S = 0.5  # pause before a lane that another worker holds is asked for again
LOST_S = 1.0  # pause before a lost lane is opened again: the worker that asked for it comes first
WAIT_S = 1.0  # between two turns of a wait for a lane


class NotOwnedError(Exception):
    """Another worker owns the partition now, and makes its deliveries."""


@dataclass(frozen=True, slots=True)
class Outlet:
    """The RabbitMQ side of a delivery: its partition's lane, and the queues."""

    lane: Lane
    queues: Queues


class Outlets:
    """Opens and closes lanes as partitions come and go."""

    def __init__(self, settings: Settings, own: Callable[[], set[int] | None]) -> None:
        """``own`` returns the partitions of chat-deliveries that this worker owns; None while that is not known."""
        self._settings = settings
        self._own = own
        self._open: dict[int, Outlet] = {}
        self._changed = asyncio.Event()
        self.queues: Queues | None = None

    async def wait(self, partition: int) -> Outlet:
        """Wait for the outlet of a partition.

        Raises:
            NotOwnedError: this worker does not own the partition.
        """
        while True:
            outlet = self._open.get(partition)
            if outlet is not None and not outlet.lane.lost.done():
                return outlet
            own = self._own()
            if own is not None and partition not in own:
                raise NotOwnedError
            self._changed.clear()
            try:
                async with asyncio.timeout(WAIT_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def use(self, connection: AbstractConnection) -> None:
        """Hold a lane for each partition of this worker, until the connection is lost. For `Link.keep`.

        Raises:
            LINK_ERRORS: RabbitMQ is away, or does not permit it.
        """
        settings = self._settings
        queues = Queues(connection, expires_s=settings.response_queue_expires_s, timeout_s=settings.rabbitmq_timeout_s)
        holding: dict[int, asyncio.Task[None]] = {}
        self.queues = queues
        try:
            while True:
                own = self._own()
                if own is not None:
                    for partition in own - holding.keys():
                        holding[partition] = asyncio.create_task(self._hold(connection, queues, partition))
                    await _cancel([holding.pop(partition) for partition in holding.keys() - own])
                for task in holding.values():
                    if task.done():
                        task.result()
                await asyncio.sleep(LOOK_S)
        finally:
            self.queues = None
            await _cancel(list(holding.values()))
            await queues.close()

    async def _hold(self, connection: AbstractConnection, queues: Queues, partition: int) -> None:
        settings = self._settings
        name = f"{settings.rabbitmq_queue}.receipts.{settings.group}.{partition}"
        keep_s = topics.CHAT_DELIVERIES.retention_s(settings)
        while True:
            lane = Lane(connection, name, timeout_s=settings.rabbitmq_timeout_s, keep_s=keep_s)
            async with lane:
                try:
                    await lane.open()
                    self._open[partition] = Outlet(lane, queues)
                    self._changed.set()
                    await asyncio.wait({lane.lost})
                    pause_s = LOST_S
                except LaneTakenError:
                    pause_s = TAKEN_S
                    logger.debug("another worker still sends for partition %d", partition)
                finally:
                    self._open.pop(partition, None)
            await asyncio.sleep(pause_s)
            # Another worker may own the partition after the rebalance: do not disturb it.
            while self._own() is None:  # noqa: ASYNC110 -- Faust has no event for it
                await asyncio.sleep(LOOK_S)


async def _cancel(tasks: list["asyncio.Task[None]"]) -> None:
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception) and not isinstance(result, LINK_ERRORS):
            logger.error("a lane: %r", result)
