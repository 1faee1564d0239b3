"""ai-feedback-events: feedback by people and programs on an answer. Keyed by the uid of the request it is about.

The seven types are the platform's. Its scores are not published, so Weir has its own; they lie within the ranges of the
platform's feedback scoring service.
"""

from enum import StrEnum
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from weir.events.base import AboutRequest


class FeedbackType(StrEnum):
    """The type of feedback."""

    THUMBS_UP = "thumbs_up"
    THUMBS_DOWN = "thumbs_down"
    CORRECTION = "correction"  # the user edits the answer, or its SQL
    RATING = "rating"  # 1 to 5 stars
    IMPLICIT_ACCEPT = "implicit_accept"  # the user uses the answer
    IMPLICIT_REJECT = "implicit_reject"  # the user asks again in other words, or leaves
    ESCALATION = "escalation"  # the user wants a human


class FeedbackSource(StrEnum):
    """The source of feedback."""

    EXPLICIT = "explicit"  # the user, who was asked
    IMPLICIT = "implicit"  # the user's actions, as a client saw them
    RETRY = "retry"  # Weir saw the same user ask nearly the same again
    ABANDON = "abandon"  # Weir saw the answer cancelled before its end


class FeedbackSeverity(StrEnum):
    """The importance of feedback."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class FeedbackExpired(AboutRequest):
    """Feedback that has waited too long for its request is given up, and rows that are too old are forgotten.

    Feedback that waits for a request that has ended is joined.

    An internal event: a table is changed under an event only.
    """

    EVENT_TYPE: ClassVar[str] = "feedback.expired"
    TOPIC: ClassVar[str] = "ai-feedback-events"

    waiting_before: str = Field(description="Feedback waiting since before this time is given up; ISO 8601, UTC.")
    known_before: str = Field(description="Rows from before this time are forgotten; ISO 8601, UTC.")


class Rescored(BaseModel):
    """The score of a piece of feedback by another formula."""

    model_config = ConfigDict(frozen=True)

    score: float = Field(ge=-1, le=1)
    weight: float = Field(gt=0, le=1)


class FeedbackRescored(AboutRequest):
    """The formula was changed: the signals in a request's row get other numbers.

    An internal event: a table is changed under an event only.
    """

    EVENT_TYPE: ClassVar[str] = "feedback.rescored"
    TOPIC: ClassVar[str] = "ai-feedback-events"

    run: str = Field(description="The run that computed the scores.")
    signals: dict[str, Rescored] = Field(description="The new scores, by the event id of the feedback.")


class FeedbackSubmitted(AboutRequest):
    """Feedback on one answer, whose request may not be known yet."""

    EVENT_TYPE: ClassVar[str] = "feedback.submitted"
    TOPIC: ClassVar[str] = "ai-feedback-events"

    response_id: str = Field(description="The client's name for the answer: chatcmpl-{uid}, or the uid.")
    feedback_type: FeedbackType
    feedback_source: FeedbackSource = FeedbackSource.EXPLICIT
    severity: FeedbackSeverity = FeedbackSeverity.INFO
    category: str | None = Field(None, description="The client's own word for the subject of the feedback.")
    user_id: str | None = None
    session_id: str | None = None
    rating: int | None = Field(None, ge=1, le=5, description="The stars of a rating.")
    comment: str | None = None
    original: str | None = Field(None, description="The part that was corrected: text or SQL.")
    corrected: str | None = Field(None, description="The corrected text or SQL.")
    edit_distance: float | None = Field(None, ge=0, le=1, description="0: the original; 1: nothing in common with it.")
    metadata: dict[str, Any] = Field(default_factory=dict, description="The client's own fields.")
