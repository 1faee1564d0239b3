"""Connects Faust's Kafka clients also while brokers come and go; alone they would end the worker with a traceback."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

from aiokafka.errors import KafkaError

from weir.log.kafka.errors import log_error

__all__ = ["until_connected"]

logger = logging.getLogger(__name__)

WAIT_S: Final = 30.0  # the log client has connected already, so only a broker that has died since can delay this
PAUSE_S: Final = 1.0


async def until_connected(connect: Callable[[], Awaitable[None]], drop: Callable[[], Awaitable[None]]) -> None:
    """Call ``connect`` until it succeeds, and ``drop`` after each failure.

    Raises:
        LogError: no broker answered in time.
    """
    deadline = monotonic() + WAIT_S
    while True:
        try:
            return await connect()
        except (KafkaError, OSError, TimeoutError) as error:
            await drop()
            failure = log_error(error, "connect to Kafka")
            if monotonic() >= deadline:
                raise failure from error
            logger.warning("waiting for the log: %s", failure)
        await asyncio.sleep(PAUSE_S)
