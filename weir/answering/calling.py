"""Makes the call of the LLM for one answer, from the client's wishes and this worker's limits."""

import time
from dataclasses import dataclass, field

from weir.answering.view import View
from weir.chat.requests import ChatRequest
from weir.envelope import seconds_of
from weir.events.ingress import Ingress
from weir.llm.calls import Allowance, Call
from weir.options import ThinkTags

# share of the wait for a stream's headers in which retries may begin: the last one needs its time, too
HEADER_SHARE = 0.8
LEAST_S = 5.0  # for an attempt that takes over when the time of its answer is nearly over


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRules:
    """The settings of a worker for all calls."""

    header_wait_s: float = 3.0  # SSE_HEADER_WAIT_S
    think_tags: ThinkTags = ThinkTags.SPLIT
    answer: Allowance = field(default_factory=Allowance)


def call_of(request: ChatRequest, rules: CallRules, view: View) -> Call:
    """Return the call of the next attempt; earlier attempts' output is part of the same answer, and of its limits."""
    spent_s = 0.0 if view.begun_at is None else max(0.0, time.time() - view.begun_at)
    return Call(
        streamed=request.stream,
        retry_within_s=_retry_within_s(request, rules.header_wait_s),
        think_tags=request.think_tags or rules.think_tags,
        allowance=Allowance(
            max_bytes=max(1, rules.answer.max_bytes - view.said_bytes),
            max_tokens=max(1, rules.answer.max_tokens - view.answer.next_seq),
            max_s=max(min(LEAST_S, rules.answer.max_s), rules.answer.max_s - spent_s),
        ),
    )


def _retry_within_s(request: ChatRequest, header_wait_s: float) -> float | None:
    """Return the time for retries: a client that waits for a stream's headers can still get a failure's status."""
    accepted_at = seconds_of(request.accepted_at)
    if not request.stream or request.ingress is not Ingress.HTTP or accepted_at is None:
        return None
    waited_s = max(0.0, time.time() - accepted_at)
    return None if waited_s >= header_wait_s else max(0.0, header_wait_s * HEADER_SHARE - waited_s)
