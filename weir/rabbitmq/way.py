"""The messages of one delivery, in order: some on their way, and text that waits to be the next."""

import asyncio
import zlib
from dataclasses import dataclass, field

from weir.chat.frames import Terminal
from weir.envelope import Json
from weir.rabbitmq import contract
from weir.rabbitmq.contract import DeliveryProgress
from weir.rabbitmq.lane import Lane
from weir.rabbitmq.orders import Order
from weir.rabbitmq.text import Ahead

# Messages of one delivery on their way; meanwhile its text collects into the next one. With more, a RabbitMQ that is
# restarted under full load loses some: a queue that is writing one when it is told to stop drops those behind it.
FLIGHTS_MAX = 1
PENDING_MAX_BYTES = 262_144  # collected while RabbitMQ is slow; then the log is read no further


@dataclass(frozen=True, slots=True)
class End:
    """The last message of a delivery."""

    terminal: Terminal
    body: bytes = b""
    beside: Json | None = None


@dataclass(slots=True)
class Way:
    """A delivery's messages, in order: some on their way, text that waits to be the next."""

    order: Order
    lane: Lane
    place: DeliveryProgress
    _pending: bytearray = field(default_factory=bytearray)
    _flights: set["asyncio.Task[None]"] = field(default_factory=set)
    _landing: asyncio.Event = field(default_factory=asyncio.Event)
    _error: BaseException | None = None

    async def say(self, text: bytes) -> None:
        """Send text, now or with the next message."""
        self._pending += text
        self._send()
        while len(self._pending) > PENDING_MAX_BYTES:
            await self._land()

    async def end(self, end: End) -> None:
        """Send what is left, then the last message, and wait until RabbitMQ has all of them."""
        while self._pending:
            await self._land()
        self._raise()
        headers = contract.ended(self.order.name, self.place.seq, end.terminal, end.beside)
        self._launch(end.body, headers, ended=True)
        while self._flights:
            await self._land()
        self._raise()

    def again(self) -> Ahead:
        """Return the skip for an answer that is read from its start: its text that is sent, or on its way."""
        self._pending.clear()  # it will be read again, too
        return Ahead(self.place)

    async def settle(self) -> None:
        """Send nothing more, and wait until the lane knows how far this came. Never raises."""
        self._pending.clear()
        await asyncio.gather(*self._flights, return_exceptions=True)

    def _send(self) -> None:
        self._raise()
        if self._pending and len(self._flights) < FLIGHTS_MAX:
            text = bytes(self._pending)
            self._pending.clear()
            self._launch(text, contract.said(self.order.name, self.place.seq), ended=False)

    def _launch(self, body: bytes, headers: Json, *, ended: bool) -> None:
        old = self.place
        self.place = DeliveryProgress(old.seq + 1, old.position + len(body), zlib.crc32(body, old.crc), ended)
        message = contract.answer(
            body,
            headers,
            message_id=contract.message_id(self.order.submission, self.place),
            correlation_id=self.order.correlation_id,
        )
        # Tasks start in the order of their creation, and the lane keeps it.
        flight = asyncio.create_task(self.lane.send(message, self.order.queue))
        self._flights.add(flight)
        flight.add_done_callback(self._landed)

    def _landed(self, flight: "asyncio.Task[None]") -> None:
        self._flights.discard(flight)
        error = None if flight.cancelled() else flight.exception()  # to be asked for even if there is one already
        self._error = self._error or error
        if self._error is None:
            self._send()
        self._landing.set()

    async def _land(self) -> None:
        self._raise()
        self._landing.clear()
        await self._landing.wait()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error
