import orjson

from tests.unit.weir.feedback.helpers import PIECE, piece
from weir.events.feedback import FeedbackSource, FeedbackType
from weir.feedback.pieces import Standing
from weir.feedback.summary import Summary


def test_of_nothing_there_is_no_mean() -> None:
    assert Summary().body == {
        "count": 0,
        "by_type": {},
        "by_source": {},
        "waiting": 0,
        "joined": 0,
        "expired": 0,
        "mean_score": None,
        "score_sum": 0,
    }


def test_what_several_workers_know_adds_up() -> None:
    here, there = Summary(), Summary()
    here.add(piece(state=Standing.JOINED, signal={"score": 1.0}))
    here.add(PIECE)
    there.add(
        piece(
            state=Standing.JOINED,
            signal={"score": -0.5},
            feedback_type=FeedbackType.IMPLICIT_REJECT,
            feedback_source=FeedbackSource.ABANDON,
        )
    )
    there.add(piece(state=Standing.EXPIRED))
    here.merge(orjson.loads(orjson.dumps(there.body)))
    assert here.body == {
        "count": 4,
        "by_type": {"thumbs_up": 3, "implicit_reject": 1},
        "by_source": {"explicit": 3, "abandon": 1},
        "waiting": 1,
        "joined": 2,
        "expired": 1,
        "mean_score": 0.25,
        "score_sum": 0.5,
    }
