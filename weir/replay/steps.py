"""How far a run is: whoever carries it out is told of each step, and shows it as it likes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Step(Protocol):
    """Is told how far a step has come."""

    def advance(self, count: int = 1, note: str = "", /) -> None:
        """So much more is done."""


Steps = Callable[[str, int], AbstractContextManager[Step]]
"""Begins a step: its label, and how much there is."""


class _Unseen:
    def advance(self, count: int = 1, note: str = "", /) -> None:
        """Nobody looks."""


def unseen(_label: str, _total: int) -> AbstractContextManager[Step]:
    """A step that nobody is shown."""
    return nullcontext(_Unseen())
