"""The scores and weights of each kind of feedback: one table for each.

A score lies between -1 (bad) and 1 (good), a weight above 0 and up to 1. The platform publishes no numbers; these lie
within the ranges of its feedback scoring service, which are named beside them.
"""

import hashlib
import itertools
from collections.abc import Callable
from typing import Final, NamedTuple

from weir.events.feedback import FeedbackSource, FeedbackType

FINGERPRINT_BYTES: Final = 16  # of a formula


class ScoreFacts(NamedTuple):
    """The facts that a score depends on."""

    feedback_type: FeedbackType
    feedback_source: FeedbackSource
    rating: int | None = None  # 1 to 5 stars
    edit_distance: float | None = None  # 0 to 1


SCORES: Final[dict[FeedbackType, Callable[[ScoreFacts], float]]] = {
    # USER_RATING, -1 to 1: the user was asked for a judgement, and gave one.
    FeedbackType.THUMBS_UP: lambda _: 1.0,
    FeedbackType.THUMBS_DOWN: lambda _: -1.0,
    FeedbackType.RATING: lambda said: ((said.rating or 3) - 3) / 2,  # the middle star is neutral
    # USER_CORRECTION, -0.5 to 0: a user that corrects an answer uses it, so the worst is half as bad as a rejection.
    FeedbackType.CORRECTION: lambda said: -0.5 * (1.0 if said.edit_distance is None else said.edit_distance),
    # DOWNSTREAM_USE, 0.5 to 1: used, but perhaps for want of a better one.
    FeedbackType.IMPLICIT_ACCEPT: lambda _: 0.5,
    # USER_RETRY, -0.3 to 0, or USER_ABANDON, -1 to -0.5: leaving is a stronger sign than asking again.
    FeedbackType.IMPLICIT_REJECT: lambda said: -0.5 if said.feedback_source is FeedbackSource.ABANDON else -0.3,
    # USER_ABANDON, -1 to -0.5: having to ask a human after all is the worst outcome.
    FeedbackType.ESCALATION: lambda _: -1.0,
}

WEIGHTS: Final[dict[FeedbackSource, float]] = {
    FeedbackSource.EXPLICIT: 1.0,  # given by a user on purpose
    FeedbackSource.IMPLICIT: 0.5,  # concluded by a client from what the user does
    FeedbackSource.RETRY: 0.3,  # concluded by Weir from how alike two questions are; they may be two questions
    FeedbackSource.ABANDON: 0.3,  # concluded by Weir from a cancellation; the answer may have been good enough
}

IMPLICIT: Final = frozenset({FeedbackType.IMPLICIT_ACCEPT, FeedbackType.IMPLICIT_REJECT})


def score_of(said: ScoreFacts) -> float:
    """Return the score, from -1 to 1. A correction of unknown edit distance counts as one that changed everything."""
    return SCORES[said.feedback_type](said)


def source_of(kind: FeedbackType, source: FeedbackSource | None) -> FeedbackSource:
    """Return the source, where the client names none; feedback that is implicit by its kind is never explicit."""
    if kind in IMPLICIT and source in {None, FeedbackSource.EXPLICIT}:
        return FeedbackSource.IMPLICIT
    return source or FeedbackSource.EXPLICIT


def fingerprint(*more: object) -> str:
    """Return a digest of the formula and of what else decides: a worker that continues a run must have the same.

    Args:
        more: further values; their ``repr`` must show all that decides.
    """
    said = itertools.product(FeedbackType, FeedbackSource, (None, 1, 2, 3, 4, 5), (None, 0.0, 0.3, 1.0))
    worth = [score_of(ScoreFacts(*one)) for one in said]
    formula = repr((worth, sorted(WEIGHTS.items()), more))
    return hashlib.blake2b(formula.encode(), digest_size=FINGERPRINT_BYTES).hexdigest()
