"""Assembles tool calls from the pieces in which servers send them, however odd. Pure; never raises.

OpenAI gives each piece the ``index`` of its call, sends ``id``, ``type`` and ``name`` in the first piece of a call
only, and cuts ``arguments`` anywhere. Other servers leave the index out, count from 1, or send 0 for all; repeat the
name in every piece; send no id, an empty one, or a new one with each piece; send arguments as an object. A client that
adds pieces up by index, as OpenAI's do, then merges two calls into one, or raises.

Which call a piece belongs to (docs/decisions/0027):

1. The call with its index; else the call with its id; else the call of the previous piece.
2. The piece begins a new call all the same if it has another id, or a name, and the former call has ended or has
   another name. A call has ended when its arguments are a whole JSON object.

The output is what OpenAI would have sent: indexes 0, 1, 2 in the order in which the calls begin, an id for each call,
and no field twice.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from weir.envelope import Json
from weir.llm.deltas.arguments import Arguments, as_text

_INPUT: Final = {"function": "arguments", "custom": "input"}  # the field with the text of each type of call
_DIGITS_MAX: Final = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """A piece as the server sent it; "" for fields that it does not have."""

    index: int | None
    id: str
    name: str
    text: str
    type: str  # the type of its call
    kind: str  # function or custom
    more: Json  # other fields of the piece
    inner: Json  # other fields of its function


@dataclass(slots=True)
class _Call:
    place: int
    index: int | None = None  # the server's index
    id: str = ""  # the server's id
    name: str = ""
    arguments: Arguments = field(default_factory=Arguments)
    sent: set[str] = field(default_factory=set)  # names of fields that were sent, except name and arguments

    @property
    def ended(self) -> bool:
        return self.arguments.complete


class ToolCalls:
    """The tool calls of one choice."""

    def __init__(self, mint: Callable[[int], str]) -> None:
        """``mint`` makes an id for a call whose server gives none, from the place of the call."""
        self._mint = mint
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._last: _Call | None = None
        self._count = 0

    def pieces(self, given: Any) -> list[Json]:
        """The pieces of one delta, as OpenAI would have sent them."""
        found, here = list[Json](), set[int]()
        for item in given if isinstance(given, list) else (given,):
            out = self._plain(item) or self._odd(item, here)
            if self._last is not None:
                here.add(self._last.place)
            if out is not None:
                found.append(out)
        return found

    def _plain(self, item: Any) -> Json | None:
        """A piece that continues its call as OpenAI's do, which nearly all do. None for any other."""
        match item:
            case {"index": int(index), "function": {"arguments": str(text), **other}, **more} if not other and not more:
                call = self._by_index.get(index)
                if call is None or call.place != index or call.ended:
                    return None
                call.arguments.add(text)
                self._last = call
                return Json(item)
        return None

    def _odd(self, item: Any, here: set[int]) -> Json | None:
        if not isinstance(item, dict):
            return None
        piece = _read(item)
        call = self._call_of(piece, here)
        return self._begin(piece) if call is None else _go_on(call, piece)

    def _call_of(self, piece: _Piece, here: set[int]) -> _Call | None:
        """The call that a piece continues; None if it begins one. ``here`` are the calls of the same delta."""
        call = self._candidate(piece)
        if call is None or _is_another(piece, call, in_one_delta=call.place in here):
            return None
        self._note(call, piece)
        return call

    def _candidate(self, piece: _Piece) -> _Call | None:
        """The call that a piece seems to belong to, by its index, its id, or its place in the stream."""
        named = self._by_id.get(piece.id)
        if piece.index is None:
            return named or self._last
        call = self._by_index.get(piece.index)
        if call is not None:
            return named if named is not None and call.id else call
        call = named or self._last
        return call if call is not None and call.index is None else None

    def _begin(self, piece: _Piece) -> Json | None:
        if not (piece.id or piece.name or piece.text):
            return None
        call = _Call(self._count, name=piece.name)
        self._count += 1
        self._note(call, piece)
        call.arguments.add(piece.text)
        call.sent.update(piece.more, piece.inner)
        inner = {"name": piece.name} if piece.name else {}
        return {
            "index": call.place,
            "id": piece.id or self._mint(call.place),
            "type": piece.type or piece.kind,
            piece.kind: {**inner, _INPUT[piece.kind]: piece.text, **piece.inner},
            **piece.more,
        }

    def _note(self, call: _Call, piece: _Piece) -> None:
        self._last = call
        if piece.id and not call.id:  # only the first id: some servers make one up for each piece
            call.id = piece.id
            self._by_id[piece.id] = call
        if piece.index is not None:
            call.index = piece.index
            self._by_index[piece.index] = call


