"""The values of the quality table's rows: what is known of a window, a model and a partition, and how it is encoded.

Times are milliseconds since the epoch. A value is a JSON array: its places are its contract with other versions.
"""

import base64
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from weir.envelope import Json, dumps
from weir.events.insights import InsightType
from weir.insights.window import Window


class Span(NamedTuple):
    """A window's place: its tenant and model, start and end."""

    name: str
    start_ms: int
    end_ms: int

    @property
    def path(self) -> str:
        """As part of a key."""
        return f"{self.start_ms}/{self.end_ms}/{self.name}"


class Seen(NamedTuple):
    """What is to be seen of a window without its figures."""

    span: Span
    newest: dict[str, int]  # event times, by source
    closed: bool


@dataclass(slots=True)
class WindowRow:
    """One window, open or closed."""

    window: Window = field(default_factory=Window)
    offsets: dict[str, int] = field(default_factory=dict)  # of the last record that was folded, by source
    newest: dict[str, int] = field(default_factory=dict)  # event time of all that was folded, by source
    ids: bytes = b""  # hashes of the last event ids; those before them are in pages
    pages: int = 0
    closed: bool = False

    def encode(self) -> bytes:
        """As the table keeps it."""
        ids = base64.b64encode(self.ids).decode()
        return dumps([self.window.flat(), self.offsets, self.newest, ids, self.pages, self.closed])

    @classmethod
    def decode(cls, value: bytes) -> "WindowRow":
        """From what ``encode`` gave."""
        flat, offsets, newest, ids, pages, closed = orjson.loads(value)
        window, folded = Window.from_flat(flat), base64.b64decode(ids)
        return cls(window, _numbers(offsets), _numbers(newest), folded, _number(pages), bool(closed))


class Judged(NamedTuple):
    """A window that was judged, and what was wrong in it."""

    start_ms: int
    end_ms: int
    breached: list[str]


@dataclass(slots=True)
class ModelRow:
    """What is known of one model of one tenant."""

    judged_until_ms: int = 0  # windows that end by then are judged
    kept: list[Judged] = field(default_factory=list)  # oldest first; a row that is missing was empty
    active: dict[str, Json] = field(default_factory=dict)  # the insights that were raised and not cleared, by type
    late: int = 0  # records for a window that was closed
    ahead: int = 0  # records from too far in the future
    offsets: dict[str, int] = field(default_factory=dict)  # of the last record that was counted as one of those
    heard_ms: int = 0  # when that was written

    def encode(self) -> bytes:
        """As the table keeps it."""
        kept = [list(one) for one in self.kept]  # orjson takes no named tuples
        return dumps([self.judged_until_ms, kept, self.active, self.late, self.ahead, self.offsets, self.heard_ms])

    @classmethod
    def decode(cls, value: bytes) -> "ModelRow":
        """From what ``encode`` gave."""
        judged_until_ms, kept, active, late, ahead, offsets, heard_ms = orjson.loads(value)
        judged = [Judged(_number(start), _number(end), list(breached)) for start, end, breached in kept]
        wrong = {InsightType(kind).value: dict(insight) for kind, insight in active.items()}
        counts = _number(late), _number(ahead)
        return cls(_number(judged_until_ms), judged, wrong, *counts, _numbers(offsets), _number(heard_ms))

    @property
    def wrong(self) -> list[InsightType]:
        """The types of the active insights."""
        return [InsightType(kind) for kind in self.active]


@dataclass(slots=True)
class PartitionRow:
    """How far a partition has come."""

    newest: dict[str, int] = field(default_factory=dict)  # event time, by source
    closed_ms: int = 0  # windows that end by then are closed

    def encode(self) -> bytes:
        """As the table keeps it."""
        return dumps([self.newest, self.closed_ms])

    @classmethod
    def decode(cls, value: bytes) -> "PartitionRow":
        """From what ``encode`` gave; what another version may have added at the end is none of ours."""
        newest, closed_ms, *_ = orjson.loads(value)
        return cls(_numbers(newest), _number(closed_ms))


@dataclass(slots=True)
class RebuiltRow:
    """What became of rebuilt rows; a row of its own, which versions that know of none pass over."""

    run: str = ""  # whose rows these are
    at: int = -1  # offset of the event that gave them: of two, the later one in the log counts
    folded: dict[str, int] = field(default_factory=dict)  # records before these offsets are in the rows, by source
    swapping: str = ""  # the run whose rows are being put in their place: until then they are of no use
    passed: int = -1  # offset of the last event that was passed over
    why: str = ""  # it was

    def encode(self) -> bytes:
        """As the table keeps it."""
        return dumps([self.run, self.at, self.folded, self.swapping, self.passed, self.why])

    @classmethod
    def decode(cls, value: bytes) -> "RebuiltRow":
        """From what ``encode`` gave."""
        run, at, folded, swapping, passed, why = orjson.loads(value)
        return cls(str(run), _number(at), _numbers(folded), str(swapping), _number(passed), str(why))


def newest_and_closed(value: bytes) -> tuple[dict[str, int], bool]:
    """The newest event times of an encoded window, and whether it is closed: without its figures.

    Raises:
        ValueError: it is no window.
        TypeError: likewise.
    """
    _, _, newest, _, _, closed = orjson.loads(value)
    return _numbers(newest), bool(closed)


def _numbers(found: Any) -> dict[str, int]:
    """Offsets or times by source.

    Raises:
        TypeError: something else.
    """
    if not isinstance(found, dict) or not all(isinstance(one, int) for one in found.values()):
        raise TypeError("not numbers by source")
    return found


def _number(found: Any) -> int:
    if not isinstance(found, int):
        raise TypeError("not a number")
    return found
