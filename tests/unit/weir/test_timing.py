"""Waits that are bounded without a timer each end in time, and only then; computations take turns; retries end."""

import asyncio
import itertools
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from weir import timing
from weir.timing import Alarm, Errors, Failure, Patience, Turn, endless, in_turns, retry

SOON_S = 0.03
LATE_S = 5.0


async def until_rung(rung: list[float]) -> None:
    async with asyncio.timeout(LATE_S):
        while not rung:  # the subject must not help its own test
            await asyncio.sleep(0.005)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_an_alarm_rings_once_and_not_before_its_time() -> None:
    rung: list[float] = []
    alarm = Alarm(lambda: rung.append(now()))
    due = now() + SOON_S
    alarm.set(due)
    await until_rung(rung)
    await asyncio.sleep(2 * SOON_S)
    assert len(rung) == 1
    assert rung[0] >= due


async def test_an_alarm_that_is_moved_rings_at_the_later_time_only() -> None:
    rung: list[float] = []
    alarm = Alarm(lambda: rung.append(now()))
    alarm.set(now() + SOON_S)
    due = now() + 4 * SOON_S
    alarm.set(due)
    await until_rung(rung)
    assert rung[0] >= due


async def test_an_alarm_that_is_moved_forward_rings_at_the_earlier_time() -> None:
    rung: list[float] = []
    alarm = Alarm(lambda: rung.append(now()))
    alarm.set(now() + 60)
    alarm.set(now() + SOON_S)
    await until_rung(rung)


@pytest.mark.parametrize("how", ["clear", "close"])
async def test_an_alarm_that_is_cleared_does_not_ring_and_can_be_set_again(how: str) -> None:
    rung: list[float] = []
    alarm = Alarm(lambda: rung.append(now()))
    alarm.set(now() + SOON_S)
    getattr(alarm, how)()
    await asyncio.sleep(3 * SOON_S)
    assert not rung
    alarm.set(now() + SOON_S)
    await until_rung(rung)


async def test_a_wait_that_takes_too_long_is_a_timeout_and_the_next_is_measured_from_its_start() -> None:
    patience = Patience()
    for _ in range(2):
        with patience.until(now() + LATE_S):
            await asyncio.sleep(0)
        began = time.monotonic()
        with pytest.raises(TimeoutError), patience.until(now() + SOON_S):
            await asyncio.sleep(LATE_S)
        assert time.monotonic() - began < LATE_S
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    patience.close()


async def test_time_between_the_waits_does_not_count() -> None:
    patience = Patience()
    with patience.until(now() + SOON_S):
        await asyncio.sleep(0)
    await asyncio.sleep(3 * SOON_S)
    with patience.until(now() + LATE_S):
        await asyncio.sleep(0)
    patience.close()


async def test_a_cancellation_by_another_task_goes_on() -> None:
    patience = Patience()
    began = asyncio.Event()

    async def wait() -> None:
        with patience.until(now() + LATE_S):
            began.set()
            await asyncio.sleep(LATE_S)

    task = asyncio.create_task(wait())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_by_both_the_other_one_wins() -> None:
    patience = Patience()

    async def wait() -> None:
        with patience.until(now() + SOON_S):
            try:
                await asyncio.sleep(LATE_S)
            except asyncio.CancelledError:
                await asyncio.sleep(0)  # slow to end: the other cancellation comes meanwhile
                raise

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    patience._ring()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_inside_a_timeout_each_ends_its_own_wait() -> None:
    patience = Patience()

    async def wait() -> None:
        async with asyncio.timeout(SOON_S):
            with patience.until(now() + LATE_S):
                await asyncio.sleep(LATE_S)

    with pytest.raises(TimeoutError):
        await wait()
    async with asyncio.timeout(LATE_S):
        with pytest.raises(TimeoutError), patience.until(now() + SOON_S):
            await asyncio.sleep(LATE_S)
    patience.close()


class Clock:
    """Stands still until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, turn_s: float) -> None:
        self.now = 0.0
        monkeypatch.setattr(timing, "monotonic", lambda: self.now)
        monkeypatch.setattr(timing, "TURN_S", turn_s)

    def items(self, *costs_s: float) -> Iterator[int]:
        for number, cost_s in enumerate(costs_s):
            self.now += cost_s
            yield number


class Others:
    """Counts the turns that the event loop gives to other tasks."""

    def __init__(self) -> None:
        self.turns = 0
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)

    def stop(self) -> int:
        self._task.cancel()
        return self.turns


@pytest.mark.parametrize(
    ("costs_s", "turns"),
    [
        ((), 0),
        ((0.0,) * 10_000, 0),
        ((0.9,), 0),
        ((1.0,), 1),
        ((0.25,) * 10, 2),
        ((0.3,) * 10, 2),
        ((2.0,) * 4, 4),
        ((5.0, *(0.1,) * 9), 1),  # what an item took longer is not counted to the next turn
    ],
)
async def test_others_have_a_turn_whenever_one_has_lasted_long_enough(
    costs_s: tuple[float, ...], turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, others = Clock(monkeypatch, 1.0), Others()
    assert [item async for item in in_turns(clock.items(*costs_s))] == list(range(len(costs_s)))
    assert others.stop() == turns


async def test_a_computation_in_turns_can_be_cancelled_between_two_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "TURN_S", 0.0)
    seen: list[int] = []

    async def compute() -> None:
        async for item in in_turns(itertools.count()):
            seen.append(item)
            if item == 3:
                task.cancel()

    task = asyncio.create_task(compute())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [0, 1, 2, 3]


async def test_an_error_of_the_items_ends_a_computation_in_turns() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise LookupError("no more")

    found = in_turns(items())
    assert await anext(found) == 1
    with pytest.raises(LookupError, match="no more"):
        await anext(found)
    with pytest.raises(StopAsyncIteration):
        await anext(found)


async def test_a_turn_begins_again_when_it_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, others = Clock(monkeypatch, 1.0), Others()
    turn = Turn()
    for now, over in ((0.0, False), (0.9, False), (1.0, True), (7.0, True)):
        clock.now = now
        assert turn.over() is over
    await turn.end()
    for now, over in ((7.0, False), (7.9, False), (8.0, True)):
        clock.now = now
        assert turn.over() is over
    assert others.stop() == 1


class AwayError(Exception):
    """An error that may pass."""


class RefusedError(AwayError):
    """A final error."""


class Tries:
    """A call that fails as often as a test says, and the clock that its pauses move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *errors: Exception, call_s: float = 0.0) -> None:
        self.now = 0.0
        self.at: list[float] = []
        self.told: list[Failure] = []
        self._errors, self._call_s = list(errors), call_s
        monkeypatch.setattr(timing, "monotonic", lambda: self.now)

    async def call(self) -> str:
        self.at.append(self.now)
        self.now += self._call_s
        if self._errors:
            raise self._errors.pop(0)
        return "done"

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    async def retry(self, pauses_s: Iterable[float], errors: Errors = AwayError, **more: Any) -> str:
        return await retry(self.call, errors, pauses_s=pauses_s, tell=self.told.append, sleep=self.sleep, **more)


