"""How far a long piece of work is. The work tells its steps; the command that runs it shows them as it likes.

In use::

    with steps("records", size(spans)) as step:
        ...
        step.advance(len(page))
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol


class Step(Protocol):
    """Is told how far a step has come."""

    def advance(self, count: int = 1, note: str = "", /) -> None:
        """So much more is done; the note says in what state the work is."""


Steps = Callable[[str, int], AbstractContextManager[Step]]
"""Begins a step: its label, and how much there is to do."""


class _Unseen:
    def advance(self, count: int = 1, note: str = "", /) -> None:
        """Shows nothing."""


UNSEEN: Final[Step] = _Unseen()
"""A step that is not shown."""


def unseen(_label: str, _total: int) -> AbstractContextManager[Step]:
    """Steps that are not shown."""
    return nullcontext(UNSEEN)
