"""Joins lists of objects that come in pieces: thinking blocks (``reasoning_details``), annotations, images. Pure.

OpenRouter sends blocks of thinking piece by piece, each with the index of its block, and repeats ``type``, ``format``
and ``id``; blocks of two types, or with two ids, may have the same index. So a piece belongs to a block by index, id
and type together. The output has an index for each block, and sends fields that do not change only once.

A list whose first piece has no index gets indexes from its second piece on: OpenAI's clients raise without them.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from weir.envelope import Json
from weir.llm.deltas.tool_calls import whole

TEXTS: Final = frozenset({"text", "summary", "thinking", "data"})
"""Fields of a block that grow; all others are sent once."""

_IN_PIECES: Final = frozenset({"reasoning_details", "thinking_blocks"})  # sent in pieces even without an index


@dataclass(slots=True)
class _Block:
    place: int
    id: str = ""
    type: str = ""
    sent: set[str] = field(default_factory=set)

    def holds(self, item: Json) -> bool:
        """Whether a piece belongs to this block, as far as its id and type show; a signed block takes no more."""
        return (
            _agree(self.id, item.get("id"))
            and _agree(self.type, item.get("type"))
            and not ("signature" in self.sent and TEXTS & item.keys())
        )


class Blocks:
    """The blocks of one list of one choice."""

    def __init__(self, name: str) -> None:
        self._in_pieces = name in _IN_PIECES
        self._by_index: dict[int, list[_Block]] = {}
        self._last: _Block | None = None
        self._count = 0
        self._of_objects: bool | None = None  # all items of a list are of one type: that of its first item
        self._numbered = True

    def items(self, given: list[Any]) -> list[Any]:
        """The new part of a delta's list, as OpenAI would have sent it."""
        if self._of_objects is None and given:
            self._of_objects = isinstance(given[0], dict)
        if not self._of_objects:
            return [item for item in given if not isinstance(item, dict)]
        objects = [item for item in given if isinstance(item, dict)]
        self._numbered = self._in_pieces or self._count > 0 or any("index" in item for item in objects)
        return [found for item in objects if (found := self._item(item)) is not None]

    def _item(self, item: Json) -> Json | None:
        index = whole(item.get("index"))
        block = self._block_of(index, item)
        if block is None:
            block = self._last = _Block(self._count)
            self._count += 1
            self._by_index.setdefault(-1 if index is None else index, []).append(block)
            self._note(block, item)
            same = not self._numbered or (type(index_given := item.get("index")) is int and index_given == block.place)
            return item if same else {**item, "index": block.place}
        self._last = block
        new = {k: v for k, v in item.items() if v is not None and (k in TEXTS or k not in block.sent)}
        self._note(block, item)
        new.pop("index", None)
        return {"index": block.place, **new} if new else None

    def _block_of(self, index: int | None, item: Json) -> _Block | None:
        """The block that a piece continues; None for the first piece of a block."""
        if index is not None:
            return next((block for block in reversed(self._by_index.get(index, ())) if block.holds(item)), None)
        if self._in_pieces and self._last is not None and self._last.holds(item):
            return self._last
        return None

    @staticmethod
    def _note(block: _Block, item: Json) -> None:
        block.id = block.id or _word(item.get("id"))
        block.type = block.type or _word(item.get("type"))
        block.sent.update(name for name, value in item.items() if value is not None and value != "")


def _agree(known: str, given: Any) -> bool:
    return not known or not given or known == given


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""
