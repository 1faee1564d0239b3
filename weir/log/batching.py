"""Calls of the log that are made many at a time, and not all at once: each record on its way takes memory."""

import asyncio
from collections.abc import Awaitable, Iterable
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


async def in_batches(calls: Iterable[Awaitable[T]], count: int) -> list[T]:
    """The results of calls, in their order; a batch of them is begun when the batch before it is done.

    Args:
        calls: a generator that makes each call when it is asked for the next one.
        count: how many are made at a time.

    Raises:
        Exception: the first error of a call; no later batch is begun.
    """
    found, left = list[T](), iter(calls)
    while batch := list(islice(left, count)):
        found += await asyncio.gather(*batch)
    return found
