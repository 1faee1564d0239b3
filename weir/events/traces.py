"""agent-trace-events: the life of a request, with timings. Keyed by its uid."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from weir.events.base import AboutRequest


class _Trace(AboutRequest):
    TOPIC: ClassVar[str] = "agent-trace-events"

    trace_id: str = Field(description="The uid of the request.")
    rid: str | None = Field(None, description="Which submission of the uid this is about: the event id of its record.")
    agent_id: str = Field("chat", description="Who works on it.")
    worker: str | None = Field(None, description="host:port of the worker that tells this.")
    ingress: str | None = Field(None, description="The door it came through: http, rabbitmq, kafka.")
    model: str | None = Field(None, description="The model that was asked for.")
    username: str | None = Field(None, description="Whose request it is, as the client said.")
    session_id: str | None = Field(None, description="The client's session (metadata.session_id).")
    stream: bool | None = Field(None, description="Whether the client reads tokens as they come.")
    accepted_at: str | None = Field(None, description="When a door took it; ISO 8601, UTC.")
    replay: str | None = Field(None, description="The run that asks it again, of a request that is replayed.")
    replay_of: str | None = Field(None, description="The uid of its original.")
    chunks_from: int | None = Field(None, description="No record about it in chat-chunks is older than this offset.")


class RequestAccepted(_Trace):
    """A door has put a request into chat-requests."""

    EVENT_TYPE: ClassVar[str] = "request.accepted"

    on_disconnect: str | None = Field(None, description="What becomes of it without a reader: continue, cancel.")
    prompt_chars: int | None = Field(None, description="Length of the text of all messages, in characters.")


class AttemptStarted(_Trace):
    """An LLM call for a request begins."""

    EVENT_TYPE: ClassVar[str] = "attempt.started"

    attempt: str = Field(description="Id of the call.")
    mark: str = Field(description="begin, takeover or restart.")
    said: int = Field(0, description="Chunks of the answer that were in the log before, and are continued.")
    queue_ms: float | None = Field(None, description="From the door to the call, in milliseconds.")


class _Ended(_Trace):
    action: Literal["completed", "failed", "cancelled", "expired"] = Field(description="How it ended.")
    ended_at: str | None = Field(None, description="When; ISO 8601, UTC.")
    attempt: str | None = Field(None, description="The call that ended it.")
    attempts: int = Field(0, description="LLM calls that were begun for it.")
    finish_reason: str | None = Field(None, description="OpenAI's, of the first choice.")
    weir_finish: str | None = Field(
        None, description="What set it where the LLM did not: inferred, or the name of the limit that ended the answer."
    )
    usage: dict[str, Any] | None = Field(None, description="OpenAI's usage object, as the LLM counted.")
    chunks: int = Field(0, description="Chunks of the answer.")
    error: dict[str, Any] | None = Field(None, description="OpenAI's error object, with its HTTP status.")
    error_message: str | None = Field(None, description="The error's message.")
    timings: dict[str, float | None] = Field(default_factory=dict, description="Milliseconds, of the last call.")
    latency_ms: float | None = Field(None, description="From the door to the end, in milliseconds.")
    tokens_input: int | None = Field(None, description="Tokens of the prompt.")
    tokens_output: int | None = Field(None, description="Tokens of the answer.")
    cost_usd: float | None = Field(None, description="By the price table; null where the model has no price.")
    tools_used: list[str] = Field(default_factory=list, description="Names of the functions that the answer calls.")
    first: int | None = Field(None, description="Offset in chat-chunks of the first record that counts.")
    last: int | None = Field(None, description="Offset in chat-chunks of its end.")


class RequestCompleted(_Ended):
    """The answer is whole."""

    EVENT_TYPE: ClassVar[str] = "request.completed"


class RequestFailed(_Ended):
    """It ended with an error."""

    EVENT_TYPE: ClassVar[str] = "request.failed"


class RequestCancelled(_Ended):
    """Somebody cancelled it, or nobody read it any more."""

    EVENT_TYPE: ClassVar[str] = "request.cancelled"


class RequestExpired(_Ended):
    """Its deadline passed before it was begun."""

    EVENT_TYPE: ClassVar[str] = "request.expired"


class RequestRedriven(_Trace):
    """It came back from the dead letters, and is answered anew: what its row told of its end is history."""

    EVENT_TYPE: ClassVar[str] = "request.redriven"

    replaces: str | None = Field(None, description="The submission of the uid whose end stood before.")
    replaced_status: str | None = Field(None, description="How that ended: failed, expired; null where unknown.")
    replaced_ended_at: str | None = Field(None, description="When that ended: ISO 8601, UTC.")
    run: str | None = Field(None, description="The run that sent it again.")
    letter: str | None = Field(None, description="The event id of its dead letter.")
    on_disconnect: str | None = Field(None, description="What becomes of it without a reader: continue, cancel.")


class RequestForgotten(AboutRequest):
    """Its rows leave the tables: they are past their expiry."""

    EVENT_TYPE: ClassVar[str] = "request.forgotten"
    TOPIC: ClassVar[str] = "agent-trace-events"

    rid: str | None = Field(None, description="Which submission of the uid.")


ENDS: dict[str, type[_Ended]] = {
    "completed": RequestCompleted,
    "failed": RequestFailed,
    "cancelled": RequestCancelled,
    "expired": RequestExpired,
}
"""The event of each end, by its status."""
