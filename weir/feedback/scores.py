"""What each kind of feedback is worth: one table for scores, one for weights.

A score lies between -1 (bad) and 1 (good), a weight above 0 and up to 1. The platform publishes no numbers; these lie
within the ranges of its feedback scoring service, which are named beside them.
"""

import hashlib
import itertools
from collections.abc import Callable
from typing import Final, NamedTuple

from weir.events.feedback import FeedbackSource, FeedbackType

FINGERPRINT_BYTES: Final = 16  # of a formula


class Said(NamedTuple):
    """What a score depends on."""

    feedback_type: FeedbackType
    feedback_source: FeedbackSource
    rating: int | None = None  # 1 to 5 stars
    edit_distance: float | None = None  # 0 to 1


SCORES: Final[dict[FeedbackType, Callable[[Said], float]]] = {
    # USER_RATING, -1 to 1: the user was asked for a judgement, and gave one.
    FeedbackType.THUMBS_UP: lambda _: 1.0,
    FeedbackType.THUMBS_DOWN: lambda _: -1.0,
    FeedbackType.RATING: lambda said: ((said.rating or 3) - 3) / 2,  # the middle star says nothing either way
    # USER_CORRECTION, -0.5 to 0: who corrects an answer uses it, so the worst is half as bad as a rejection.
    FeedbackType.CORRECTION: lambda said: -0.5 * (1.0 if said.edit_distance is None else said.edit_distance),
    # DOWNSTREAM_USE, 0.5 to 1: used, but perhaps for want of a better one.
    FeedbackType.IMPLICIT_ACCEPT: lambda _: 0.5,
    # USER_RETRY, -0.3 to 0, or USER_ABANDON, -1 to -0.5: who leaves says more than who asks again.
    FeedbackType.IMPLICIT_REJECT: lambda said: -0.5 if said.feedback_source is FeedbackSource.ABANDON else -0.3,
    # USER_ABANDON, -1 to -0.5: nothing is worse than having to ask a human after all.
    FeedbackType.ESCALATION: lambda _: -1.0,
}

WEIGHTS: Final[dict[FeedbackSource, float]] = {
    FeedbackSource.EXPLICIT: 1.0,  # said by somebody who meant it
    FeedbackSource.IMPLICIT: 0.5,  # concluded by a client from what the user does
    FeedbackSource.RETRY: 0.3,  # concluded by us from how alike two questions are; they may be two questions
    FeedbackSource.ABANDON: 0.3,  # concluded by us from a cancellation; the answer may have been good enough
}

IMPLICIT: Final = frozenset({FeedbackType.IMPLICIT_ACCEPT, FeedbackType.IMPLICIT_REJECT})


def score_of(said: Said) -> float:
    """-1 to 1. A correction whose edit distance is not known counts as one that changed everything."""
    return SCORES[said.feedback_type](said)


def source_of(kind: FeedbackType, source: FeedbackSource | None) -> FeedbackSource:
    """Who says it, where the client does not tell; and what is implicit by its kind is never explicit."""
    if kind in IMPLICIT and source in {None, FeedbackSource.EXPLICIT}:
        return FeedbackSource.IMPLICIT
    return source or FeedbackSource.EXPLICIT


def fingerprint(*more: object) -> str:
    """A digest of the formula, and of what else decides: a worker that goes on with a run must have the same.

    Args:
        more: whose ``repr`` tells all of it.
    """
    said = itertools.product(FeedbackType, FeedbackSource, (None, 1, 2, 3, 4, 5), (None, 0.0, 0.3, 1.0))
    worth = [score_of(Said(*one)) for one in said]
    told = repr((worth, sorted(WEIGHTS.items()), more))
    return hashlib.blake2b(told.encode(), digest_size=FINGERPRINT_BYTES).hexdigest()
