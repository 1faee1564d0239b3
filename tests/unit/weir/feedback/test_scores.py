import pytest

from weir.events.feedback import FeedbackSource, FeedbackType
from weir.feedback.scores import SCORES, WEIGHTS, ScoreFacts, score_of, source_of

EXPLICIT, IMPLICIT = FeedbackSource.EXPLICIT, FeedbackSource.IMPLICIT


@pytest.mark.parametrize(
    ("kind", "score"),
    [
        (FeedbackType.THUMBS_UP, 1),
        (FeedbackType.THUMBS_DOWN, -1),
        (FeedbackType.IMPLICIT_ACCEPT, 0.5),
        (FeedbackType.IMPLICIT_REJECT, -0.3),
        (FeedbackType.ESCALATION, -1),
    ],
)
def test_what_needs_no_more_than_its_kind(kind: FeedbackType, score: float) -> None:
    assert score_of(ScoreFacts(kind, EXPLICIT)) == score


@pytest.mark.parametrize(("rating", "score"), [(1, -1), (2, -0.5), (3, 0), (4, 0.5), (5, 1)])
def test_stars_go_from_bad_to_good_in_even_steps(rating: int, score: float) -> None:
    assert score_of(ScoreFacts(FeedbackType.RATING, EXPLICIT, rating=rating)) == score


@pytest.mark.parametrize(("distance", "score"), [(0, 0), (0.5, -0.25), (1, -0.5), (None, -0.5)])
def test_a_correction_is_the_worse_the_more_it_changes(distance: float | None, score: float) -> None:
    assert score_of(ScoreFacts(FeedbackType.CORRECTION, EXPLICIT, edit_distance=distance)) == score


def test_leaving_weighs_more_than_asking_again() -> None:
    assert score_of(ScoreFacts(FeedbackType.IMPLICIT_REJECT, FeedbackSource.ABANDON)) == -0.5
    assert score_of(ScoreFacts(FeedbackType.IMPLICIT_REJECT, FeedbackSource.RETRY)) == -0.3


def test_every_kind_has_a_score_and_every_source_a_weight() -> None:
    assert set(SCORES) == set(FeedbackType)
    assert set(WEIGHTS) == set(FeedbackSource)
    assert all(0 < weight <= 1 for weight in WEIGHTS.values())


def test_the_source_follows_from_the_kind_where_it_is_not_told() -> None:
    assert source_of(FeedbackType.RATING, None) is EXPLICIT
    assert source_of(FeedbackType.IMPLICIT_ACCEPT, None) is IMPLICIT
    assert source_of(FeedbackType.IMPLICIT_ACCEPT, EXPLICIT) is IMPLICIT
    assert source_of(FeedbackType.THUMBS_DOWN, IMPLICIT) is IMPLICIT
    assert source_of(FeedbackType.IMPLICIT_REJECT, FeedbackSource.RETRY) is FeedbackSource.RETRY
