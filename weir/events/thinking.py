"""agent-thinking-events: the steps by which an answer was made. Keyed by the trace id, which is the request's uid.

Texts in these events are cut at EVENT_TEXT_MAX_CHARS, and keys and card numbers are removed before they are written.
"""

from enum import StrEnum
from typing import ClassVar, Literal

from pydantic import Field

from weir.events.base import EventData


class StepType(StrEnum):
    """The kind of a step of thinking."""

    INTENT_ANALYSIS = "INTENT_ANALYSIS"  # reasoning text before anything else
    REFINEMENT = "REFINEMENT"  # reasoning text after text or a tool call
    TOOL_SELECTION = "TOOL_SELECTION"  # a tool call
    SQL_GENERATION = "SQL_GENERATION"  # a tool call or text with SQL in it
    RESPONSE = "RESPONSE"  # text for the user


class _Thinking(EventData):
    TOPIC: ClassVar[str] = "agent-thinking-events"

    trace_id: str = Field(description="The uid of the request.")

    def record_key(self, tenant: str) -> str:
        """The key of its record: the trace id."""
        return self.trace_id


class ThinkingStarted(_Thinking):
    """A trace begins."""

    EVENT_TYPE: ClassVar[str] = "thinking.started"

    parent_trace_id: str | None = Field(None, description="The trace that called this one.")
    session_id: str | None = Field(None, description="The client's session.")
    actor_urn: str = Field(description="urn:weir:agent:{tenant}:chat")
    goal: str | None = Field(None, description="The last message of the user, cut and redacted.")
    started_at: str = Field(description="ISO 8601, UTC.")


class ThinkingStep(_Thinking):
    """One step of a trace."""

    EVENT_TYPE: ClassVar[str] = "thinking.step"

    step_id: str = Field(description="{trace_id}/{index}")
    index: int = Field(description="The place of the step in the trace, from 0.")
    step_type: StepType
    reasoning: str = Field("", description="The model's text, cut and redacted; for a tool call, its arguments.")
    chars: int = Field(0, description="Length of the whole text, in characters.")
    tool: str | None = Field(None, description="The function that is called.")
    confidence: float | None = Field(None, ge=0, le=1, description="Mean probability of its tokens, with logprobs.")


class ThinkingApiCall(_Thinking):
    """One call of an LLM for the trace."""

    EVENT_TYPE: ClassVar[str] = "thinking.api_call"

    call_id: str = Field(description="Id of the attempt.")
    api_type: Literal["llm", "tool"] = Field("llm", description="The kind of service that was called.")
    endpoint: str = Field(description="Host and path of the LLM, without credentials.")
    model_id: str | None = Field(None, description="The model that answered, as it names itself.")
    input_tokens: int | None = Field(None, description="Tokens of the prompt.")
    output_tokens: int | None = Field(None, description="Tokens of the answer, thinking included.")
    thinking_tokens: int | None = Field(None, description="Tokens of thinking among them.")
    latency_ms: float | None = Field(None, description="From the call to its end, in milliseconds.")
    cost_usd: float | None = Field(None, description="By the price table; null where the model has no price.")


class ThinkingCompleted(_Thinking):
    """The trace ends."""

    EVENT_TYPE: ClassVar[str] = "thinking.completed"
    VERSION: ClassVar[int] = 2  # in version 1 the totals were 0 where no tokens were counted

    status: Literal["completed", "failed", "cancelled"]
    outcome: Literal["success", "partial", "failure"] = Field(description="partial: cut off after the first text.")
    started_at: str = Field(description="ISO 8601, UTC.")
    completed_at: str = Field(description="ISO 8601, UTC.")
    total_duration_ms: float | None = Field(None, description="Milliseconds; null where the start is not known.")
    total_input_tokens: int | None = Field(None, description="Tokens of the prompt; null where the LLM counted none.")
    total_output_tokens: int | None = Field(None, description="Tokens of the answer, thinking included; or null.")
    total_thinking_tokens: int | None = Field(None, description="Tokens of thinking among them; or null.")
    total_cost_usd: float | None = Field(None, description="US dollars; null where the model has no price.")
    model_ids_used: list[str] = Field(default_factory=list)
    path_taken: list[StepType] = Field(default_factory=list, description="The types of the steps, in order.")
    step_count: int = 0
    api_call_count: int = 0
    avg_confidence: float | None = Field(None, ge=0, le=1)
