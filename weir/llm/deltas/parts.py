"""Reads content that is a list of parts, as Mistral and others send it, alone or alternating with strings. Pure.

OpenAI's ``content`` is a string. The text of text parts becomes that string, thinking parts become thinking, and any
other part (images, references, files) stays a part.
"""

from typing import Any, Final, NamedTuple

_THINKING: Final = frozenset({"thinking", "reasoning", "reasoning_text"})


class Content(NamedTuple):
    """The parts of a content, by type."""

    text: str
    thinking: str
    others: list[Any]


def content_of(value: Any) -> Content:
    """Sort the parts of a content that is not a string."""
    text, thinking, others = list[str](), list[str](), list[Any]()
    for part in value if isinstance(value, list) else (value,):
        if isinstance(part, str):
            text.append(part)
        elif not isinstance(part, dict):
            others.append(part)
        elif part.get("type") in _THINKING:
            thinking.append(_text_of(part))
        elif isinstance(part.get("text"), str | dict):
            text.append(_text_of(part.get("text")))
        else:
            others.append(part)
    return Content("".join(text), "".join(thinking), [part for part in others if part is not None])


def text_of(value: Any) -> str:
    """The text of a field, in whichever type the server sends it."""
    return _text_of(value)


def _text_of(value: Any) -> str:
    """The text of nested parts; a stack instead of recursion, because their depth has no bound."""
    found, waiting = list[str](), [value]
    while waiting:
        match waiting.pop():
            case str(text):
                found.append(text)
            case list(parts):
                waiting += reversed(parts)
            case dict(part):
                waiting += [
                    part[name] for name in ("thinking", "text", "reasoning", "value", "content") if name in part
                ][:1]
    return "".join(found)
