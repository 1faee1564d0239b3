"""ai-learning-signals: feedback joined to its request, as a number. Keyed by tenant and model."""

from typing import ClassVar

from pydantic import Field

from weir.events.base import AboutModel, EventData
from weir.events.feedback import FeedbackSource, FeedbackType


class SignalRecorded(AboutModel):
    """The score of a model by one piece of feedback."""

    EVENT_TYPE: ClassVar[str] = "signal.recorded"
    TOPIC: ClassVar[str] = "ai-learning-signals"

    uid: str
    route: str = Field("default", description="The route that answered.")
    score: float = Field(ge=-1, le=1, description="-1 is bad, 1 is good.")
    weight: float = Field(gt=0, le=1, description="How much it counts: what a user says counts more than a guess.")
    feedback_id: str = Field(description="The event id of the feedback.")
    feedback_type: FeedbackType
    feedback_source: FeedbackSource
    given_at: str = Field(description="When the feedback was given; ISO 8601, UTC. Windows use this time.")
    status: str = Field(description="How the request ended.")
    user_id: str | None = None
    session_id: str | None = None
    features: dict[str, float | int | str | bool | None] = Field(
        default_factory=dict, description="Its request: prompt_chars, tokens, latency_ms, attempts, stream, ingress."
    )
    rebuilt: str | None = Field(
        None, description="The run that published the signal again, by a changed formula: it replaces an earlier one."
    )


class SignalsTick(EventData):
    """The clock, like ``metrics.tick`` in agent-metrics-events: no older record will come into this partition."""

    EVENT_TYPE: ClassVar[str] = "signals.tick"
    TOPIC: ClassVar[str] = "ai-learning-signals"

    at: str = Field(description="The time of the clock; ISO 8601, UTC.")

    def record_key(self, tenant: str) -> str:
        """The key of its record: the tenant. The partition does not depend on the key."""
        return tenant
