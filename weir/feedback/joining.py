"""Joins a piece of feedback and its request to one signal and one quality figure. Pure.

Ids are made from the id of the feedback, so publishing them again gives the same events.
"""

from typing import Any, NamedTuple

from weir.envelope import Json
from weir.events.base import derived_id
from weir.events.feedback import FeedbackSubmitted
from weir.events.metrics import QualityMeasured
from weir.events.signals import SignalRecorded
from weir.feedback import distance
from weir.feedback.pieces import Piece
from weir.feedback.scores import WEIGHTS, ScoreFacts, score_of

UNKNOWN_MODEL = "unknown"  # of a request of which only the end is known


def signal_id(piece: Piece) -> str:
    """Return the event id of a piece's signal."""
    return derived_id("signal.recorded", piece.tenant, piece.feedback_id)


def quality_id(piece: Piece) -> str:
    """Return the event id of a piece's quality figure."""
    return derived_id("metrics.quality", piece.tenant, piece.feedback_id)


class Worth(NamedTuple):
    """Score and weight of a piece of feedback."""

    score: float
    weight: float


def worth_of(piece: Piece) -> Worth:
    """Return a piece's score and weight by the formula of ``weir.feedback.scores``."""
    said = ScoreFacts(piece.feedback_type, piece.feedback_source, piece.rating, piece.edit_distance)
    return Worth(score_of(said), WEIGHTS[piece.feedback_source])


def edit_distance(data: FeedbackSubmitted) -> float | None:
    """Return the edit distance of a correction: as given, else computed from its two texts; None of other feedback."""
    if data.edit_distance is not None or data.original is None or data.corrected is None:
        return data.edit_distance
    return round(distance.normalised(data.original, data.corrected), 4)


def signal_of(piece: Piece, request: Json) -> SignalRecorded:
    """Return the signal of a piece of feedback on a request that has ended.

    Args:
        piece: the feedback.
        request: the row of its request.
    """
    worth = worth_of(piece)
    return SignalRecorded(
        uid=str(request["uid"]),
        model=str(request.get("model") or UNKNOWN_MODEL),
        route=str(request.get("route") or "default"),
        score=worth.score,
        weight=worth.weight,
        feedback_id=piece.feedback_id,
        feedback_type=piece.feedback_type,
        feedback_source=piece.feedback_source,
        given_at=piece.given_at,
        status=str(request["state"]),
        user_id=piece.user_id or _text(request.get("username")),
        session_id=piece.session_id or _text(request.get("session_id")),
        features=features(request),
    )


def quality_of(piece: Piece, signal: SignalRecorded) -> QualityMeasured:
    """Return the quality figure of a signal: the same on a scale from 0 to 1."""
    return QualityMeasured(
        uid=signal.uid,
        model=signal.model,
        score=(signal.score + 1) / 2,
        feedback_id=piece.feedback_id,
        feedback_type=piece.feedback_type,
    )


def kept(piece: Piece, signal: SignalRecorded, recorded_at: str) -> Json:
    """Return what a row keeps of a signal."""
    return {
        "id": signal_id(piece),
        "score": signal.score,
        "weight": signal.weight,
        "model": signal.model,
        "recorded_at": recorded_at,
    }


def features(request: Json) -> dict[str, float | int | str | bool | None]:
    """Return the features of a request, as far as its row has them; tokens are those of prompt and answer."""
    usage, timings, attempts = request.get("usage"), request.get("timings"), request.get("attempts")
    latency_ms = request.get("latency_ms")
    if latency_ms is None and isinstance(timings, dict):
        latency_ms = timings.get("total_ms")  # of the last LLM call
    found = {
        "prompt_chars": _number(request.get("prompt_chars")),
        "tokens": _number(usage.get("total_tokens")) if isinstance(usage, dict) else None,
        "latency_ms": _number(latency_ms),
        "attempts": len(attempts) if isinstance(attempts, list) else _number(attempts),
        "stream": bool(request["stream"]) if request.get("stream") is not None else None,
        "ingress": _text(request.get("ingress")),
    }
    return {name: value for name, value in found.items() if value is not None}


def _number(value: Any) -> float | int | None:
    """Return a value that an LLM may have sent, if it is a number."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
