"""agent-decision-events: the route and model of a request, the reasons, and the outcome. Keyed by the request's uid."""

from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from weir.events.base import AboutRequest


class DecisionType(StrEnum):
    """The question that was decided."""

    ROUTING = "routing"  # where a new request goes
    CONTINUATION = "continuation"  # how to go on with an answer that was left unfinished
    FAILOVER = "failover"  # the LLM broke off, and is called again


class Outcome(StrEnum):
    """The outcome of a decision."""

    SUCCESSFUL = "SUCCESSFUL"
    PARTIALLY_SUCCESSFUL = "PARTIALLY_SUCCESSFUL"  # part of the answer was produced
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"  # it was cancelled: its client did not wait for the outcome


class Candidate(BaseModel):
    """One of the options of a decision."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    name: str = Field(description="The route and its model, in a routing decision; else the action.")
    route: str | None = None
    model: str | None = None
    score: float | None = Field(None, description="The higher, the better; null where options were not compared.")
    rejected: str | None = Field(None, description="Why it was not chosen; null for the chosen one.")


class DecisionMade(AboutRequest):
    """A decision about a request was made."""

    EVENT_TYPE: ClassVar[str] = "decision.made"
    TOPIC: ClassVar[str] = "agent-decision-events"

    decision_id: str
    decision_type: DecisionType
    attempt: str = Field(description="The LLM call that follows from it.")
    candidates: list[Candidate]
    chosen: str = Field(description="The name of the chosen candidate.")
    reason: str
    worker: str | None = Field(None, description="host:port of the worker that decided.")


class DecisionOutcome(AboutRequest):
    """The outcome of the last decision about a request."""

    EVENT_TYPE: ClassVar[str] = "decision.outcome"
    TOPIC: ClassVar[str] = "agent-decision-events"

    decision_id: str
    attempt: str
    outcome: Outcome
    error_code: str | None = Field(None, description="OpenAI's error code, if the request failed.")
    latency_ms: float | None = Field(None, description="From the door to the end, in milliseconds.")
