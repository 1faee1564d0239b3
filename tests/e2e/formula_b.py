"""Another formula for signals; ``tests.e2e.other_formula`` is Weir with it."""

from collections.abc import Callable
from typing import Final

from weir.events.feedback import FeedbackSource, FeedbackType
from weir.feedback import scores

SCORES: Final = {FeedbackType.THUMBS_UP: 0.25, FeedbackType.THUMBS_DOWN: -0.125, FeedbackType.IMPLICIT_ACCEPT: -0.75}
WEIGHT: Final = 0.875  # of what is implicit


def always(score: float) -> Callable[[scores.ScoreFacts], float]:
    """A score that is the same for any feedback."""
    return lambda _: score


def use() -> None:
    """Score with this formula from now on."""
    for kind, score in SCORES.items():
        scores.SCORES[kind] = always(score)
    scores.WEIGHTS[FeedbackSource.IMPLICIT] = WEIGHT
