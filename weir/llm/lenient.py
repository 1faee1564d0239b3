"""Parses JSON as LLM servers write it: with orjson where it is JSON, with a slower parser where it nearly is.

Python's own ``json.dumps`` writes NaN and Infinity, and writes half of a pair of surrogates where a token ends in the
middle of an emoji; other servers cut UTF-8 itself between two tokens. Both halves are joined again (`Halves`); a half
that stays alone becomes a replacement character. NaN and Infinity become null, as JavaScript and orjson write them, and
-9999 as a log probability, as OpenAI writes it.
"""

import json
import math
import re
from typing import Any, Final

import orjson

from weir.envelope import Json

_INT_DIGITS = 18  # an integer of so many digits has at most 63 bits, the most that orjson writes
UNLIKELY: Final = -9999.0  # OpenAI's log probability of a token that is out of the question: clients need a number
_BOM = "\ufeff"
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_RAW = re.compile("[\udc80-\udcff]+")  # bytes that are not UTF-8, as "surrogateescape" decodes them
_LONE = re.compile("[\ud800-\udfff]")
# The end of a text that the next piece may complete: a high surrogate, or the first bytes of a character.
_UNFINISHED = re.compile(
    "(?:[\ud800-\udbff]|[\udcc2-\udcdf]|[\udce0-\udcef][\udc80-\udcbf]?|[\udcf0-\udcf4][\udc80-\udcbf]{0,2})\\Z"
)
REPLACEMENT: Final = "\ufffd"


def loads(data: bytes) -> Any:
    """Parse JSON; the result holds only values that can be written as JSON again.

    Raises:
        ValueError: the data is not JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return whole(loads_halves(data))


def loads_halves(data: bytes) -> Any:
    """Parse JSON that orjson refuses; halves of characters stay, for `Halves` to join or `whole` to replace.

    Raises:
        ValueError: the data is not JSON even so.
    """
    text = data.decode("utf-8", "surrogateescape").removeprefix(_BOM)
    try:
        return json.loads(
            text,
            strict=False,
            object_hook=_object,
            parse_constant=lambda _: None,
            parse_float=_float,
            parse_int=_int,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(members: Json) -> Json:
    if "logprob" in members and members["logprob"] is None:
        members["logprob"] = UNLIKELY
    return members


def _float(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


def _int(digits: str) -> int | float | None:
    return int(digits) if len(digits) <= _INT_DIGITS else _float(digits)


def whole(value: Any) -> Any:
    """Replace every half of a character in a value, keys included."""
    if isinstance(value, str):
        return value if value.isascii() else _mended(value)
    if isinstance(value, dict):
        return {whole(key): whole(member) for key, member in value.items()}
    if isinstance(value, list):
        return [whole(member) for member in value]
    return value


def _mended(text: str) -> str:
    """Join halves of a text that stand side by side, and replace those that stand alone."""
    text = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
    text = _RAW.sub(lambda raw: raw[0].encode("utf-8", "surrogateescape").decode("utf-8", "replace"), text)
    return _LONE.sub(REPLACEMENT, text)


_Path = tuple[int | str, ...]


class Halves:
    """Joins halves of characters across the chunks of one stream, in each text of each choice."""

    def __init__(self) -> None:
        self._held: dict[_Path, str] = {}

    @property
    def waiting(self) -> bool:
        """Whether a half of a character waits for the next chunk."""
        return bool(self._held)

    def join(self, chunk: Json) -> Json:
        """A chunk without halves: a half at the end of a text waits for the next chunk of the same choice."""
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            return Json(whole(chunk))
        rest = whole({name: member for name, member in chunk.items() if name != "choices"})
        return {**rest, "choices": [self._choice(choice) for choice in choices]}

    def _choice(self, choice: Any) -> Any:
        if not isinstance(choice, dict) or not isinstance(choice.get("delta"), dict):
            return whole(choice)
        index = choice.get("index", 0)
        index = index if isinstance(index, int) else 0
        delta = self._joined((index,), choice["delta"])
        if choice.get("finish_reason"):
            for path in [path for path in self._held if path[0] == index]:
                held = self._held.pop(path)
                if len(path) == 2:
                    delta[path[1]] = (delta.get(path[1]) or "") + _mended(held)
        return {**whole({name: member for name, member in choice.items() if name != "delta"}), "delta": delta}

    def _joined(self, path: _Path, value: Any) -> Any:
        if isinstance(value, str):
            text = self._held.pop(path, "") + value
            if end := _UNFINISHED.search(text):
                self._held[path] = end[0]
                text = text[: end.start()]
            return _mended(text)
        if isinstance(value, dict):
            return {whole(key): self._joined((*path, key), member) for key, member in value.items()}
        if isinstance(value, list):
            return [self._joined((*path, _place(member, n)), member) for n, member in enumerate(value)]
        return value


def _place(member: Any, n: int) -> int:
    """A tool call is identified by its index, any other item by its position."""
    index = member.get("index") if isinstance(member, dict) else None
    return index if isinstance(index, int) else n
