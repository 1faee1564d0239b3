"""Retries calls of the log while it is away: a broker restarts, a disk is full for a while."""

import logging
from collections.abc import Awaitable, Callable
from itertools import repeat
from math import inf
from typing import TypeVar

from weir.log.log import LogError, LogRefusedError, LogReplacedError
from weir.timing import Failure, retry

__all__ = ["until_answered", "until_written"]

T = TypeVar("T")

logger = logging.getLogger(__name__)

PAUSE_S = 1.0  # between two tries


def _tell(failure: Failure) -> None:
    logger.warning("waiting for the log: %s", failure.error)


async def until_answered(
    call: Callable[[], Awaitable[T]], *, limit_s: float = inf, tell: Callable[[Failure], object] = _tell
) -> T:
    """The log's answer to a call, as soon as it answers; a call with an unknown outcome is made twice.

    Args:
        call: a call that does no harm when it is made twice.
        limit_s: no try begins later.
        tell: logs a failure that is followed by another try; by default, only that the log is away.

    Raises:
        LogRefusedError, LogReplacedError: no later call would succeed.
        LogError: the log was away until the limit.
    """
    final = LogRefusedError, LogReplacedError
    return await retry(call, LogError, but=final, pauses_s=repeat(PAUSE_S), limit_s=limit_s, tell=tell)


async def until_written(write: Callable[[], Awaitable[object]]) -> None:
    """Write until the log has the record. A record that the log can never take is logged, and blocks no other one."""
    try:
        await until_answered(write)
    except (LogRefusedError, LogReplacedError):
        logger.exception("not written")
