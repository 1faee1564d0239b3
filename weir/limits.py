"""Limits on text of others outside the answer itself: in errors, events, rows and dead letters.

An LLM, a client or a producer may put megabytes into any field. The answer and the request are kept whole; of the rest
only a limited part is kept. Values are cut where they enter (`UpstreamError`, ``weir.chat.requests.decode``, the
terminal of ``weir.chat.frames``), and `fitted` makes a value smaller that is still too large for a record.
"""

from typing import Any, Final

import orjson

from weir.envelope import Json

NAME_CHARS: Final = (
    256  # of a name: a model, a user, a session, a tool, a finish_reason, an error's type, code and param
)
UID_CHARS: Final = 128  # of a request's uid
TIME_CHARS: Final = 64  # of an ISO 8601 time
MESSAGE_CHARS: Final = 2000  # of an error's message: enough to act on, too little to flood a log
ERROR_BYTES: Final = 16_384  # of an error object as JSON, with members that OpenAI does not have
OBJECT_BYTES: Final = 8192  # of a usage or timings object as JSON
_INT_BITS: Final = 63  # of the largest integer that orjson writes
_FIRST: Final = ("message", "type", "param", "code", "status")  # the members that an error keeps first
_STEPS: Final = ((8192, 1000, 16), (1024, 200, 8), (256, 50, 4), (64, 20, 2))
"""Steps of `fitted`: characters of a string, items of a list or object, levels of nesting."""


def cut(text: str, chars: int = NAME_CHARS) -> str:
    """At most ``chars`` characters of a text; one that was longer ends in an ellipsis."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


def name(value: Any) -> str | None:
    """A name as a short string, of any value; None stays None."""
    if value is None:
        return None
    return cut(value) if isinstance(value, str) else cut(_text(value))


def error_object(error: Json) -> Json:
    """An error object (OpenAI's, with an HTTP ``status`` perhaps), cut so that it fits into a record."""
    members: Json = {key: error[key] for key in _FIRST if key in error}
    members |= error
    message = members.get("message")
    if message is not None:
        members["message"] = cut(message if isinstance(message, str) else _text(message), MESSAGE_CHARS)
    for key in ("type", "param", "code"):
        if not isinstance(members.get(key), int | None):
            members[key] = name(members[key])
    return fitted(members, ERROR_BYTES)


def small_object(value: Any) -> Json | None:
    """A usage or timings object that fits into a record; None for any other value."""
    return fitted(value, OBJECT_BYTES) if isinstance(value, dict) else None


def fitted(value: Json, max_bytes: int) -> Json:
    """An object that takes at most ``max_bytes`` as JSON.

    An object that fits is returned unchanged. In any other, strings are cut, then lists and objects keep their first
    items, then the deepest levels are left out: in four steps, each smaller than the last, until it fits.
    """
    if fits(value, max_bytes):
        return value
    for chars, items, levels in _STEPS:
        smaller: Json = _smaller(value, chars, items, levels)
        if fits(smaller, max_bytes):
            return smaller
    return {}


def fits(value: Any, max_bytes: int) -> bool:
    """Whether a value takes at most ``max_bytes`` as JSON; one that cannot be written does not fit."""
    try:
        return len(orjson.dumps(value)) <= max_bytes
    except TypeError:  # orjson reads deeper nesting than it writes; other parsers read larger integers, too
        return False


def _smaller(value: Any, chars: int, items: int, levels: int) -> Any:
    if isinstance(value, str):
        return cut(value, chars).encode(errors="replace").decode()  # half a surrogate pair cannot be written
    if isinstance(value, int) and value.bit_length() > _INT_BITS:
        return None
    if isinstance(value, dict | list | tuple) and levels == 0:
        return None
    if isinstance(value, dict):
        pairs = list(value.items())[:items]
        return {cut(key, chars): _smaller(member, chars, items, levels - 1) for key, member in pairs}
    if isinstance(value, list | tuple):
        return [_smaller(member, chars, items, levels - 1) for member in value[:items]]
    return value


def _text(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return "(cannot be written)"
