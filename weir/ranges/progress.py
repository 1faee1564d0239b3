"""Progress of long work. The work reports its steps; the command that runs it shows them in its own way.

In use::

    with steps("records", size(spans)) as step:
        ...
        step.advance(len(page))
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol


class Step(Protocol):
    """Receives the progress of one step."""

    def advance(self, count: int = 1, note: str = "", /) -> None:
        """Add ``count`` to the work done; the note describes the state of the work."""


Steps = Callable[[str, int], AbstractContextManager[Step]]
"""Begins a step, from its label and the amount of work."""


class _Unseen:
    def advance(self, count: int = 1, note: str = "", /) -> None:
        """Do nothing."""


UNSEEN: Final[Step] = _Unseen()
"""A step that is not shown."""


def unseen(_label: str, _total: int) -> AbstractContextManager[Step]:
    """Begin a step that is not shown."""
    return nullcontext(UNSEEN)
