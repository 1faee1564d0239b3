"""What a new attempt does with what earlier ones have said (DESIGN section 5, rule 9).

    nothing said                          call, as if it were the first
    all said, only the terminal missing   no call
    text said, and the LLM can go on      call with the text as the beginning of its own message; ``seq`` goes on
    only thoughts said                    call anew, and leave its thoughts out: they were told
    anything else                         say it again from its start (restart), or fail

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
NO_TEXT = ("tool_calls", "function_call", "refusal", "audio", PARTS)  # what no model goes on with after a text
LIMITS = ("max_tokens", "max_completion_tokens")

INTERRUPTED = {
    "message": "The worker that generated this answer died, and the model cannot go on with it.",
    "type": "server_error",
    "param": None,
    "code": "stream_interrupted",
    "status": 502,
}


class Continuation(StrEnum):
    """How an LLM is asked to go on with a message of its own; the last two do without."""

    PREFILL = "prefill"  # the last message is the assistant's: Ollama, llama.cpp, LM Studio, …
    CONTINUE_FINAL_MESSAGE = "continue_final_message"  # vLLM, SGLang: two flags besides
    PREFIX = "prefix"  # DeepSeek, Mistral: a flag on the message
    RESTART = "restart"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class ContinuationPlan:
    """What the next attempt does."""

    kind: FrameKind  # of its mark
    body: Json | None = None  # what the LLM is asked; None: nothing
    error: Json | None = None  # what the request ends with, if nothing is asked
    goes_on: bool = False  # the LLM goes on with a message
    said: int = 0  # chunks before it
    skips_thoughts: bool = False


def said_whole(answer: Answer, request: ChatRequest) -> bool:
    """Whether the answer was said to its end, and only its terminal is missing: the LLM is not called for that."""
    choices = request.body.get("n")
    return len(answer.finish_reasons) >= (choices if isinstance(choices, int) else 1)


def plan_without_text(answer: Answer, request: ChatRequest, policy: Continuation) -> ContinuationPlan | None:
    """The plan, where it does not depend on what was said; else None."""
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
    """The plan for an answer of which the chunks ``said`` are in the log."""
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
    """The request that asks an LLM to go on after ``text``, ``said`` chunks of its answer."""
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
    """What of an LLM's chunks follows what was said before."""
    async with aclosing(chunks):
        async for chunk in chunks:
            if plan.said:
                if not _fit(chunk, plan):
                    continue
                if chunk.get("usage") and plan.goes_on:
                    chunk["usage"] = _whole_usage(chunk["usage"], plan.said)
            yield chunk


def _fit(chunk: Json, plan: ContinuationPlan) -> bool:
    """Take out of a chunk what was told; whether anything is left."""
    told = {"role", *THOUGHTS} if plan.skips_thoughts else {"role"}
    left = bool(chunk.get("usage"))
    for choice in chunk.get("choices") or ():
        delta = {name: value for name, value in (choice.get("delta") or {}).items() if name not in told}
        choice["delta"] = delta
        left = left or bool(choice.get("finish_reason")) or any(delta.values())
    return left


def _whole_usage(usage: Any, said: int) -> Any:
    """Usage of the whole answer: what was said before was part of this call's prompt. A chunk counts as a token."""
    if not isinstance(usage, dict):
        return usage
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return usage
    return {**usage, "prompt_tokens": max(0, prompt - said), "completion_tokens": completion + said}
