"""Runs Faust's Kafka consumer on the worker's own event loop.

Faust runs aiokafka's consumer in a thread with an event loop of its own, and asks it through a queue: each batch of
records is handed from loop to loop four times. In Python two busy loops also wait for each other's lock, so under load
the answer to a question that takes microseconds takes milliseconds. aiokafka is asynchronous already and needs no
thread; a thread would help only where the worker computes for seconds and heartbeats must go on, and code that computes
for seconds has no place on an event loop.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread
from mode import Service
from mode.utils.futures import maybe_async

__all__ = ["OneLoopConsumer"]


class OneLoopConsumer(AIOKafkaConsumerThread):
    """The object that Faust calls the consumer's thread, without a thread."""

    wait_for_shutdown = False

    def __init__(self, consumer: Any, *, loop: Any, **kwargs: Any) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, **kwargs)

    async def start(self) -> None:
        """Connect the consumer, on this loop."""
        self._thread_started.set()
        await Service.start(self)

    async def stop(self) -> None:
        """Disconnect the consumer."""
        await Service.stop(self)

    async def on_stop(self) -> None:
        """Do what the thread would do at its end."""
        await self.on_thread_stop()

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Call, instead of sending the call to another loop."""
        return await maybe_async(fun(*args, **kwargs))

    def _stopped_set(self) -> None:
        Service._stopped_set(self)  # noqa: SLF001 - skips the thread's own method

    async def _stop_children(self) -> None:
        await self._default_stop_children()

    async def _stop_futures(self) -> None:
        await self._default_stop_futures()

    async def _stop_exit_stacks(self) -> None:
        await self._default_stop_exit_stacks()

    async def crash(self, exc: BaseException) -> None:
        """Crash like any service: no caller waits for a thread to start."""
        await Service.crash(self, exc)
