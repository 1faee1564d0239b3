"""Steps of progress for tests."""

from collections.abc import Iterator
from contextlib import contextmanager


class HeardStep:
    """Counts the reported progress, and checks that no more is done than there is."""

    def __init__(self, label: str = "", total: int | None = None) -> None:
        self.label, self.total = label, total
        self.counts: list[int] = []
        self.note = ""

    @property
    def done(self) -> int:
        """The progress in sum."""
        return sum(self.counts)

    def advance(self, count: int = 1, note: str = "", /) -> None:
        self.counts.append(count)
        self.note = note
        assert self.total is None or self.done <= self.total


class HeardSteps:
    """Collects steps. One that did not fail must have come to its end."""

    def __init__(self) -> None:
        self.all: list[HeardStep] = []

    @contextmanager
    def __call__(self, label: str, total: int, /) -> Iterator[HeardStep]:
        step = HeardStep(label, total)
        self.all.append(step)
        yield step
        assert step.done == total
