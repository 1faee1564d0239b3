from typing import Any

import pytest

from tests.unit.weir.feedback.helpers import PIECE, REQUEST, piece
from weir.events.feedback import FeedbackSource, FeedbackType
from weir.feedback import joining


def test_a_signal_tells_of_the_feedback_and_of_the_request() -> None:
    signal = joining.signal_of(PIECE, REQUEST)
    assert (signal.uid, signal.model, signal.score, signal.weight) == ("req-1", "m", 1.0, 1.0)
    assert (signal.feedback_id, signal.status, signal.user_id, signal.given_at) == (
        "evt-1",
        "completed",
        "ada",
        PIECE.given_at,
    )
    assert signal.features == {"tokens": 30, "latency_ms": 60.0, "attempts": 2, "stream": True, "ingress": "http"}


def test_what_the_feedback_says_of_user_and_session_comes_first() -> None:
    signal = joining.signal_of(piece(user_id="bob", session_id="s"), {**REQUEST, "session_id": "theirs"})
    assert (signal.user_id, signal.session_id) == ("bob", "s")
    assert joining.signal_of(PIECE, {**REQUEST, "session_id": "theirs"}).session_id == "theirs"


def test_what_the_row_knows_more_exactly_is_preferred() -> None:
    row = {**REQUEST, "prompt_chars": 9, "latency_ms": 80.5, "attempts": 3}
    found = joining.features(row)
    assert (found["prompt_chars"], found["latency_ms"], found["attempts"]) == (9, 80.5, 3)


@pytest.mark.parametrize("usage", [None, "many", {"total_tokens": "9"}, {"total_tokens": True}, {}])
def test_a_usage_that_is_none_is_no_feature(usage: Any) -> None:
    assert "tokens" not in joining.features({**REQUEST, "usage": usage})


def test_of_a_request_of_which_only_the_end_is_known_there_is_a_signal_all_the_same() -> None:
    signal = joining.signal_of(PIECE, {"uid": "u", "tenant": "acme", "state": "failed"})
    assert (signal.model, signal.status, signal.features) == (joining.UNKNOWN_MODEL, "failed", {})


def test_quality_is_the_score_from_0_to_1() -> None:
    bad = piece(feedback_type=FeedbackType.IMPLICIT_REJECT, feedback_source=FeedbackSource.ABANDON)
    signal = joining.signal_of(bad, REQUEST)
    assert (signal.score, signal.weight) == (-0.5, 0.3)
    assert joining.quality_of(bad, signal).score == 0.25


def test_ids_are_made_of_the_feedbacks_own() -> None:
    ids = {joining.signal_id(PIECE), joining.quality_id(PIECE), joining.signal_id(piece(feedback_id="evt-2"))}
    assert len(ids) == 3
    assert joining.signal_id(PIECE) == joining.signal_id(piece(received_at="later", state="joined"))
