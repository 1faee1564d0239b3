"""Changes a row of the feedback table by an event, or by the end of its request. Pure.

The feedback agent and ``replay table feedback --verify`` fold with these functions, so both come to the same row.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

from weir.chat.lifecycle import TERMINAL
from weir.envelope import Event, Json, MalformedRecordError, dumps
from weir.errors import InvalidRequestError
from weir.events.feedback import FeedbackExpired, FeedbackRescored, FeedbackSubmitted
from weir.events.signals import SignalRecorded
from weir.feedback import joining, pieces, rules
from weir.feedback.pieces import Piece
from weir.feedback.rules import ID_MAX, Count
from weir.settings import Settings
from weir.table_rows import row_max_bytes


class KeptPieces(NamedTuple):
    """The pieces of a row after one more was submitted, and how that one is counted."""

    pieces: list[Piece]
    counts_as: Count


class Joined(NamedTuple):
    """The pieces of a row after its request has ended."""

    pieces: list[Piece]
    foreign: int  # pieces of other tenants, which were dropped
    joined: int


def check(event: Event, data: FeedbackSubmitted, settings: Settings) -> None:
    """Check feedback that was submitted.

    Raises:
        InvalidRequestError, MalformedRecordError: the feedback breaks a rule; the message holds nothing of its content.
    """
    rules.check(data, settings)
    if max(len(event.event_id), len(event.tenant_id)) > ID_MAX:
        raise MalformedRecordError(f"`event_id` or `tenant_id` is longer than {ID_MAX} characters")


def keep(row: Json | None, piece: Piece, request: Json | None, settings: Settings) -> KeptPieces:
    """Add a piece of feedback, unless the row has it, or it is about another tenant's request.

    Args:
        row: the row of its request, if there is one.
        piece: the piece.
        request: the row of its request in the requests table.
        settings: the limits of a row.

    Raises:
        InvalidRequestError: the request is a replay's, or has too much feedback.
    """
    known = pieces.pieces(row)
    if request is not None and request["tenant"] != piece.tenant:
        return KeptPieces(known, Count.FOREIGN)
    if is_replay(request):
        raise InvalidRequestError("`data.uid`: this answer is a replay's, which takes no feedback")
    if any(one.feedback_id == piece.feedback_id for one in known):
        return KeptPieces(known, Count.DUPLICATE)
    size_bytes = sum(len(dumps(asdict(one))) for one in known)
    if len(known) >= settings.feedback_per_request_max or size_bytes > row_max_bytes(settings) // 2:
        raise InvalidRequestError(f"there are {len(known)} pieces of feedback on this request already")
    return KeptPieces([*known, piece], Count.RECEIVED)


def due(row: Json | None, request: Json | None) -> list[tuple[Piece, SignalRecorded]] | None:
    """Return the waiting pieces that the end of a request joins, each with its signal.

    None if the request has not ended, or no piece waits for it. An empty list if all waiting ones are another tenant's.
    """
    if request is None or request["state"] not in TERMINAL or is_replay(request) or not (found := pieces.waiting(row)):
        return None
    return [(piece, joining.signal_of(piece, request)) for piece in found if piece.tenant == request["tenant"]]


def join(row: Json | None, signals: Sequence[tuple[Piece, SignalRecorded]], request: Json, recorded_at: str) -> Joined:
    """Join pieces with their signals.

    Pieces that waited before the request was known may be another tenant's; these are dropped.

    Args:
        row: the row now.
        signals: from `due`.
        request: the row of the request, which has ended.
        recorded_at: ISO 8601, UTC.
    """
    by_id = {piece.feedback_id: joining.kept(piece, signal, recorded_at) for piece, signal in signals}
    kept = pieces.joined(row, by_id, request.get("session_id"))
    own = [piece for piece in kept if piece.tenant == request["tenant"]]
    return Joined(own, len(kept) - len(own), len(by_id))


def expire(row: Json | None, data: FeedbackExpired) -> list[Piece]:
    """Give up the pieces that have waited for too long, and drop those that are too old."""
    return pieces.expired(row, waiting_before=data.waiting_before, known_before=data.known_before)


def rescore(row: Json | None, data: FeedbackRescored) -> list[Piece]:
    """Put the numbers of a rebuild in the place of those that the signals have."""
    return pieces.rescored(row, {feedback_id: one.model_dump() for feedback_id, one in data.signals.items()})


def is_replay(request: Json | None) -> bool:
    """Whether an answer is a replay's, which takes no feedback."""
    return request is not None and request.get("replay") is not None
