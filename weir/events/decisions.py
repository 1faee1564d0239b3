"""agent-decision-events: which route and model, why, and what came of it. Keyed by the request's uid."""

from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from weir.events.base import AboutRequest


class DecisionType(StrEnum):
    """What was decided."""

    ROUTING = "routing"  # where a new request goes
    CONTINUATION = "continuation"  # what becomes of an answer that was left half-said
    FAILOVER = "failover"  # the LLM broke off, and is called again


class Outcome(StrEnum):
    """What came of a decision."""

    SUCCESSFUL = "SUCCESSFUL"
    PARTIALLY_SUCCESSFUL = "PARTIALLY_SUCCESSFUL"  # something was said, and not all
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"  # it was cancelled: nobody waited for the outcome


class Candidate(BaseModel):
    """One choice."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    name: str = Field(description="Of a routing decision: the route and its model; else what to do.")
    route: str | None = None
    model: str | None = None
    score: float | None = Field(None, description="The higher, the better; null where nothing was compared.")
    rejected: str | None = Field(None, description="Why it was not chosen; null for the one that was.")


class DecisionMade(AboutRequest):
    """A choice was made."""

    EVENT_TYPE: ClassVar[str] = "decision.made"
    TOPIC: ClassVar[str] = "agent-decision-events"

    decision_id: str
    decision_type: DecisionType
    attempt: str = Field(description="The LLM call that follows from it.")
    candidates: list[Candidate]
    chosen: str = Field(description="The name of one of them.")
    reason: str
    worker: str | None = Field(None, description="host:port of the worker that decided.")


class DecisionOutcome(AboutRequest):
    """What came of the last decision about a request."""

    EVENT_TYPE: ClassVar[str] = "decision.outcome"
    TOPIC: ClassVar[str] = "agent-decision-events"

    decision_id: str
    attempt: str
    outcome: Outcome
    error_code: str | None = Field(None, description="OpenAI's error code, of one that failed.")
    latency_ms: float | None = Field(None, description="From the door to the end, in milliseconds.")
