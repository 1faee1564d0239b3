"""The answer of the demo model: a pure function of the model's name, the messages and the choice's index.

It needs no network, so a test can ask here for the expected answer and compare it with the one that came out of the
other end of the whole system.

A request that ends with an assistant message asks for that message to be continued (prefill: vLLM, Ollama, llama.cpp,
Mistral and others). If it is the beginning of the usual answer, only the rest is sent.
"""

from dataclasses import dataclass, replace
from typing import Literal

from demo.messages import Body, last_user_text, leaves, messages_of, role_of, text_of
from demo.modes import Mode, Thinking, mode_of
from demo.prose import cut, seed_of, sentences, tokens_of
from demo.tools import ToolCall, tool_call

LABEL = "[demo model, not a real LLM] "
ECHO_CHARS = 200  # of the last user text, repeated in the answer


@dataclass(frozen=True, kw_only=True)
class Script:
    """The content of one choice; one string per token."""

    thinking: list[str]  # thoughts, in whichever field they are sent
    content: list[str]  # delta.content as it leaves the server, <think> tags included
    answer: list[str]  # content without thoughts and tags
    tool_call: ToolCall | None
    finish_reason: Literal["stop", "length", "tool_calls"]
    inline: bool  # the thoughts are part of content, in <think> tags

    @property
    def completion_tokens(self) -> int:
        """Tokens of the usage report, thoughts included."""
        apart = [] if self.inline else self.thinking
        return len(apart) + len(self.content) + len(self.tool_call.arguments if self.tool_call else [])


def script(body: Body, index: int = 0) -> Script:
    """The server's answer to a request.

    Args:
        body: The request as parsed from JSON; anything missing or odd in it is taken as absent.
        index: Which of the `n` choices.

    Raises:
        BadOptionError: The model name is a demo mode with invalid options.
    """
    mode = mode_of(_model(body))
    return _limited(_continued(body, mode, index) or _composed(body, mode, index), _limit(body))


def expected_content(body: Body, index: int = 0) -> str:
    """All of delta.content joined (equal to message.content), with the <think> part where the mode has one."""
    return "".join(script(body, index).content)


def expected_thinking(body: Body, index: int = 0) -> str:
    """All thoughts joined, without tags; empty in a mode that does not think."""
    return "".join(script(body, index).thinking)


def expected_answer(body: Body, index: int = 0) -> str:
    """The content without thoughts and tags: the part for a person to read."""
    return "".join(script(body, index).answer)


def _model(body: Body) -> str:
    model = body.get("model")
    return model if isinstance(model, str) else ""


def _composed(body: Body, mode: Mode, index: int) -> Script:
    seed = seed_of([_model(body), str(index), *leaves(messages_of(body))])
    call = tool_call(body, seed) if mode.tools else None
    answer = [] if call else _answer(last_user_text(body), seed, mode.tokens)
    thinking = sentences(b"thinking" + seed, mode.thinking_tokens) if mode.thinking else []
    content = answer
    if mode.thinking is Thinking.TAGS:
        content = cut(f"<think>{''.join(thinking)}</think>\n\n", b"tags" + seed) + answer
    return Script(
        thinking=thinking,
        content=content,
        answer=answer,
        tool_call=call,
        finish_reason="tool_calls" if call else "stop",
        inline=mode.thinking is Thinking.TAGS,
    )


def _answer(text: str, seed: bytes, count: int) -> list[str]:
    echo = text[:ECHO_CHARS].encode("utf-8", "replace").decode()
    # The code differs from request to request within the first tokens, where prompts often do not.
    opening = [LABEL, f"Answer {seed.hex()[:8]} to", " “", *tokens_of(echo), "”."]
    return opening[:count] + sentences(seed, max(0, count - len(opening)))


def _continued(body: Body, mode: Mode, index: int) -> Script | None:
    """The rest of an answer whose beginning is the last message; None if the request does not ask for that."""
    *before, last = messages_of(body) or [None]
    said = text_of(last)
    if not before or not said or role_of(last) != "assistant":
        return None
    whole = _composed({**body, "messages": before}, mode, index)
    for tokens in (whole.content, whole.answer):
        if "".join(tokens).startswith(said):
            rest = _without(tokens, len(said))
            answer = rest[max(0, len(rest) - len(whole.answer)) :]  # the rest may begin within the thoughts
            return replace(whole, thinking=[], content=rest, answer=answer, inline=False)
    return None


def _without(tokens: list[str], chars: int) -> list[str]:
    for i, token in enumerate(tokens):
        if chars < len(token):
            return [token[chars:], *tokens[i + 1 :]]
        chars -= len(token)
    return []


def _limit(body: Body) -> int | None:
    for key in ("max_completion_tokens", "max_tokens"):
        value = body.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _limited(whole: Script, limit: int | None) -> Script:
    """The script cut to max_completion_tokens, which counts thoughts too; a tool call is never cut."""
    if limit is None or whole.tool_call or whole.completion_tokens <= limit:
        return whole
    apart = 0 if whole.inline else len(whole.thinking[:limit])
    content = whole.content[: limit - apart]
    return replace(
        whole,
        thinking=_thoughts(content) if whole.inline else whole.thinking[:limit],
        content=content,
        answer=content[len(whole.content) - len(whole.answer) :],
        finish_reason="length",
    )


def _thoughts(content: list[str]) -> list[str]:
    """The thoughts within content that may end inside of them."""
    text = "".join(content).removeprefix("<think>").partition("</think>")[0]
    return [text] if "<think>".removeprefix(text) == "<think>" else []
