"""A row of the feedback table: the pieces of feedback on one request, and the steps that change it. All pure.

A piece holds what its signal is made of and no text: comments and corrections are in ai-feedback-events, at ``offset``.
A row is ``{"uid": …, "pieces": [piece, …]}`` in the order of arrival.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from weir.envelope import Json, MalformedRecordError, is_time, seconds_of, utc_iso
from weir.events.feedback import FeedbackSource, FeedbackSubmitted, FeedbackType
from weir.feedback.scores import source_of

AHEAD_S = 1.0  # feedback's time may be this much later than the log's at most; INSIGHT_AHEAD_S is never less


class Standing(StrEnum):
    """The state of a piece of feedback."""

    WAITING = "waiting"  # its request has not ended, or is not known
    JOINED = "joined"  # its signal is in the log
    EXPIRED = "expired"  # its request was not known in time


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One piece of feedback."""

    feedback_id: str  # the event id of the feedback
    tenant: str
    feedback_type: FeedbackType
    feedback_source: FeedbackSource
    severity: str
    given_at: str  # ISO 8601, UTC
    received_at: str  # ISO 8601, UTC: when the agent received it first
    offset: int  # of its record, in the uid's partition of ai-feedback-events
    category: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    rating: int | None = None
    edit_distance: float | None = None
    state: Standing = Standing.WAITING
    signal: Json | None = None  # id, score, weight, model, recorded_at: of a joined piece


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
    """Return the piece of an event that was checked."""
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
    """Return a piece from its fields in a row."""
    return Piece(
        **{
            **fields,
            "feedback_type": FeedbackType(fields["feedback_type"]),
            "feedback_source": FeedbackSource(fields["feedback_source"]),
            "state": Standing(fields["state"]),
        }
    )


def pieces(row: Json | None) -> list[Piece]:
    """Return the pieces of a row; none if there is no row."""
    return [read(fields) for fields in (row or {}).get("pieces", ())]


def row_of(uid: str, kept: Iterable[Piece]) -> Json | None:
    """Return the row with these pieces; None where there are none."""
    found = [asdict(piece) for piece in kept]
    return {"uid": uid, "pieces": found} if found else None


def waiting(row: Json | None) -> list[Piece]:
    """Return the waiting pieces of a row."""
    return [p for p in pieces(row) if p.state is Standing.WAITING]


def joined(row: Json | None, signals: dict[str, Json], session_id: str | None) -> list[Piece]:
    """Return the pieces of a row once signals, by the id of their feedback, are in the log.

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
    """Return the pieces of a row after another formula gave their signals other numbers.

    Args:
        row: the row of a request.
        numbers: score and weight by the id of the feedback.
    """
    return [
        replace(piece, signal={**piece.signal, **numbers[piece.feedback_id]})
        if piece.signal is not None and piece.feedback_id in numbers
        else piece
        for piece in pieces(row)
    ]


def expired(row: Json | None, *, waiting_before: str, known_before: str) -> list[Piece]:
    """Return the pieces that are left once the overdue ones have expired or were dropped.

    A piece that waits since before ``waiting_before`` expires; one received before ``known_before`` is dropped. Times
    are ISO 8601; an invalid one counts as long ago.
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
    """Return when feedback was given: as its client says, unless that is invalid, or later than the log's time.

    Args:
        said: the client's time.
        logged_s: the record's time in the log, the same for each reading.

    Raises:
        MalformedRecordError: the record's time is invalid.
    """
    if not is_time(logged_s):
        raise MalformedRecordError("the record's timestamp is not a time in milliseconds")
    said_s = seconds(said)
    return utc_iso(said_s if 0 < said_s <= logged_s + AHEAD_S else logged_s)


def seconds(at: str) -> float:
    """Seconds since the epoch of an ISO 8601 time; 0 for an invalid one."""
    return seconds_of(at) or 0.0
