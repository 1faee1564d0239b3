"""agent-trace-events: the life of a request, with timings. Keyed by its uid."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from weir.events.base import AboutRequest


class _Trace(AboutRequest):
    TOPIC: ClassVar[str] = "agent-trace-events"

    trace_id: str = Field(description="The uid of the request.")
    rid: str | None = Field(None, description="The submission of the uid: the event id of its record.")
    agent_id: str = Field("chat", description="The agent that works on the request.")
    worker: str | None = Field(None, description="host:port of the worker that publishes this event.")
    ingress: str | None = Field(None, description="The door it came through: http, rabbitmq, kafka.")
    model: str | None = Field(None, description="The model that was asked for.")
    username: str | None = Field(None, description="The user whose request it is, as the client sent it.")
    session_id: str | None = Field(None, description="The client's session (metadata.session_id).")
    stream: bool | None = Field(None, description="Whether the client reads tokens as they come.")
    accepted_at: str | None = Field(None, description="When a door accepted the request; ISO 8601, UTC.")
    replay: str | None = Field(None, description="The run, if the request is a replay.")
    replay_of: str | None = Field(None, description="The uid of the request that is replayed.")
    chunks_from: int | None = Field(None, description="No record of the answer in chat-chunks is older.")


class RequestAccepted(_Trace):
    """A door has put a request into chat-requests."""

    EVENT_TYPE: ClassVar[str] = "request.accepted"

    on_disconnect: str | None = Field(None, description="What happens to it without a reader: continue, cancel.")
    prompt_chars: int | None = Field(None, description="Length of the text of all messages, in characters.")


class AttemptStarted(_Trace):
    """An LLM call for a request begins."""

    EVENT_TYPE: ClassVar[str] = "attempt.started"

    attempt: str = Field(description="Id of the call.")
    mark: str = Field(description="begin, takeover or restart.")
    said: int = Field(0, description="Chunks of the answer that were in the log before this call.")
    queue_ms: float | None = Field(None, description="From the door to the call, in milliseconds.")


class _Ended(_Trace):
    action: Literal["completed", "failed", "cancelled", "expired"] = Field(description="How the request ended.")
    ended_at: str | None = Field(None, description="When the request ended; ISO 8601, UTC.")
    attempt: str | None = Field(None, description="The LLM call that ended it.")
    attempts: int = Field(0, description="LLM calls that were begun for the request.")
    finish_reason: str | None = Field(None, description="OpenAI's finish reason of the first choice.")
    weir_finish: str | None = Field(
        None, description="If the LLM sent no finish reason: inferred, or the limit that ended the answer."
    )
    usage: dict[str, Any] | None = Field(None, description="OpenAI's usage object, as the LLM counted.")
    chunks: int = Field(0, description="Chunks of the answer.")
    error: dict[str, Any] | None = Field(None, description="OpenAI's error object, with its HTTP status.")
    error_message: str | None = Field(None, description="The error's message.")
    timings: dict[str, float | None] = Field(default_factory=dict, description="Milliseconds, of the last LLM call.")
    latency_ms: float | None = Field(None, description="From the door to the end, in milliseconds.")
    tokens_input: int | None = Field(None, description="Tokens of the prompt.")
    tokens_output: int | None = Field(None, description="Tokens of the answer.")
    cost_usd: float | None = Field(None, description="By the price table; null where the model has no price.")
    tools_used: list[str] = Field(default_factory=list, description="Names of the functions that the answer calls.")
    first: int | None = Field(None, description="Offset in chat-chunks of the first record that counts.")
    last: int | None = Field(None, description="Offset in chat-chunks of the end of the answer.")


class RequestCompleted(_Ended):
    """The answer is whole."""

    EVENT_TYPE: ClassVar[str] = "request.completed"


class RequestFailed(_Ended):
    """The request ended with an error."""

    EVENT_TYPE: ClassVar[str] = "request.failed"


class RequestCancelled(_Ended):
    """A client cancelled the request, or no client read the answer any more."""

    EVENT_TYPE: ClassVar[str] = "request.cancelled"


class RequestExpired(_Ended):
    """The deadline of the request passed before it was begun."""

    EVENT_TYPE: ClassVar[str] = "request.expired"


class RequestRedriven(_Trace):
    """A request came back from the dead letters, and is answered again: its earlier end becomes history."""

    EVENT_TYPE: ClassVar[str] = "request.redriven"

    replaces: str | None = Field(None, description="The submission of the uid whose end stood before.")
    replaced_status: str | None = Field(None, description="How that submission ended: failed, expired; or null.")
    replaced_ended_at: str | None = Field(None, description="When that submission ended; ISO 8601, UTC.")
    run: str | None = Field(None, description="The run that sent the request again.")
    letter: str | None = Field(None, description="The event id of the dead letter.")
    on_disconnect: str | None = Field(None, description="What happens to it without a reader: continue, cancel.")


class RequestForgotten(AboutRequest):
    """The rows of a request leave the tables: they are past their expiry."""

    EVENT_TYPE: ClassVar[str] = "request.forgotten"
    TOPIC: ClassVar[str] = "agent-trace-events"

    rid: str | None = Field(None, description="The submission of the uid that is forgotten.")


ENDS: dict[str, type[_Ended]] = {
    "completed": RequestCompleted,
    "failed": RequestFailed,
    "cancelled": RequestCancelled,
    "expired": RequestExpired,
}
"""The event of each end, by its status."""
