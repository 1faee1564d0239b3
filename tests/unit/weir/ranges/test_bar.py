"""The progress of a command: lines without a terminal, a bar on one; a reader that has gone stops nothing."""

import io
import sys

import pytest

from weir.ranges import bar
from weir.ranges.bar import Progress
from weir.ranges.progress import Steps, unseen

SHOWN: Steps = Progress  # the commands hand it to what they run


class Screen(io.StringIO):
    """A terminal, or a file."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


class Closed(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, _: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize(
    ("every_s", "lines"),
    [
        (3600.0, ["5 of 9, the last"]),  # one when the step ends, however short it was
        (0.0, ["2 of 9", "4 of 9, on the way", "5 of 9, the last", "5 of 9, the last"]),
    ],
)
def test_without_a_terminal_there_is_a_line_now_and_then(
    every_s: float, lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bar, "LINE_EVERY_S", every_s)
    monkeypatch.setattr(sys, "stderr", screen := Screen(terminal=False))
    with SHOWN("records", 9) as step:
        step.advance(2)
        step.advance(2, "on the way")
        step.advance(1, "the last")
    assert screen.getvalue().splitlines() == [f"records: {line}" for line in lines]


def test_on_a_terminal_there_is_a_bar_with_the_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Screen(terminal=True))
    with SHOWN("records", 4) as step:
        step.advance(3, "1 in flight")
        step.advance()
    assert "records" in screen.getvalue()
    assert "4/4" in screen.getvalue()
    assert "of 4" not in screen.getvalue()


@pytest.mark.parametrize("every_s", [0.0, 3600.0])
def test_a_reader_that_has_gone_stops_nothing(every_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bar, "LINE_EVERY_S", every_s)
    monkeypatch.setattr(sys, "stderr", Closed())
    done = 0
    with SHOWN("records", 2) as step:
        for _ in range(2):
            step.advance()
            done += 1
    assert done == 2


def test_an_error_of_a_step_is_raised_and_what_was_done_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", screen := Screen(terminal=False))

    def work() -> None:
        with SHOWN("records", 9) as step:
            step.advance(3)
            raise LookupError

    with pytest.raises(LookupError):
        work()
    assert screen.getvalue() == "records: 3 of 9\n"


def test_steps_that_are_not_shown_take_what_they_are_told() -> None:
    with unseen("records", 2) as step:
        step.advance()
        step.advance(1, "note")
