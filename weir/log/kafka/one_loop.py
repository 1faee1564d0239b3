"""Faust's Kafka consumer on the worker's own event loop.

Faust runs aiokafka's consumer in a thread with an event loop of its own, and asks it through a queue: each batch of
records is handed from loop to loop four times. In Python two busy loops also wait for each other's lock, so under load
the answer to a question that takes microseconds takes milliseconds. aiokafka is asynchronous already and needs no
thread; what it is good for, heartbeats while the worker computes, matters only to code that computes for
seconds, which has no place on an event loop.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from mode import Service
from mode.utils.futures import maybe_async

__all__ = ["OneLoopConsumer"]


class OneLoopConsumer(AIOKafkaConsumerThread):
    """What Faust calls the consumer's thread, without the thread."""

    wait_for_shutdown = False

    def __init__(self, consumer: Any, *, loop: Any, **kwargs: Any) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, **kwargs)

    async def start(self) -> None:
        """Connect the consumer, here."""
        self._thread_started.set()
        await Service.start(self)

    async def stop(self) -> None:
        """Disconnect it."""
        await Service.stop(self)

    async def on_stop(self) -> None:
        """The thread would do it as its last act."""
        await self.on_thread_stop()

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Call, instead of sending the call to another loop."""
        return await maybe_async(fun(*args, **kwargs))

    def _stopped_set(self) -> None:
        Service._stopped_set(self)  # noqa: SLF001 - past the thread's own

    async def _stop_children(self) -> None:
        await self._default_stop_children()

    async def _stop_futures(self) -> None:
        await self._default_stop_futures()

    async def _stop_exit_stacks(self) -> None:
        await self._default_stop_exit_stacks()

    async def crash(self, exc: BaseException) -> None:
        """Nobody waits for a thread to come up."""
        await Service.crash(self, exc)
