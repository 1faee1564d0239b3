"""Merges the chunks of a stream into one chat.completion object, as the upstream would have sent it without streaming.

Chunks are shaped first (`weir.llm.deltas.shape`): frames of former versions are in the log as their servers sent them.
Then the pieces of each field are collected, and joined when the result is asked for, so that a long answer costs time
by its length and not by the square of it. A chunk is never changed: a frame that was decoded once has many readers.
"""

import hashlib
from typing import Any, Final, cast

import orjson

from weir.envelope import Json
from weir.llm.deltas.blocks import TEXTS
from weir.llm.deltas.shape import Shape

_TEXTS: Final = frozenset({"content", "reasoning_content", "reasoning", "refusal", "transcript", *TEXTS})
_OF_CALLS: Final = frozenset({"name", "arguments", "input"})
"""Text fields: their pieces are joined. Of any other field one value counts."""

_NAMES: Final = frozenset({"id", "type", "role"})  # the first value that is not empty stays
_FIRST: Final = frozenset({"model", "created"})  # fields at the top of the object whose first value stays
_OURS: Final = frozenset({"id", "object", "choices"})
_CHUNK_CHARS: Final = 16
_ITEM_CHARS: Final = 100  # estimated size of a list item: the logprobs of a token
SLICE: Final = 1024  # pieces of a text that are encoded at once
_CALLS: Final = frozenset({"function", "custom", "function_call"})
_UNNUMBERED: Final = frozenset({"tool_calls"})  # OpenAI gives no index in them without streaming


class _Joined(list[str]):
    """The pieces of a text."""


class _Fields(dict[str, object]):
    """An object under construction."""


class _Items:
    """A list under construction."""

    def __init__(self) -> None:
        self.items: list[object] = []
        self.places: dict[int, _Fields] = {}
        self.unnumbered = False  # whether its first item has no index


def _add(fields: _Fields, given: Json, texts: frozenset[str] = _TEXTS) -> int:
    """Add pieces to an object; return the number of characters of text that were added."""
    chars = 0
    for name, value in given.items():
        if value is None:
            fields.setdefault(name, None)
        elif isinstance(value, str) and name in texts:
            chars += len(value)
            old = fields.get(name)
            if isinstance(old, _Joined):
                old.append(value)
            else:
                fields[name] = _Joined((value,))
        elif isinstance(value, dict):
            inner = fields.get(name)
            if not isinstance(inner, _Fields):
                inner = fields[name] = _Fields()
            chars += _add(inner, value, _OF_CALLS if name in _CALLS else _TEXTS)
        elif isinstance(value, list):
            items = fields.get(name)
            if not isinstance(items, _Items):
                items = fields[name] = _Items()
            chars += _extend(items, value)
        elif not fields.get(name) or (value != "" and name not in _NAMES):
            fields[name] = value
    return chars


def _extend(items: _Items, given: list[Any]) -> int:
    """Add a list to another: objects with an index are merged with those that have the same index."""
    chars = 0
    for item in given:
        index = item.get("index") if isinstance(item, dict) else None
        if not items.items:
            items.unnumbered = index is None
        if type(index) is not int:
            items.items.append(item)
            chars += _ITEM_CHARS
            continue
        fields = items.places.get(index)
        if fields is None:
            fields = items.places[index] = _Fields()
            items.items.append(fields)
        chars += _add(fields, item)
    return chars


def _built(value: object, *, unnumbered: bool = False, encoding: bool = False) -> Any:
    """Return a collected value as plain JSON; with ``encoding``, long texts in it are encoded, slice by slice."""
    match value:
        case _Joined():
            return _encoded(value) if encoding and len(value) > SLICE else "".join(value)
        case _Fields():
            return {
                name: _built(inner, unnumbered=name in _UNNUMBERED, encoding=encoding)
                for name, inner in value.items()
                if not (unnumbered and name == "index")
            }
        case _Items():
            without = unnumbered or value.unnumbered
            return [_built(item, unnumbered=without, encoding=encoding) for item in value.items]
    return value


def _encoded(pieces: _Joined) -> orjson.Fragment:
    """Encode a text as JSON."""
    slices = ("".join(pieces[at : at + SLICE]) for at in range(0, len(pieces), SLICE))
    return orjson.Fragment(b"".join((b'"', *(orjson.dumps(text)[1:-1] for text in slices), b'"')))


def shape_of(uid: str) -> Shape:
    """Return a shape for the chunks of a stored answer: a tool call without an id gets the same id for each reader."""

    def mint(index: int, place: int) -> str:
        return f"call_{hashlib.sha256(f'{uid} {index} {place}'.encode()).hexdigest()[:24]}"

    return Shape(mint)


class Completion:
    """Collects chunks; ``result()`` is the chat.completion object so far."""

    def __init__(self, uid: str) -> None:
        self._top: Json = {"id": f"chatcmpl-{uid}", "object": "chat.completion"}
        self._choices: dict[int, _Fields] = {}
        self._shape = shape_of(uid)
        self.size = 0  # the cost of encoding it: characters of text, plus a number of characters for each chunk

    def add(self, chunk: Json) -> None:
        """Add one chunk object to the answer."""
        chunk = self._shape.chunk(chunk)
        self.size += _CHUNK_CHARS
        for key, value in chunk.items():
            if key not in _OURS and value is not None and _counts(key, value, self._top.get(key)):
                self._top[key] = value
        for choice in chunk.get("choices") or ():
            self._add_choice(choice)

    def _add_choice(self, given: Json) -> None:
        choice = self._choices.get(given["index"])
        if choice is None:
            message = _Fields(role=None, content=None)
            choice = _Fields(index=given["index"], message=message, logprobs=None, finish_reason=None)
            self._choices[given["index"]] = choice
        self.size += _add(cast("_Fields", choice["message"]), given["delta"])
        for key, value in given.items():
            if key == "logprobs":
                self.size += _add(choice, {key: value})
            elif key not in {"index", "delta"} and value is not None:
                choice[key] = value  # finish_reason, or a result that is repeated (Azure's content filter)

    def result(self) -> Json:
        """Return the chat.completion object; its choices are in order of their index."""
        return self._result(encoding=False)

    def encoded(self) -> bytes:
        """Return the chat.completion object as JSON. May run on a thread if no chunk is added meanwhile."""
        return orjson.dumps(self._result(encoding=True))

    def _result(self, *, encoding: bool) -> Json:
        choices = [_built(self._choices[index], encoding=encoding) for index in sorted(self._choices)]
        return {**self._top, "choices": [{**c, "message": _finished(c["message"])} for c in choices]}


def _counts(key: str, value: Any, old: Any) -> bool:
    """Whether a value at the top of a chunk replaces the earlier one."""
    return not old or (value != "" and key not in _FIRST)


def _finished(message: Json) -> Json:
    """Finish a message as OpenAI sends it without streaming: with its role, and null for empty text beside calls."""
    message = {**message, "role": message.get("role") or "assistant"}
    if not (message.get("tool_calls") or message.get("function_call")):
        return message
    return {**message, "content": message.get("content") or None}