class FunctionCall:
    """The function call of one choice, as OpenAI had it before tool calls."""

    def __init__(self) -> None:
        self._call = _Call(0)

    def piece(self, given: Any) -> Json | None:
        """The piece as OpenAI would have sent it; None if it adds nothing."""
        if not isinstance(given, dict):
            return None
        return _added(self._call, _read({"function": given})) or None


def _is_another(piece: _Piece, call: _Call, *, in_one_delta: bool) -> bool:
    """Whether a piece begins a call, although its index, id or place says that it continues ``call``."""
    if piece.id and call.id and piece.id != call.id:
        return _is_news_of_another_id(piece, call)
    if not piece.name or not call.name:
        return False
    adds = bool(piece.text.strip())
    if piece.id and piece.id == call.id:
        return call.ended and adds and not call.arguments.same(piece.text)
    if in_one_delta and piece.index is None:
        return True
    if call.ended:
        return adds or piece.name != call.name
    # A name may come in pieces before the arguments begin, where an index or an id holds the call together.
    in_pieces = not call.arguments.chars and (piece.index is not None or bool(call.id))
    return piece.name != call.name and not in_pieces


def _is_news_of_another_id(piece: _Piece, call: _Call) -> bool:
    """Whether a piece with another id than its call begins a call: some servers make an id up for each piece."""
    if piece.name:
        return piece.name != call.name or not call.arguments.half
    return call.ended and bool(piece.text.strip())


def _go_on(call: _Call, piece: _Piece) -> Json | None:
    inner = _added(call, piece)
    more = {name: value for name, value in piece.more.items() if name not in call.sent and value is not None}
    call.sent.update(more)
    if not inner and not more:
        return None
    return {"index": call.place, **({piece.kind: inner} if inner else {}), **more}


def _added(call: _Call, piece: _Piece) -> Json:
    """The text that a piece adds to the function of its call."""
    added: Json = {}
    if piece.name and (rest := _rest_of_name(call, piece.name)):
        call.name += rest
        added["name"] = rest
    if piece.text and not (call.ended and call.arguments.same(piece.text)):
        call.arguments.add(piece.text)
        added[_INPUT[piece.kind]] = piece.text
    more = {name: value for name, value in piece.inner.items() if name not in call.sent and value is not None}
    call.sent.update(more)
    return {**added, **more}


def _rest_of_name(call: _Call, name: str) -> str:
    """The new part of a name: none of a repeated name, the end of a name that grows."""
    if name == call.name or (call.name and call.arguments.chars):
        return ""
    return name.removeprefix(call.name)


def _read(item: Json) -> _Piece:
    kind = "custom" if isinstance(item.get("custom"), dict) else "function"
    function = item.get(kind)
    flat = not isinstance(function, dict)  # some servers leave out the object around name and arguments
    inner: Json = item if flat else function or {}
    beside = {"index", "id", "type", *_INPUT, *(("name", _INPUT[kind]) if flat else ())}
    return _Piece(
        index=whole(item.get("index")),
        id=_word(item.get("id")),
        name=_word(inner.get("name")),
        text=as_text(inner.get(_INPUT[kind])),
        type=_word(item.get("type")),
        kind=kind,
        more={name: value for name, value in item.items() if name not in beside},
        inner={} if flat else {k: v for k, v in inner.items() if k not in {"name", _INPUT[kind]}},
    )


def _word(value: Any) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def whole(value: Any) -> int | None:
    """A count, also where the server writes it as text or as a float."""
    if isinstance(value, str) and value.isdecimal() and len(value) <= _DIGITS_MAX:
        return int(value)
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 10**_DIGITS_MAX
    return int(value) if number else None
