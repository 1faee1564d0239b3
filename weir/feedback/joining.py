"""Feedback and its request, joined: one signal and one quality figure. Pure.

Ids are made from the id of the feedback, so who tells it again tells the same.
"""

from typing import Any, NamedTuple

from weir.envelope import Json
from weir.events.base import derived_id
from weir.events.feedback import FeedbackSubmitted
from weir.events.metrics import QualityMeasured
from weir.events.signals import SignalRecorded
from weir.feedback import distance
from weir.feedback.pieces import Piece
from weir.feedback.scores import WEIGHTS, Said, score_of

UNKNOWN_MODEL = "unknown"  # of a request that only its end is known of


def signal_id(piece: Piece) -> str:
    """The event id of a piece's signal."""
    return derived_id("signal.recorded", piece.tenant, piece.feedback_id)


def quality_id(piece: Piece) -> str:
    """The event id of a piece's quality figure."""
    return derived_id("metrics.quality", piece.tenant, piece.feedback_id)


class Worth(NamedTuple):
    """What a piece of feedback is worth."""

    score: float
    weight: float


def worth_of(piece: Piece) -> Worth:
    """By the formula of ``weir.feedback.scores``."""
    said = Said(piece.feedback_type, piece.feedback_source, piece.rating, piece.edit_distance)
    return Worth(score_of(said), WEIGHTS[piece.feedback_source])


def edit_distance(data: FeedbackSubmitted) -> float | None:
    """Of a correction: as it was told, else computed from its two texts; None of anything else."""
    if data.edit_distance is not None or data.original is None or data.corrected is None:
        return data.edit_distance
    return round(distance.normalised(data.original, data.corrected), 4)


def signal_of(piece: Piece, request: Json) -> SignalRecorded:
    """What a piece of feedback says of a request that has ended.

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
    """The same on a scale from 0 to 1."""
    return QualityMeasured(
        uid=signal.uid,
        model=signal.model,
        score=(signal.score + 1) / 2,
        feedback_id=piece.feedback_id,
        feedback_type=piece.feedback_type,
    )


def kept(piece: Piece, signal: SignalRecorded, recorded_at: str) -> Json:
    """What a row keeps of a signal."""
    return {
        "id": signal_id(piece),
        "score": signal.score,
        "weight": signal.weight,
        "model": signal.model,
        "recorded_at": recorded_at,
    }


def features(request: Json) -> dict[str, float | int | str | bool | None]:
    """What a request was like, as far as its row knows; tokens are those of prompt and answer."""
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
    """A number, of what an LLM may have sent."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
