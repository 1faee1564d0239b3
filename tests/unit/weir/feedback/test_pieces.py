from dataclasses import asdict

from tests.unit.weir.feedback.helpers import PIECE, piece
from weir.envelope import dumps
from weir.events.feedback import FeedbackSource, FeedbackSubmitted, FeedbackType
from weir.feedback import pieces
from weir.feedback.pieces import Standing

NOON = "2026-01-31T12:00:00Z"


def test_a_piece_is_the_same_after_it_was_in_a_row() -> None:
    row = pieces.row_of("u", [PIECE, piece(feedback_id="evt-2", rating=4, signal={"score": 1.0})])
    assert row is not None
    dumps(row)
    assert row["uid"] == "u"
    assert pieces.pieces(row)[0] == PIECE
    assert [asdict(one) for one in pieces.pieces(row)] == row["pieces"]
    assert pieces.pieces(None) == []
    assert pieces.row_of("u", []) is None


def test_a_piece_holds_no_text_of_the_user() -> None:
    data = FeedbackSubmitted(
        uid="u",
        response_id="u",
        feedback_type=FeedbackType.CORRECTION,
        comment="hush",
        original="hush",
        corrected="hush!",
        metadata={"a": "hush"},
    )
    made = pieces.piece_of(
        data, feedback_id="e", tenant="t", given_at=NOON, received_at=NOON, offset=1, edit_distance=0.2
    )
    assert "hush" not in str(made)
    assert made.feedback_source is FeedbackSource.EXPLICIT


def test_the_source_of_an_event_that_tells_none_follows_from_its_kind() -> None:
    data = FeedbackSubmitted(uid="u", response_id="u", feedback_type=FeedbackType.IMPLICIT_ACCEPT)
    made = pieces.piece_of(
        data, feedback_id="e", tenant="t", given_at=NOON, received_at=NOON, offset=1, edit_distance=None
    )
    assert made.feedback_source is FeedbackSource.IMPLICIT


def test_what_waits_is_joined_by_the_id_of_its_feedback_and_takes_the_session_of_its_request() -> None:
    row = pieces.row_of("u", [PIECE, piece(feedback_id="evt-2", session_id="own"), piece(feedback_id="evt-3")])
    assert [one.feedback_id for one in pieces.waiting(row)] == ["evt-1", "evt-2", "evt-3"]
    after = pieces.joined(row, {"evt-1": {"score": 1.0}, "evt-2": {"score": 1.0}}, "theirs")
    assert [(one.state, one.session_id) for one in after] == [
        (Standing.JOINED, "theirs"),
        (Standing.JOINED, "own"),
        (Standing.WAITING, None),
    ]


def test_what_waits_for_too_long_expires_and_what_is_known_for_too_long_leaves() -> None:
    old, new = NOON, "2026-01-31T12:59:00Z"
    row = pieces.row_of(
        "u",
        [
            piece(feedback_id="waits", received_at=new),
            piece(feedback_id="late", received_at=old),
            piece(feedback_id="joined", received_at=old, state=Standing.JOINED),
            piece(feedback_id="ancient", received_at="2026-01-01T00:00:00Z", state=Standing.JOINED),
            piece(feedback_id="nonsense", received_at="yesterday"),
        ],
    )
    limits = {"waiting_before": "2026-01-31T12:30:00Z", "known_before": "2026-01-30T00:00:00Z"}
    left = pieces.expired(row, **limits)
    assert [(one.feedback_id, one.state) for one in left] == [
        ("waits", Standing.WAITING),
        ("late", Standing.EXPIRED),
        ("joined", Standing.JOINED),
    ]
    assert pieces.overdue(row, **limits)
    assert not pieces.overdue(pieces.row_of("u", left), **limits)
    assert not pieces.overdue(None, **limits)
