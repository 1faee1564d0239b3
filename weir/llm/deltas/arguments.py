"""Follows the arguments of one tool call piece by piece: their length, and whether their JSON object is complete.

A complete object cannot go on, so any piece after it belongs to another call, or repeats the object. Each piece is
looked at once, so long arguments cost no more than their length.
"""

import re
import zlib
from typing import Any, Final

import orjson

_OUTSIDE: Final = re.compile(r'["{}\[\]]')
_INSIDE: Final = re.compile(r'["\\]')


def as_text(arguments: Any) -> str:
    """Arguments as OpenAI sends them: JSON text. Some servers send the object itself."""
    if isinstance(arguments, str):
        return arguments
    if arguments is None:
        return ""
    try:
        return orjson.dumps(arguments).decode()
    except TypeError:  # nested more deeply than orjson writes
        return ""


class Arguments:
    """The state of the arguments of one call."""

    __slots__ = ("_crc", "_depth", "_escaped", "_object", "_quoted", "chars")

    def __init__(self) -> None:
        self.chars = 0
        self._crc = 0
        self._depth = 0
        self._quoted = False  # within a string
        self._escaped = False  # the last character was a backslash within a string
        self._object = False  # an object has begun

    @property
    def complete(self) -> bool:
        """Whether the arguments are a whole JSON object."""
        return self._object and not self._depth and not self._quoted

    @property
    def half(self) -> bool:
        """Whether the arguments have begun, and more must come."""
        return self.chars > 0 and not self.complete

    def same(self, text: str) -> bool:
        """Whether ``text`` equals all arguments so far."""
        return len(text) == self.chars and _crc(text, 0) == self._crc

    def add(self, piece: str) -> None:
        """Add the next piece, cut anywhere."""
        self.chars += len(piece)
        self._crc = _crc(piece, self._crc)
        at = 1 if self._escaped and piece else 0
        self._escaped = self._escaped and not piece
        while found := (_INSIDE if self._quoted else _OUTSIDE).search(piece, at):
            at = found.end()
            match found[0]:
                case '"':
                    self._quoted = not self._quoted
                case "\\":
                    self._escaped = at == len(piece)
                    at += 1
                case "{" | "[":
                    self._object = self._object or found[0] == "{"
                    self._depth += 1
                case _:
                    self._depth = max(0, self._depth - 1)


def _crc(text: str, before: int) -> int:
    return zlib.crc32(text.encode("utf-8", "replace"), before)
