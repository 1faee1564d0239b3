"""Makes the trace of an answer, as steps, from the notes of the answer. Pure.

The events of agent-thinking-events and GET /thinking are made by the same functions, so they cannot differ.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from weir.chat.account import Account
from weir.chat.frames import Status
from weir.chat.notes import Notes, Part, Passage
from weir.chat.requests import ChatRequest
from weir.envelope import Json, utc_iso
from weir.events.base import EventData
from weir.events.redaction import Redactor
from weir.events.thinking import StepType, ThinkingApiCall, ThinkingCompleted, ThinkingStarted, ThinkingStep
from weir.lineage.dialects import DEFAULT, dialect_of

_FENCE: Final = re.compile(r"(?:```|~~~)[ \t]*([\w-]+)")
_SQL_ARGUMENT: Final = re.compile(r'"\s*(?:select|with|insert|update|delete|merge)\s', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ThinkingEvents:
    """Makes the events of traces."""

    endpoint: str  # the URL of the LLM, without credentials
    redactor: Redactor

    def started(self, request: ChatRequest) -> ThinkingStarted:
        """Return the event of a trace's beginning."""
        return ThinkingStarted(
            trace_id=request.uid,
            session_id=request.session_id,
            actor_urn=f"urn:weir:agent:{request.tenant}:chat",
            goal=self.redactor(last_user_text(request.body)) or None,
            started_at=request.accepted_at,
        )

    def steps(self, uid: str, notes: Notes) -> Iterator[ThinkingStep]:
        """Iterate over the thoughts, calls and texts of an answer, in order."""
        for index, passage in enumerate(notes.passages):
            text = passage.text
            yield ThinkingStep(
                trace_id=uid,
                step_id=f"{uid}/{index}",
                index=index,
                step_type=_type(passage, text, first=index == 0),
                reasoning=self.redactor(text),
                chars=passage.chars,
                tool=passage.tool,
                confidence=passage.confidence,
            )

    def api_call(self, account: Account) -> ThinkingApiCall | None:
        """Return the event of the call that ended the answer; None where the LLM was not called."""
        if not account.answer.attempt:
            return None
        total = account.terminal.timings.get("total_ms")
        return ThinkingApiCall(
            trace_id=account.request.uid,
            call_id=account.answer.attempt,
            endpoint=self.endpoint,
            model_id=account.notes.model or account.model,
            input_tokens=account.tokens.input,
            output_tokens=account.tokens.output,
            thinking_tokens=account.tokens.reasoning,
            latency_ms=total if isinstance(total, int | float) else None,
            cost_usd=account.cost_usd,
        )

    def completed(self, account: Account, steps: list[ThinkingStep]) -> ThinkingCompleted:
        """Return the event of a trace's end, with its sums."""
        confidences = [step.confidence for step in steps if step.confidence is not None]
        return ThinkingCompleted(
            trace_id=account.request.uid,
            status=_status(account.status),
            outcome=_outcome(account),
            started_at=account.request.accepted_at,
            completed_at=utc_iso(account.ended_at),
            total_duration_ms=account.latency_ms,
            total_input_tokens=account.tokens.input,
            total_output_tokens=account.tokens.output,
            total_thinking_tokens=account.tokens.reasoning,
            total_cost_usd=account.cost_usd,
            model_ids_used=[account.notes.model] if account.notes.model else [],
            path_taken=[step.step_type for step in steps],
            step_count=len(steps),
            api_call_count=account.answer.attempts,
            avg_confidence=sum(confidences) / len(confidences) if confidences else None,
        )

    def ended(self, account: Account) -> Iterator[tuple[str, EventData]]:
        """Iterate over all events of a trace's end, each with its id; they are made one by one."""
        steps: list[ThinkingStep] = []
        for step in self.steps(account.request.uid, account.notes):
            steps.append(step)
            yield account.event_id(step.EVENT_TYPE, step.index), step
        call = self.api_call(account)
        if call is not None:
            yield account.event_id(call.EVENT_TYPE, call.call_id), call
        end = self.completed(account, steps)
        yield account.event_id(end.EVENT_TYPE), end


def last_user_text(body: Json) -> str:
    """Return the text of the last message of the user; "" if there is none."""
    messages = body.get("messages")
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            return text_of(message.get("content"))
    return ""


def prompt_chars(body: Json) -> int:
    """Return the length of the text of all messages, in characters."""
    messages = body.get("messages")
    return sum(
        len(text_of(message.get("content")))
        for message in (messages if isinstance(messages, list) else ())
        if isinstance(message, dict)
    )


def text_of(content: Any) -> str:
    """Return the text of a message's content: a string, or OpenAI's list of parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = (part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text")
    return "\n".join(text for text in texts if isinstance(text, str))


def _type(passage: Passage, text: str, *, first: bool) -> StepType:
    if passage.part is Part.THOUGHT:
        return StepType.INTENT_ANALYSIS if first else StepType.REFINEMENT
    if passage.part is Part.TOOL:
        return StepType.SQL_GENERATION if _SQL_ARGUMENT.search(text) else StepType.TOOL_SELECTION
    fences = (found[1].lower() for found in _FENCE.finditer(text))
    return StepType.SQL_GENERATION if any(map(_is_sql, fences)) else StepType.RESPONSE


def _is_sql(language: str) -> bool:
    return language in DEFAULT or dialect_of(language) is not None


def _status(status: Status) -> Literal["completed", "failed", "cancelled"]:
    match status:
        case Status.COMPLETED:
            return "completed"
        case Status.CANCELLED:
            return "cancelled"
    return "failed"


def _outcome(account: Account) -> Literal["success", "partial", "failure"]:
    if account.status is Status.COMPLETED:
        return "partial" if account.terminal.finish_reason == "length" else "success"
    return "partial" if account.answer.next_seq else "failure"
