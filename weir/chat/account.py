"""The account of an ended request: the figures that all events about its end share. Pure."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from weir.chat.fold import Answer
from weir.chat.frames import Status, Terminal
from weir.chat.lifecycle import Happening
from weir.chat.notes import Notes
from weir.chat.requests import ChatRequest
from weir.envelope import Json, seconds_of, utc_iso
from weir.events.base import derived_id
from weir.events.decisions import DecisionOutcome, Outcome
from weir.events.metrics import MetricsRecorded
from weir.events.redaction import NOTHING, Redactor
from weir.limits import cut, small_object
from weir.llm.prices import Prices, Tokens, tokens_of

ROUTE = "default"  # the name of the only LLM, the one at OPENAI_URL


def decision_id(attempt: str) -> str:
    """Return the id of the decision that led to an attempt."""
    return f"dec-{attempt.removeprefix('att-')}"


@dataclass(kw_only=True)
class Account:
    """The facts about a request at its end."""

    request: ChatRequest
    answer: Answer
    terminal: Terminal
    notes: Notes  # of the chunks that count
    ended_at: float  # seconds since the epoch
    prices: Prices = field(default_factory=lambda: Prices({}))
    redactor: Redactor = NOTHING  # redacts what clients and LLMs wrote, in events

    @property
    def status(self) -> Status:
        """How the request ended."""
        return self.terminal.status

    @property
    def happening(self) -> Happening:
        """The request's end as a step of its lifecycle."""
        return Happening(f"request.{self.status}")

    @property
    def model(self) -> str:
        """The model that the client asked for."""
        return cut(str(self.request.body.get("model")))

    @property
    def error_code(self) -> str | None:
        """The code, in OpenAI's terms, of the error that the request ended with."""
        error = self.terminal.error
        return None if error is None else str(error.get("code") or error.get("type") or "unknown")

    @property
    def error_type(self) -> str | None:
        """The type, in OpenAI's terms, of the error that the request ended with."""
        return None if self.terminal.error is None else str(self.terminal.error.get("type"))

    @cached_property
    def error(self) -> Json | None:
        """The error that the request ended with, cut: LLMs quote the prompt in their errors."""
        error = self.terminal.error
        return error and self.redactor.error({**error, "message": str(error.get("message"))})

    @property
    def usage(self) -> Json | None:
        """The usage that the LLM reported."""
        return self.terminal.usage or small_object(self.answer.usage)

    @cached_property
    def tokens(self) -> Tokens:
        """The token counts that the LLM reported."""
        return tokens_of(self.usage)

    @cached_property
    def cost_usd(self) -> float | None:
        """The cost by the price table."""
        return self.prices.cost_usd(self.model, self.tokens)

    @cached_property
    def latency_ms(self) -> float | None:
        """The time from the door to the end."""
        accepted = seconds_of(self.request.accepted_at)
        return None if accepted is None else _ms(self.ended_at - accepted)

    @property
    def queue_ms(self) -> float | None:
        """The time from the door to the last LLM call."""
        total = self.terminal.timings.get("total_ms")
        if self.latency_ms is None or not isinstance(total, int | float):
            return None
        return max(0.0, round(self.latency_ms - total, 3))

    @property
    def ttft_ms(self) -> float | None:
        """The time from the last LLM call to its first token."""
        first = self.terminal.timings.get("first_chunk_ms")
        return first if isinstance(first, int | float) else None

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens per second from the first token to the end, for an answer from one call."""
        total = self.terminal.timings.get("total_ms")
        if self.ttft_ms is None or not isinstance(total, int | float) or not self.tokens.output:
            return None
        seconds = (total - self.ttft_ms) / 1000
        return round(self.tokens.output / seconds, 3) if seconds > 0 and self.answer.attempts == 1 else None

    def event_id(self, *what: object) -> str:
        """Return the id of an event about this request: the same from every worker and at every repetition."""
        return derived_id(self.answer.rid, *what)

    # -- events

    def trace(self) -> dict[str, Any]:
        """The details of the request's last trace event."""
        terminal, answer = self.terminal, self.answer
        return {
            "action": self.status,
            "ended_at": utc_iso(self.ended_at),
            "attempt": answer.attempt or None,
            "attempts": answer.attempts,
            "finish_reason": terminal.finish_reason,
            "weir_finish": terminal.weir_finish,
            "usage": terminal.usage,
            "chunks": answer.next_seq,
            "error": self.error,
            "error_message": self.error and self.error["message"],
            "timings": terminal.timings,
            "latency_ms": self.latency_ms,
            "tokens_input": self.tokens.input,
            "tokens_output": self.tokens.output,
            "cost_usd": self.cost_usd,
            "tools_used": self.notes.tools,
            "first": answer.first,
            "last": answer.last,
        }

    def metrics(self) -> MetricsRecorded:
        """The request's figures as an event."""
        return MetricsRecorded(
            model=self.model,
            uid=self.request.uid,
            route=ROUTE,
            status=self.status.value,
            error_code=self.error_code,
            ended_at=utc_iso(self.ended_at),
            attempts=self.answer.attempts,
            queue_ms=self.queue_ms,
            ttft_ms=self.ttft_ms,
            latency_ms=self.latency_ms,
            tokens_per_second=self.tokens_per_second,
            input_tokens=self.tokens.input,
            cached_tokens=self.tokens.cached,
            output_tokens=self.tokens.output,
            reasoning_tokens=self.tokens.reasoning,
            cost_usd=self.cost_usd,
            replay=self.request.replay,
        )

    def outcome(self) -> DecisionOutcome | None:
        """The outcome of the last decision; None where there was no decision."""
        if not self.answer.attempt:
            return None
        return DecisionOutcome(
            uid=self.request.uid,
            decision_id=decision_id(self.answer.attempt),
            attempt=self.answer.attempt,
            outcome=self._outcome(),
            error_code=self.error_code,
            latency_ms=self.latency_ms,
        )

    def _outcome(self) -> Outcome:
        if self.status is Status.COMPLETED:
            return Outcome.SUCCESSFUL
        if self.status is Status.CANCELLED:
            return Outcome.UNKNOWN
        return Outcome.PARTIALLY_SUCCESSFUL if self.answer.next_seq else Outcome.FAILED


def _ms(seconds: float) -> float:
    return max(0.0, round(seconds * 1000, 3))
