"""What is kept of the feedback on one request: a row of pieces, and the steps that change it. All pure.

A piece holds what a signal is made of and no text: comments and corrections stand in ai-feedback-events, at ``offset``.
A row is ``{"uid": …, "pieces": [piece, …]}`` in the order of arrival.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from weir.envelope import Json, MalformedRecordError, is_time, seconds_of, utc_iso
from weir.events.feedback import FeedbackSource, FeedbackSubmitted, FeedbackType
from weir.feedback.scores import source_of

AHEAD_S = 1.0  # of the log, at most, may feedback say that it was given; INSIGHT_AHEAD_S is never less


class Standing(StrEnum):
    """What has become of a piece of feedback."""

    WAITING = "waiting"  # for its request to end, or to be heard of
    JOINED = "joined"  # its signal is in the log
    EXPIRED = "expired"  # its request was not heard of in time


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One piece of feedback."""

    feedback_id: str  # the event id of the feedback
    tenant: str
    feedback_type: FeedbackType
    feedback_source: FeedbackSource
    severity: str
    given_at: str  # ISO 8601, UTC
    received_at: str  # ISO 8601, UTC: when the agent saw it first
    offset: int  # of its record, in the uid's partition of ai-feedback-events
    category: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    rating: int | None = None
    edit_distance: float | None = None
    state: Standing = Standing.WAITING
    signal: Json | None = None  # id, score, weight, model, recorded_at: of one that is joined


def piece_of(
    data: FeedbackSubmitted,
    *,
    feedback_id: str,
    tenant: str,
    given_at: str,
    received_at: str,
    offset: int,
    edit_distance: float | None,
) -> Piece:
    """A piece from an event that was checked."""
    source = data.feedback_source if "feedback_source" in data.model_fields_set else None
    return Piece(
        feedback_id=feedback_id,
        tenant=tenant,
        feedback_type=data.feedback_type,
        feedback_source=source_of(data.feedback_type, source),
        severity=data.severity,
        given_at=given_at,
        received_at=received_at,
        offset=offset,
        category=data.category,
        user_id=data.user_id,
        session_id=data.session_id,
        rating=data.rating,
        edit_distance=edit_distance,
    )


def read(fields: Json) -> Piece:
    """A piece as it stands in a row."""
    return Piece(
        **{
            **fields,
            "feedback_type": FeedbackType(fields["feedback_type"]),
            "feedback_source": FeedbackSource(fields["feedback_source"]),
            "state": Standing(fields["state"]),
        }
    )


def pieces(row: Json | None) -> list[Piece]:
    """The pieces of a row; none of a row that is not there."""
    return [read(fields) for fields in (row or {}).get("pieces", ())]


def row_of(uid: str, kept: Iterable[Piece]) -> Json | None:
    """The row with these pieces; None where there are none."""
    found = [asdict(piece) for piece in kept]
    return {"uid": uid, "pieces": found} if found else None


def waiting(row: Json | None) -> list[Piece]:
    """The pieces that wait."""
    return [p for p in pieces(row) if p.state is Standing.WAITING]


def joined(row: Json | None, signals: dict[str, Json], session_id: str | None) -> list[Piece]:
    """The pieces of a row after signals, by the id of their feedback, are in the log.

    Feedback that named no session belongs to the session of its request.
    """
    return [
        replace(
            piece,
            state=Standing.JOINED,
            signal=signals[piece.feedback_id],
            session_id=piece.session_id or session_id,
        )
        if piece.feedback_id in signals
        else piece
        for piece in pieces(row)
    ]


def rescored(row: Json | None, numbers: Mapping[str, Json]) -> list[Piece]:
    """The pieces of a row after another formula gave their signals other numbers.

    Args:
        row: of a request.
        numbers: score and weight by the id of the feedback.
    """
    return [
        replace(piece, signal={**piece.signal, **numbers[piece.feedback_id]})
        if piece.signal is not None and piece.feedback_id in numbers
        else piece
        for piece in pieces(row)
    ]


def expired(row: Json | None, *, waiting_before: str, known_before: str) -> list[Piece]:
    """The pieces that are left: what waits since before a time has expired; what is known since before one leaves.

    Times are ISO 8601; one that is none is long ago.
    """
    left = [piece for piece in pieces(row) if not _older(piece, known_before)]
    return [
        replace(piece, state=Standing.EXPIRED)
        if piece.state is Standing.WAITING and _older(piece, waiting_before)
        else piece
        for piece in left
    ]


def overdue(row: Json | None, *, waiting_before: str, known_before: str) -> bool:
    """Whether ``expired`` would change the row."""
    return any(
        _older(piece, known_before) or (piece.state is Standing.WAITING and _older(piece, waiting_before))
        for piece in pieces(row)
    )


def _older(piece: Piece, than: str) -> bool:
    return seconds(piece.received_at) < seconds(than)


def given_at(said: str, logged_s: float) -> str:
    """When feedback was given: as its client says, unless that is no time, or later than the log took it.

    Args:
        said: by the client.
        logged_s: the record's time in the log, which whoever reads it again finds there, too.

    Raises:
        MalformedRecordError: that is no time.
    """
    if not is_time(logged_s):
        raise MalformedRecordError("the record's timestamp is no time in milliseconds")
    said_s = seconds(said)
    return utc_iso(said_s if 0 < said_s <= logged_s + AHEAD_S else logged_s)


def seconds(at: str) -> float:
    """Seconds since the epoch of an ISO 8601 time; 0 for what is none."""
    return seconds_of(at) or 0.0