@pytest.mark.parametrize(
    ("pauses_s", "call_s", "limit_s", "at"),
    [
        ((), 0.0, 0.0, [0.0]),  # the first try is made whatever the limit
        ((0.5,), 0.0, math.inf, [0.0, 0.5]),
        ((0.5, 2.0), 0.0, math.inf, [0.0, 0.5, 2.5]),
        (endless((0.5, 2.0)), 0.0, math.inf, [0.0, 0.5, 2.5, 4.5, 6.5]),
        (endless((4.0,)), 0.0, 6.0, [0.0, 4.0, 6.0]),  # the last try begins at the limit
        (endless((4.0,)), 1.0, 7.0, [0.0, 5.0, 7.0]),
        ((0.0,), 0.0, math.inf, [0.0, 0.0]),
    ],
)
async def test_a_call_is_made_after_each_pause_until_it_succeeds(
    pauses_s: Iterable[float],
    call_s: float,
    limit_s: float,
    at: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failures = len(at) - 1
    tries = Tries(monkeypatch, *(AwayError(number) for number in range(failures)), call_s=call_s)
    assert await tries.retry(pauses_s, limit_s=limit_s) == "done"
    assert tries.at == at
    assert [(failure.error.args, failure.failures) for failure in tries.told] == [
        ((number,), number + 1) for number in range(failures)
    ]
    assert [failure.pause_s for failure in tries.told] == [
        later - earlier - call_s for earlier, later in itertools.pairwise(at)
    ]


@pytest.mark.parametrize(
    ("pauses_s", "call_s", "limit_s", "count"),
    [
        ((), 0.0, math.inf, 1),
        ((0.5, 0.5), 0.0, math.inf, 3),
        (endless((1.0,)), 0.0, 0.0, 1),
        (endless((1.0,)), 0.0, 3.5, 5),  # at 0, 1, 2, 3 and 3.5
        (endless((1.0,)), 9.0, 3.5, 1),  # a try that lasts beyond the limit is the last one
    ],
)
async def test_the_last_error_is_raised_as_it_is_when_no_further_try_is_allowed(
    pauses_s: Iterable[float], call_s: float, limit_s: float, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [AwayError(number) for number in range(9)]
    tries = Tries(monkeypatch, *errors, call_s=call_s)
    with pytest.raises(AwayError) as raised:
        await tries.retry(pauses_s, limit_s=limit_s)
    assert raised.value is errors[count - 1]
    assert (len(tries.at), len(tries.told)) == (count, count - 1)


@pytest.mark.parametrize(
    ("errors", "but", "error", "count"),
    [
        (AwayError, (), LookupError(), 1),
        (AwayError, (), RefusedError(), 3),
        (AwayError, RefusedError, RefusedError(), 1),
        (AwayError, (LookupError, RefusedError), RefusedError(), 1),
        ((AwayError, LookupError), (), KeyError(), 3),
        (Exception, LookupError, KeyError(), 1),
    ],
)
async def test_only_errors_that_may_pass_are_followed_by_another_try(
    errors: Errors, but: Errors, error: Exception, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = Tries(monkeypatch, *[error] * 3)
    with pytest.raises(type(error)):
        await tries.retry((1.0, 1.0), errors, but=but)
    assert len(tries.at) == count


@pytest.mark.parametrize("errors", [Exception, (AwayError, TimeoutError)])
async def test_retries_can_be_cancelled_in_a_try_and_in_a_pause(errors: Errors) -> None:
    tried, trying = 0, asyncio.Event()

    async def call() -> None:
        nonlocal tried
        tried += 1
        trying.set()
        if tried == 1:
            raise AwayError
        await asyncio.Event().wait()

    for pause_s in (0.0, 60.0):
        tried = 0
        trying.clear()
        task = asyncio.create_task(retry(call, errors, pauses_s=(pause_s,)))
        await trying.wait()
        for _ in range(3):  # into the pause, or the second try
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert tried == (2 if pause_s == 0.0 else 1)


async def test_an_error_of_the_pause_ends_the_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = Tries(monkeypatch, AwayError())

    async def stop(_: float) -> None:
        raise LookupError("stopping")

    with pytest.raises(LookupError, match="stopping"):
        await retry(tries.call, AwayError, pauses_s=(1.0,), sleep=stop)
    assert len(tries.at) == 1
