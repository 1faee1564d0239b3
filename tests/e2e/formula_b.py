"""Another formula for signals; ``tests.e2e.other_formula`` is Weir with it."""

from typing import Final

from events.feedback import FeedbackSource, FeedbackType
from feedback import scores

SCORES: Final = {FeedbackType.THUMBS_UP: 0.25, FeedbackType.THUMBS_DOWN: -0.125, FeedbackType.IMPLICIT_ACCEPT: -0.75}
WEIGHT: Final = 0.875  # of what is implicit


def use() -> None:
    """Score by it from now on."""
    for kind, score in SCORES.items():
        scores.SCORES[kind] = lambda _, score=score: score  # type: ignore[misc]
    scores.WEIGHTS[FeedbackSource.IMPLICIT] = WEIGHT
