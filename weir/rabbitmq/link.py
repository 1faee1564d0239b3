"""Keeps one connection to RabbitMQ, and makes it again whenever it is lost."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.exceptions import AMQPError, ChannelInvalidStateError
from yarl import URL

from weir.rabbitmq.doubles import write_doubles

logger = logging.getLogger(__name__)

# The errors of a broker that is away, refuses, or goes away. Any other error is a defect in Weir.
LINK_ERRORS = (AMQPError, ChannelInvalidStateError, ConnectionError, OSError, TimeoutError)

PAUSES_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # before the next try; the last one repeats
STEADY_S = 30.0  # a connection that lasted so long does not count as a failure
HEARTBEAT_S = 10  # a worker that hangs loses its connection, and with it its messages and lanes, after two of them
CLOSE_S = 5.0

Use = Callable[[AbstractConnection], Awaitable[None]]


class Link:
    """Retries the connection until it is made, and runs a user function with it.

    Everything that belongs to a connection (channels, consumers) is made by that function, and discarded with the
    connection: whether unconfirmed messages were sent, their sender has to find out.
    """

    def __init__(self, name: str, urls: Sequence[str], *, timeout_s: float) -> None:
        """``urls`` are tried in turn."""
        write_doubles()
        self._name = name
        self._urls = [_with_defaults(url) for url in urls]
        self._timeout_s = timeout_s
        self.state = "away"

    async def keep(self, use: Use) -> None:
        """Connect, run ``use`` until it ends or the connection does, and start over. Runs until cancelled."""
        failures = 0
        for url in cycle(self._urls):
            started = asyncio.get_running_loop().time()
            try:
                await self._session(url, use)
                reason = "it was closed"
            except LINK_ERRORS as error:
                reason = _in_one_line(error)
            except Exception as error:
                logger.exception("RabbitMQ (%s, %s): a defect", self._name, _shown(url))
                reason = type(error).__name__
            finally:
                self.state = "away"
            if asyncio.get_running_loop().time() - started > STEADY_S:
                failures = 0
            # An hour without a broker is one warning, not thousands.
            level = logging.WARNING if failures in {0, len(self._urls) * len(PAUSES_S)} else logging.DEBUG
            logger.log(level, "RabbitMQ (%s, %s): %s; trying again", self._name, _shown(url), reason)
            await asyncio.sleep(PAUSES_S[min(failures // len(self._urls), len(PAUSES_S) - 1)])
            failures += 1

    async def _session(self, url: URL, use: Use) -> None:
        async with asyncio.timeout(self._timeout_s):
            connection = await aio_pika.connect(url, client_properties={"connection_name": f"weir {self._name}"})
        lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def on_close(_: Any, error: BaseException | None = None) -> None:
            if not lost.done():
                lost.set_exception(error if isinstance(error, Exception) else ConnectionError("it was closed"))

        connection.close_callbacks.add(on_close)
        using = asyncio.ensure_future(use(connection))
        try:
            self.state = "connected"
            logger.info("RabbitMQ (%s, %s): connected", self._name, _shown(url))
            await asyncio.wait({using, lost}, return_when=asyncio.FIRST_COMPLETED)
            if using.cancelled():  # by aiormq, which cancels a task that waits for a channel that is gone
                raise ConnectionError("it was given up")
            (lost if lost.done() else using).result()
        finally:
            lost.cancel()
            using.cancel()
            await asyncio.gather(using, return_exceptions=True)
            await _close(connection)


async def open_channel(connection: AbstractConnection, **options: bool) -> AbstractChannel:
    """A channel of a connection.

    Raises:
        LINK_ERRORS: RabbitMQ is away.
    """
    try:
        return await connection.channel(**options)
    except RuntimeError as error:  # aiormq raises nothing more specific for a closed connection
        raise ConnectionError(str(error)) from error


async def _close(connection: AbstractConnection) -> None:
    try:
        async with asyncio.timeout(CLOSE_S):
            await connection.close()
    except LINK_ERRORS as error:
        logger.debug("while closing: %r", error)


def _with_defaults(given: str) -> URL:
    url = URL(given)
    return url if "heartbeat" in url.query else url.update_query(heartbeat=HEARTBEAT_S)


def _shown(url: URL) -> str:
    """An address without its password."""
    return f"{url.host}:{url.port or (5671 if url.scheme == 'amqps' else 5672)}"


def _in_one_line(error: BaseException) -> str:
    """An error in one line. The messages of aiormq's connection errors repeat the URL with its password."""
    text = str(error.__cause__ or error) if "://" in str(error) else str(error)
    return type(error).__name__ if "://" in text or not text else f"{type(error).__name__}: {text}".splitlines()[0]
