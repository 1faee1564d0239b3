"""ai-feedback-events: what people and programs say of an answer. Keyed by the uid of the request that it is about.

The seven kinds are the platform's. Its numbers are not published, so these are ours; they lie within the ranges of its
feedback scoring service.
"""

from enum import StrEnum
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from weir.events.base import AboutRequest


class FeedbackType(StrEnum):
    """What is said."""

    THUMBS_UP = "thumbs_up"
    THUMBS_DOWN = "thumbs_down"
    CORRECTION = "correction"  # the user edits the answer, or its SQL
    RATING = "rating"  # 1 to 5 stars
    IMPLICIT_ACCEPT = "implicit_accept"  # the user uses the answer
    IMPLICIT_REJECT = "implicit_reject"  # the user asks again in other words, or leaves
    ESCALATION = "escalation"  # the user wants a human


class FeedbackSource(StrEnum):
    """Who says it."""

    EXPLICIT = "explicit"  # the user, who was asked
    IMPLICIT = "implicit"  # what the user does, as a client saw it
    RETRY = "retry"  # Weir saw the same user ask nearly the same again
    ABANDON = "abandon"  # Weir saw the answer cancelled before its end


class FeedbackSeverity(StrEnum):
    """How much it matters."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class FeedbackExpired(AboutRequest):
    """What has waited for its request for too long is given up, and what is known for too long is forgotten.

    What waits for a request that has ended is joined.

    Weir's own: a table is changed under an event only.
    """

    EVENT_TYPE: ClassVar[str] = "feedback.expired"
    TOPIC: ClassVar[str] = "ai-feedback-events"

    waiting_before: str = Field(description="What waits since before this time is given up; ISO 8601, UTC.")
    known_before: str = Field(description="What is known since before this time is forgotten; ISO 8601, UTC.")


class Rescored(BaseModel):
    """What a piece of feedback is worth by another formula."""

    model_config = ConfigDict(frozen=True)

    score: float = Field(ge=-1, le=1)
    weight: float = Field(gt=0, le=1)


class FeedbackRescored(AboutRequest):
    """The formula was changed: the signals in a request's row get other numbers.

    Weir's own: a table is changed under an event only.
    """

    EVENT_TYPE: ClassVar[str] = "feedback.rescored"
    TOPIC: ClassVar[str] = "ai-feedback-events"

    run: str = Field(description="The run that found them.")
    signals: dict[str, Rescored] = Field(description="By the event id of the feedback.")


class FeedbackSubmitted(AboutRequest):
    """Feedback on one answer, which may not be known yet."""

    EVENT_TYPE: ClassVar[str] = "feedback.submitted"
    TOPIC: ClassVar[str] = "ai-feedback-events"

    response_id: str = Field(description="What the client calls the answer: chatcmpl-{uid}, or the uid.")
    feedback_type: FeedbackType
    feedback_source: FeedbackSource = FeedbackSource.EXPLICIT
    severity: FeedbackSeverity = FeedbackSeverity.INFO
    category: str | None = Field(None, description="The client's own word for what it is about.")
    user_id: str | None = None
    session_id: str | None = None
    rating: int | None = Field(None, ge=1, le=5, description="Stars, of a rating.")
    comment: str | None = None
    original: str | None = Field(None, description="What was corrected: text or SQL.")
    corrected: str | None = Field(None, description="What it should be.")
    edit_distance: float | None = Field(None, ge=0, le=1, description="0: the same; 1: nothing in common.")
    metadata: dict[str, Any] = Field(default_factory=dict, description="The client's own.")
