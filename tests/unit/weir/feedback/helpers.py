"""Helpers of the tests of feedback."""

from dataclasses import replace
from typing import Any

from weir.envelope import Json
from weir.events.feedback import FeedbackSource, FeedbackType
from weir.feedback.pieces import Piece

PIECE = Piece(
    feedback_id="evt-1",
    tenant="acme",
    feedback_type=FeedbackType.THUMBS_UP,
    feedback_source=FeedbackSource.EXPLICIT,
    severity="INFO",
    given_at="2026-01-31T12:00:00Z",
    received_at="2026-01-31T12:00:01Z",
    offset=7,
)

REQUEST: Json = {
    "uid": "req-1",
    "tenant": "acme",
    "state": "completed",
    "model": "m",
    "username": "ada",
    "ingress": "http",
    "stream": True,
    "attempts": [{}, {}],
    "usage": {"total_tokens": 30},
    "timings": {"total_ms": 60.0},
}


def piece(**changes: Any) -> Piece:
    return replace(PIECE, **changes)
