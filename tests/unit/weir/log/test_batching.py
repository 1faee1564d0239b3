"""Many calls are made a batch at a time, in their order."""

import asyncio
from collections.abc import Awaitable, Iterator

import pytest

from weir.log.batching import in_batches


class Calls:
    """Notes how many of its calls were made, and how many ran at the same time."""

    def __init__(self, *, fails_at: int = -1) -> None:
        self.made = self.running = self.most = 0
        self._fails_at = fails_at

    async def _call(self, number: int) -> int:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        if number == self._fails_at:
            raise LookupError(number)
        return number

    def all(self, count: int) -> Iterator[Awaitable[int]]:
        for number in range(count):
            self.made += 1
            yield self._call(number)


@pytest.mark.parametrize(
    ("calls", "count", "most"), [(0, 3, 0), (1, 3, 1), (3, 3, 3), (4, 3, 3), (10, 3, 3), (5, 1, 1), (5, 100, 5)]
)
async def test_all_calls_are_made_and_only_so_many_at_a_time(calls: int, count: int, most: int) -> None:
    made = Calls()
    assert await in_batches(made.all(calls), count) == list(range(calls))
    assert (made.made, made.most) == (calls, most)


@pytest.mark.parametrize(("fails_at", "made"), [(0, 3), (2, 3), (3, 6), (9, 10)])
async def test_after_an_error_no_later_batch_is_begun(fails_at: int, made: int) -> None:
    calls = Calls(fails_at=fails_at)
    with pytest.raises(LookupError):
        await in_batches(calls.all(10), 3)
    assert calls.made == made
    await asyncio.sleep(0)
    assert calls.running == 0


async def test_a_cancellation_ends_the_calls_that_run() -> None:
    begun, cancelled = asyncio.Event(), 0

    async def call() -> None:
        nonlocal cancelled
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise

    batches = in_batches((call() for _ in range(5)), 2)
    running = asyncio.create_task(batches)
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert cancelled == 2
