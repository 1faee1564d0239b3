"""A command gives up when nothing happens, and when its run is over elsewhere."""

import pytest

from weir.ranges.errors import CancelledRunError, ReplayError, UnfinishedError
from weir.replay import waiting
from weir.replay.waiting import WANTED_S, WaitForWorkers


class Clock:
    """Stands still until it is moved; counts the questions whether the run is wanted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, patience_s: float) -> None:
        self.now, self.asked, self.wanted = 0.0, list[float](), True
        monkeypatch.setattr(waiting, "monotonic", lambda: self.now)
        self.waiting = WaitForWorkers(patience_s, self._still_wanted)

    async def _still_wanted(self) -> None:
        self.asked.append(self.now)
        if not self.wanted:
            raise CancelledRunError("run r was cancelled")

    async def looks(self, *times_s: float, heard_s: tuple[float, ...] = ()) -> ReplayError | None:
        """Return the error of a check at one of some times, of which some have news."""
        for self.now in sorted({*times_s, *heard_s}):
            if self.now in heard_s:
                self.waiting.heard()
            try:
                await self.waiting.check(lambda: "nothing has happened")
            except ReplayError as error:
                return error
        return None


@pytest.mark.parametrize(
    ("times_s", "heard_s", "gives_up"),
    [
        ((0.0, 5.0, 10.0), (), False),
        ((0.0, 5.0, 10.1), (), True),
        ((5.0, 15.0), (6.0,), False),  # news begin the patience anew
        ((5.0, 16.1), (6.0,), True),
        ((100.0,), (91.0,), False),
    ],
)
async def test_a_command_gives_up_when_nothing_has_happened_for_too_long(
    times_s: tuple[float, ...], heard_s: tuple[float, ...], gives_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = await Clock(monkeypatch, 10.0).looks(*times_s, heard_s=heard_s)
    assert isinstance(error, UnfinishedError) is gives_up
    assert str(error) == ("nothing has happened" if gives_up else "None")


async def test_it_is_asked_now_and_then_whether_the_run_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, 60.0)
    assert await clock.looks(*(number * WANTED_S / 4 for number in range(17))) is None
    assert clock.asked == [WANTED_S * number for number in (1, 2, 3, 4)]
    clock.wanted = False
    assert await clock.looks(WANTED_S * 4.5) is None
    assert isinstance(await clock.looks(WANTED_S * 5), CancelledRunError)
