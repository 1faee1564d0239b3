"""Steps that a test hears of."""

from collections.abc import Iterator
from contextlib import contextmanager


class HeardStep:
    """Remembers what it is told, and sees to it that no more is done than there is."""

    def __init__(self, label: str = "", total: int | None = None) -> None:
        self.label, self.total = label, total
        self.counts: list[int] = []
        self.note = ""

    @property
    def done(self) -> int:
        """How much, all in all."""
        return sum(self.counts)

    def advance(self, count: int = 1, note: str = "", /) -> None:
        self.counts.append(count)
        self.note = note
        assert self.total is None or self.done <= self.total


class HeardSteps:
    """Remembers steps. One that did not fail must have come to its end."""

    def __init__(self) -> None:
        self.all: list[HeardStep] = []

    @contextmanager
    def __call__(self, label: str, total: int, /) -> Iterator[HeardStep]:
        step = HeardStep(label, total)
        self.all.append(step)
        yield step
        assert step.done == total
