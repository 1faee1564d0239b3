"""Decides what a new attempt does with the output of earlier ones (DESIGN section 5, rule 9).

    no output                             call, as if it were the first
    all output but the terminal           no call
    text, and the LLM can continue it     call with the text as the beginning of its own message; ``seq`` goes on
    only thoughts                         call again, and leave its thoughts out: the client has some already
    anything else                         generate it again from its start (restart), or fail

"Anything else" is half a tool call, a refusal, sound or a picture, of which a client has pieces that no text can
follow, several choices at once, or an LLM that cannot continue a message.
"""

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from weir.chat.completion import Completion
from weir.chat.fold import Answer
from weir.chat.frames import FrameKind
from weir.chat.requests import ChatRequest
from weir.envelope import Json
from weir.llm.deltas.shape import PARTS

THOUGHTS = ("reasoning_content", "reasoning")
NO_TEXT = ("tool_calls", "function_call", "refusal", "audio", PARTS)  # no model continues these after a text
LIMITS = ("max_tokens", "max_completion_tokens")

INTERRUPTED = {
    "message": "The worker that generated this answer died, and the model cannot go on with it.",
    "type": "server_error",
    "param": None,
    "code": "stream_interrupted",
    "status": 502,
}


class Continuation(StrEnum):
    """How an LLM is asked to continue a message of its own; the last two are for LLMs that cannot."""

    PREFILL = "prefill"  # the last message is the assistant's: Ollama, llama.cpp, LM Studio, …
    CONTINUE_FINAL_MESSAGE = "continue_final_message"  # vLLM, SGLang: two flags besides
    PREFIX = "prefix"  # DeepSeek, Mistral: a flag on the message
    RESTART = "restart"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class ContinuationPlan:
    """What the next attempt does."""

    kind: FrameKind  # the kind of its mark
    body: Json | None = None  # the body for the LLM; None: no call
    error: Json | None = None  # the error that the request ends with, if there is no call
    goes_on: bool = False  # whether the LLM continues a message
    said: int = 0  # chunks of the answer before the call
    skips_thoughts: bool = False


def said_whole(answer: Answer, request: ChatRequest) -> bool:
    """Whether the answer is complete but for its terminal: then the LLM is not called."""
    choices = request.body.get("n")
    return len(answer.finish_reasons) >= (choices if isinstance(choices, int) else 1)


def plan_without_text(answer: Answer, request: ChatRequest, policy: Continuation) -> ContinuationPlan | None:
    """Return the plan, where it does not depend on the content of the answer so far; else None."""
    if not answer.attempts:
        return ContinuationPlan(FrameKind.BEGIN, request.body)
    if said_whole(answer, request):
        return ContinuationPlan(FrameKind.TAKEOVER)
    if not answer.next_seq:
        return ContinuationPlan(FrameKind.TAKEOVER, request.body)
    if policy in {Continuation.RESTART, Continuation.FAIL} or (request.body.get("n") or 1) != 1:
        return _without_continuation(request, policy)
    return None


def plan(answer: Answer, request: ChatRequest, policy: Continuation, said: Iterable[Json]) -> ContinuationPlan:
    """Return the plan for an answer whose chunks ``said`` are in the log."""
    known = plan_without_text(answer, request, policy)
    if known is not None:
        return known
    completion = Completion(request.uid)
    for chunk in said:
        completion.add(chunk)
    choices = completion.result().get("choices") or [{}]
    message = choices[0].get("message") or {}
    text = message.get("content")
    if any(message.get(name) for name in NO_TEXT) or len(choices) > 1:
        return _without_continuation(request, policy)
    thought = any(message.get(name) for name in THOUGHTS)
    if not isinstance(text, str) or not text:
        return ContinuationPlan(FrameKind.TAKEOVER, request.body, said=answer.next_seq, skips_thoughts=thought)
    body = continued(request.body, text, answer.next_seq, policy)
    return ContinuationPlan(FrameKind.TAKEOVER, body, goes_on=True, said=answer.next_seq, skips_thoughts=thought)


def _without_continuation(request: ChatRequest, policy: Continuation) -> ContinuationPlan:
    if policy is Continuation.FAIL and request.stream:
        return ContinuationPlan(FrameKind.TAKEOVER, error=INTERRUPTED)
    return ContinuationPlan(FrameKind.RESTART, request.body)


def continued(body: Json, text: str, said: int, policy: Continuation) -> Json:
    """Return the body that asks an LLM to continue after ``text``, after ``said`` chunks of its answer."""
    messages = list(body.get("messages") or ())
    last = messages[-1] if messages else {}
    if last.get("role") == "assistant" and isinstance(last.get("content"), str):
        messages.pop()  # the client had begun the message itself
        text = last["content"] + text
    message: Json = {"role": "assistant", "content": text}
    more: Json = {}
    if policy is Continuation.PREFIX:
        message["prefix"] = True
    elif policy is Continuation.CONTINUE_FINAL_MESSAGE:
        more = {"continue_final_message": True, "add_generation_prompt": False}
    limits = {name: max(1, body[name] - said) for name in LIMITS if isinstance(body.get(name), int)}
    return {**body, **limits, **more, "messages": [*messages, message]}


async def spoken(plan: ContinuationPlan, chunks: AsyncGenerator[Json, None]) -> AsyncGenerator[Json, None]:
    """Yield those of an LLM's chunks that follow the answer so far."""
    async with aclosing(chunks):
        async for chunk in chunks:
            if plan.said:
                if not _fit(chunk, plan):
                    continue
                if chunk.get("usage") and plan.goes_on:
                    chunk["usage"] = _whole_usage(chunk["usage"], plan.said)
            yield chunk


def _fit(chunk: Json, plan: ContinuationPlan) -> bool:
    """Remove from a chunk what the client has already; return whether anything is left."""
    known = {"role", *THOUGHTS} if plan.skips_thoughts else {"role"}
    left = bool(chunk.get("usage"))
    for choice in chunk.get("choices") or ():
        delta = {name: value for name, value in (choice.get("delta") or {}).items() if name not in known}
        choice["delta"] = delta
        left = left or bool(choice.get("finish_reason")) or any(delta.values())
    return left


def _whole_usage(usage: Any, said: int) -> Any:
    """Return the usage of the whole answer: its ``said`` earlier chunks were in this call's prompt, a token each."""
    if not isinstance(usage, dict):
        return usage
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return usage
    return {**usage, "prompt_tokens": max(0, prompt - said), "completion_tokens": completion + said}
