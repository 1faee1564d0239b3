"""Time: limits for waits that happen for every token, turns of the event loop in long computations, retries, clocks.

``asyncio.timeout`` enters and leaves a scope, and puts a timer on the loop's heap, for every wait. Where nearly every
wait is over long before its limit, one timer that looks from time to time is enough: starting and ending a wait is an
assignment.

A computation over many rows or records must not delay the tokens of other requests. A turn is bounded by time, and not
by a number of items: 1,000 rows of one table are 3 ms, and five dead letters may be as long. A look at the clock costs
40 ns an item, where the item itself costs microseconds.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import chain, repeat
from math import inf
from time import monotonic
from types import TracebackType
from typing import Final, NamedTuple, Self, TypeVar

__all__ = ["CLOCKS_APART_S", "Alarm", "Failure", "Patience", "Turn", "endless", "in_turns", "retry"]

T = TypeVar("T")

CLOCKS_APART_S: Final = 120.0
"""How far apart the clocks of clients, workers and brokers may be.

A record with a time from one of these clocks is searched in the log from so much earlier on. Too much costs the reading
of two minutes of records; too little misses the record. So it is longer than the error of any clock that is kept by
NTP, or set by hand.
"""

TURN_S: Final = 0.001  # of the event loop; ending a turn costs 5 µs, so a shorter one would have a noticeable cost


class Alarm:
    """Calls back once a deadline has passed. Moving it further into the future, or clearing it, costs next to nothing.

    Args:
        ring: called on the event loop; never for a deadline that was cleared or moved before it passed.
    """

    __slots__ = ("_deadline", "_handle", "_loop", "_ring")

    def __init__(self, ring: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._ring = ring
        self._deadline: float | None = None
        self._handle: asyncio.TimerHandle | None = None

    def set(self, deadline: float) -> None:
        """Ring at ``deadline`` (loop time), instead of any other time."""
        self._deadline = deadline
        handle = self._handle
        if handle is None or handle.when() > deadline:
            if handle is not None:
                handle.cancel()
            self._handle = self._loop.call_at(deadline, self._look)

    def clear(self) -> None:
        """Do not ring. The timer runs on, and finds nothing to do."""
        self._deadline = None

    def close(self) -> None:
        """Do not ring, and stop the timer."""
        self._deadline = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self) -> None:
        self._handle = None
        deadline = self._deadline
        if deadline is None:
            return
        if deadline > self._loop.time():
            self._handle = self._loop.call_at(deadline, self._look)
        else:
            self._deadline = None
            self._ring()


class Patience:
    """Bounds each of many waits of one task.

    In use::

        patience = Patience()
        try:
            while ...:
                with patience.until(deadline):  # raises TimeoutError
                    await ...
        finally:
            patience.close()

    As with ``asyncio.timeout``, a wait that takes too long is cancelled, and its cancellation becomes TimeoutError.
    Not reentrant; all waits must be of the same task.
    """

    __slots__ = ("_alarm", "_asked_before", "_late", "_task")

    def __init__(self) -> None:
        self._alarm = Alarm(self._ring)
        self._task: asyncio.Task[object] | None = None
        self._late = False
        self._asked_before = 0  # cancellations of the task that were asked for before the timer's

    def until(self, deadline: float) -> Self:
        """Bound the wait that follows; ``deadline`` is loop time."""
        self._alarm.set(deadline)
        return self

    def close(self) -> None:
        """Stop the timer."""
        self._alarm.close()

    def __enter__(self) -> Self:
        if self._task is None:
            self._task = asyncio.current_task()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._alarm.clear()
        if not self._late:
            return
        self._late = False
        # The timer's own cancellation ends here; another task's cancellation goes on.
        alone = self._task is not None and self._task.uncancel() <= self._asked_before
        if alone and exc_type is asyncio.CancelledError:
            raise TimeoutError from exc

    def _ring(self) -> None:
        if self._task is not None:
            self._late = True
            self._asked_before = self._task.cancelling()
            self._task.cancel()


class Turn:
    """The present turn of the event loop in a long computation, for loops over more than one iterable.

    In use::

        turn = Turn()
        while ...:
            for item in ...:
                if turn.over():
                    await turn.end()
                ...
    """

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = monotonic() + TURN_S

    def over(self) -> bool:
        """Whether the turn has lasted long enough."""
        return monotonic() >= self._until

    async def end(self) -> None:
        """Let all other ready tasks run, then begin the next turn."""
        await asyncio.sleep(0)
        self._until = monotonic() + TURN_S


async def in_turns(items: Iterable[T]) -> AsyncIterator[T]:
    """The items, with turns of the event loop for other tasks between them."""
    until = monotonic() + TURN_S
    for item in items:
        if monotonic() >= until:  # `Turn`, without its calls: half the price
            await asyncio.sleep(0)
            until = monotonic() + TURN_S
        yield item


class Failure(NamedTuple):
    """A failed try that is followed by another one."""

    error: Exception
    failures: int  # so far, this one included
    pause_s: float  # until the next try


Errors = type[Exception] | tuple[type[Exception], ...]


async def retry(
    call: Callable[[], Awaitable[T]],
    errors: Errors,
    *,
    pauses_s: Iterable[float],
    but: Errors = (),
    limit_s: float = inf,
    tell: Callable[[Failure], object] = lambda _: None,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> T:
    """Make a call until it succeeds, and return its result.

    Args:
        call: the call, never made twice at a time.
        errors: errors after which another try may succeed; any other error ends the retries.
        pauses_s: the pause before the second try, the third, and so on; the last error is raised when they are used up.
        but: errors that end the retries, although they are among ``errors``.
        limit_s: no try begins later; the last pause is cut so that one begins then.
        tell: called with each failure that is followed by another try.
        sleep: makes a pause.

    Raises:
        Exception: the error of the last try, unchanged.
    """
    deadline, count = monotonic() + limit_s, 0
    pauses = iter(pauses_s)
    while True:
        try:
            return await call()
        except errors as error:
            left_s, pause_s = deadline - monotonic(), next(pauses, None)
            if isinstance(error, but) or pause_s is None or left_s <= 0:
                raise
            count, pause_s = count + 1, min(pause_s, left_s)
            tell(Failure(error, count, pause_s))
        await sleep(pause_s)


def endless(pauses_s: Sequence[float]) -> Iterator[float]:
    """Pauses for `retry`, the last of which repeats."""
    return chain(pauses_s, repeat(pauses_s[-1]))
