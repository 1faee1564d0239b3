"""Brings the chunks of one stream into OpenAI's shape, whatever shape their server gave them. Pure; never raises.

Repairs made here once, where an answer comes in, need not be made by every client and every reader: OpenAI's own
clients add up deltas by the letter, so a ``role`` in each chunk becomes ``assistantassistant``, and a list without
indexes raises in the middle of a stream.

* an index that is null or missing is 0
* each tool call has its own index and id (`weir.llm.deltas.tool_calls`)
* content is a string, with thinking apart from it (`weir.llm.deltas.parts`)
* the first meaningful value of ``role``, ``model`` and ``created`` stays; each chunk has an ``object``
* the items of a list have indexes from its second piece on, and fields that do not change are sent once
  (`weir.llm.deltas.blocks`)

No chunk is changed in place: a frame that was decoded once is read by many readers. A chunk that has the right shape,
as nearly all have, is returned unchanged.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from weir.envelope import Json
from weir.llm.deltas.blocks import Blocks
from weir.llm.deltas.parts import content_of, text_of
from weir.llm.deltas.tool_calls import FunctionCall, ToolCalls, whole

PARTS: Final = "content_parts"  # the items of a list of parts that are neither text nor thinking
_TEXTS: Final = frozenset({"reasoning_content", "reasoning", "refusal"})
_PLAIN: Final = frozenset({"content", *_TEXTS})
_GROWS: Final = frozenset({"data", "transcript"})  # fields of an object that grow: sound
_STAYS: Final[Json] = {"model": "", "created": 0}
CHUNK: Final = "chat.completion.chunk"


@dataclass(slots=True)
class _Choice:
    calls: ToolCalls
    function_call: FunctionCall = field(default_factory=FunctionCall)
    role: bool = False  # whether a role was sent
    lists: dict[str, Blocks] = field(default_factory=dict)
    said: Json = field(default_factory=dict)  # the last value of each other field


class Shape:
    """Brings the chunks of one stream into shape, in their order."""

    def __init__(self, mint: Callable[[int, int], str], without: Json | None = None) -> None:
        """Starts without any chunk.

        Args:
            mint: makes an id for a tool call without one, from the index of its choice and its own.
            without: ``model`` and ``created``, for a server that sends none.
        """
        self._mint = mint
        self._without = without or {}
        self._choices: dict[int, _Choice] = {}
        self._top: Json = {}

    def chunk(self, chunk: Json) -> Json:
        """A chunk in OpenAI's shape: the same object if it has that shape already."""
        given = chunk.get("choices")
        if type(given) is list and len(given) == 1 and type(given[0]) is dict:
            choice = self.choice(given[0])  # the only choice of nearly all chunks
            if choice is not given[0]:
                chunk = {**chunk, "choices": [choice]}
        elif given:
            given = given if isinstance(given, list) else []
            choices = [self.choice(choice, at) for at, choice in enumerate(given) if isinstance(choice, dict)]
            chunk = {**chunk, "choices": choices}
        if self._top and chunk.get("model") and chunk.get("created") and chunk.get("object") == CHUNK:
            return chunk
        return self._with_top(chunk)

    def _with_top(self, chunk: Json) -> Json:
        """A chunk with the fields of the whole answer that earlier chunks had and this one lacks."""
        top: Json = {"object": CHUNK}
        for name, nothing in _STAYS.items():
            if not chunk.get(name) and name in self._without and chunk.get("choices"):
                self._top.setdefault(name, self._without[name])  # Azure's first chunk has neither choices nor a model
            if chunk.get(name):
                self._top.setdefault(name, chunk[name])
            elif name in self._top or name in self._without:
                top[name] = self._top.get(name, nothing)
        return {**chunk, **top}

    def choice(self, choice: Json, at: int = 0) -> Json:
        """One choice of a chunk; ``at`` is its place, which is its index where it has none."""
        index, delta = choice.get("index"), choice.get("delta")
        if type(index) is int and type(delta) is dict and "message" not in choice:
            for name, text in delta.items():
                if name not in _PLAIN or (type(text) is not str and text is not None):
                    break
            else:
                return choice
        else:
            number = whole(index)
            index = at if number is None or number < 0 else number
            delta = _delta_of(choice)
            choice = {name: value for name, value in choice.items() if name != "message"}
            choice |= {"index": index, "delta": delta}
        shaped = self._delta(index, delta)
        return choice if shaped is delta else {**choice, "delta": shaped}

    def _delta(self, index: int, delta: Json) -> Json:
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice(ToolCalls(lambda place: self._mint(index, place)))
        out: Json = {}
        for name, value in delta.items():
            if value is None or (name == "content" and type(value) is str):
                out.setdefault(name, value)
            else:
                _take(state, out, name, value)
        return delta if out == delta else out


def _delta_of(choice: Json) -> Json:
    """The delta of a choice. Some servers send the whole message beside it, or instead of it."""
    for name in ("delta", "message"):
        if isinstance(choice.get(name), dict):
            found: Json = choice[name]
            return found
    return {}


def _take(state: _Choice, out: Json, name: str, value: Any) -> None:
    """Put the new part of a delta's field into ``out``."""
    match name:
        case "role":
            if not state.role and isinstance(value, str) and value:
                state.role = True
                out[name] = value
        case "content":
            _take_content(state, out, value)
        case "tool_calls" | "function_call":
            calls = state.calls.pieces(value) if name == "tool_calls" else state.function_call.piece(value)
            if calls:
                out[name] = calls
        case _ if name in _TEXTS:
            _append(out, name, value if isinstance(value, str) else text_of(value))
        case _ if isinstance(value, list):
            _take_list(state, out, name, value)
        case _:
            _take_other(state, out, name, value)


def _take_list(state: _Choice, out: Json, name: str, value: list[Any]) -> None:
    items = state.lists.setdefault(name, Blocks(name)).items(value)
    if items or not value:
        out[name] = items


def _take_content(state: _Choice, out: Json, value: Any) -> None:
    content = content_of(value)
    if content.text or not (content.thinking or content.others):
        _append(out, "content", content.text)
    if content.thinking:
        _append(out, "reasoning_content", content.thinking)
    if content.others:
        _take_list(state, out, PARTS, content.others)


def _append(out: Json, name: str, text: str) -> None:
    out[name] = (out.get(name) or "") + text


def _take_other(state: _Choice, out: Json, name: str, value: Any) -> None:
    """Put any other field into ``out``: a repeated value only once; of an object, each of its fields."""
    if not isinstance(value, dict):
        out.update(_news(state.said, {name: value}))
        return
    said = state.said.get(name)
    if not isinstance(said, dict):
        said = state.said[name] = {}
    if (fresh := _news(said, value)) or not value:
        out[name] = fresh


def _news(said: Json, fields: Json) -> Json:
    """The fields with a new value; every piece of a field that is text is new."""
    fresh = {name: value for name, value in fields.items() if name in _GROWS or name not in said or said[name] != value}
    said.update((name, value) for name, value in fresh.items() if name not in _GROWS)
    return fresh
