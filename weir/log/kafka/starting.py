"""Connects Faust's Kafka clients also while brokers come and go; alone they would end the worker with a traceback."""

import logging
from collections.abc import Awaitable, Callable
from itertools import repeat
from typing import Final

from aiokafka.errors import KafkaError

from weir.log.kafka.errors import log_error
from weir.log.log import LogError
from weir.timing import Failure, retry

__all__ = ["until_connected"]

logger = logging.getLogger(__name__)

WAIT_S: Final = 30.0  # the log client has connected already, so only a broker that has died since can delay this
PAUSE_S: Final = 1.0


async def until_connected(connect: Callable[[], Awaitable[None]], drop: Callable[[], Awaitable[None]]) -> None:
    """Call ``connect`` until it succeeds, and ``drop`` after each failure.

    Raises:
        LogError: no broker answered in time.
    """

    async def attempt() -> None:
        try:
            await connect()
        except (KafkaError, OSError, TimeoutError) as error:
            await drop()
            raise log_error(error, "connect to Kafka") from error

    await retry(attempt, LogError, pauses_s=repeat(PAUSE_S), limit_s=WAIT_S, tell=_tell)


def _tell(failure: Failure) -> None:
    logger.warning("waiting for the log: %s", failure.error)
