"""The model names that the demo server understands, and the options that a name can carry.

A name is `mode` or `mode:key=value,key=value`. Any other name comes from a person's curl, and gets a plain answer at a
human pace.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Thinking(StrEnum):
    """The place of a model's thoughts; the value of the first two is the key within delta or message."""

    REASONING_CONTENT = "reasoning_content"  # DeepSeek, vLLM, SGLang
    REASONING = "reasoning"  # OpenRouter, Ollama
    TAGS = "tags"  # <think>…</think> within the content: a server without a reasoning parser


class Fault(StrEnum):
    """The fault that a mode produces on purpose."""

    ERROR = "error"  # an HTTP error status
    REFUSE = "refuse"  # 400, which no retry helps
    CUTOFF = "cutoff"  # the connection closes in mid-answer
    ERROR_MIDWAY = "error-midway"  # an error object within the stream
    HANG = "hang"  # headers and some tokens, then no more bytes
    SILENT = "silent"  # not even headers


@dataclass(frozen=True, kw_only=True)
class Mode:
    """The way in which one call is answered."""

    tokens: int = 60  # length of the answer
    thinking_tokens: int = 16  # length of the thoughts, if there are any
    first_ms: float = 0.0  # before the first token
    delay_ms: float = 0.0  # between tokens
    thinking: Thinking | None = None
    tools: bool = False  # call a tool if the request has one
    noise: bool = False  # empty choices, unknown fields, SSE comments
    usage: bool = True
    fault: Fault | None = None
    after: int = 5  # tokens before a fault in mid-answer
    times: int = 0  # how often the fault strikes per last user text; 0: always
    clean: bool = False  # a cutoff that ends the HTTP body properly, as a proxy may do
    status: int = 500  # of an HTTP error
    retry_after: int = 1  # seconds, in the Retry-After header of 429 and 503


class BadOptionError(ValueError):
    """The options of a model name cannot be understood."""


MODES = {
    "demo": Mode(),
    "demo-thinking": Mode(thinking=Thinking.REASONING_CONTENT),
    "demo-reasoning": Mode(thinking=Thinking.REASONING),
    "demo-think-tags": Mode(thinking=Thinking.TAGS),
    "demo-tools": Mode(tools=True),
    "demo-slow": Mode(first_ms=2000, delay_ms=200),
    "demo-error": Mode(fault=Fault.ERROR),
    "demo-refuse": Mode(fault=Fault.REFUSE, status=400),
    "demo-cutoff": Mode(fault=Fault.CUTOFF),
    "demo-error-midway": Mode(fault=Fault.ERROR_MIDWAY),
    "demo-hang": Mode(fault=Fault.HANG),
    "demo-silent": Mode(fault=Fault.SILENT),
    "demo-empty-choices": Mode(noise=True),
    "demo-no-usage": Mode(usage=False),
}
HUMAN = Mode(delay_ms=30)  # any other name

# Option: type and range. The longest answer is some 25 MB on the wire; all of it is built before it is sent.
_OPTIONS: dict[str, tuple[type[int] | type[float], int, int]] = {
    "tokens": (int, 0, 100_000),
    "thinking_tokens": (int, 0, 100_000),
    "first_ms": (float, 0, 3_600_000),
    "delay_ms": (float, 0, 3_600_000),
    "after": (int, 0, 100_000),
    "times": (int, 0, 1_000_000),
    "clean": (int, 0, 1),
    "status": (int, 400, 599),
    "retry_after": (int, 0, 3600),
}


def mode_of(model: str) -> Mode:
    """The mode that a model name asks for.

    Raises:
        BadOptionError: A demo name with an option that is unknown, not a number, or out of range.
    """
    name, _, options = model.partition(":")
    if name not in MODES:
        return HUMAN
    pairs = [option.partition("=") for option in options.split(",") if option]
    # Any: names and types come from the table of options, which mypy cannot relate to the fields.
    values: dict[str, Any] = {key: _value(key, text) for key, _, text in pairs}
    return replace(MODES[name], **values)


def _value(key: str, text: str) -> float:
    if key not in _OPTIONS:
        raise BadOptionError(f"unknown option {key!r}; there are: {', '.join(_OPTIONS)}")
    kind, low, high = _OPTIONS[key]
    try:
        value = kind(text)
    except ValueError:
        raise BadOptionError(f"{key} must be a number, not {text!r}") from None
    if not low <= value <= high:
        raise BadOptionError(f"{key} must be between {low} and {high}, not {text}")
    return value
