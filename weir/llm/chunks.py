"""Turns parsed JSON into chunk objects, or raises the error that the JSON holds; reads finish reasons. Pure."""

from collections.abc import Iterable
from typing import Any

from weir import limits
from weir.envelope import Json
from weir.llm.errors import not_understood
from weir.llm.shapes import error_in, refusal


def checked(chunk: Any, *, event_name: bytes = b"") -> Json:
    """Return a chunk; raises the error that a server sent in place of one."""
    if not isinstance(chunk, dict):
        raise not_understood("something that is not a JSON object")
    named = event_name == b"error"
    if named or "choices" not in chunk or chunk.get("error"):
        error = error_in(chunk) or (chunk if named else None)
        if error is not None:
            raise refusal(error)
    choices = chunk.get("choices") or []
    if not isinstance(choices, list):
        raise not_understood("something that is not a chat completion")
    for choice in choices:
        if not _is_choice(choice):
            raise not_understood("something that is not a chat completion")
    return chunk


def _is_choice(choice: object) -> bool:
    if not isinstance(choice, dict):
        return False
    if choice.get("finish_reason") == "":
        choice["finish_reason"] = None  # the meaning of ""; typed clients refuse the empty string
    if choice.get("error") and choice.get("finish_reason") in (None, "error"):  # OpenRouter
        raise refusal(error_in(choice) or {})
    return isinstance(choice.get("delta") or choice.get("message") or {}, dict)


def finish_reasons(chunks: Iterable[Json]) -> dict[int, str]:
    """The finish reason of each choice, by its index, as far as these chunks have one."""
    return {
        choice.get("index") or 0: limits.name(choice["finish_reason"]) or ""
        for chunk in chunks
        for choice in chunk.get("choices") or ()
        if choice.get("finish_reason")
    }


def as_chunk(completion: Any) -> Json:
    """Convert a whole chat.completion to one chunk."""
    completion = checked(completion[0] if isinstance(completion, list) and completion else completion)
    if not completion.get("choices"):
        raise not_understood("something that is not a chat completion")
    choices = [
        {**{k: v for k, v in choice.items() if k != "message"}, "delta": _numbered(choice.get("message") or {})}
        for choice in completion.get("choices") or ()
    ]
    return {**completion, "object": "chat.completion.chunk", "choices": choices}


def _numbered(message: Json) -> Json:
    """A whole message as a delta, its tool calls numbered by their place."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    numbered = [{**call, "index": at} for at, call in enumerate(calls) if isinstance(call, dict)]
    return {**message, "tool_calls": numbered}
