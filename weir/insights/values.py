"""The values of the quality table's rows: of a window, a model and a partition, with their encoding.

Times are milliseconds since the epoch. A value is a JSON array: its places are its contract with other versions.
"""

import base64
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from weir.envelope import Json, dumps
from weir.events.insights import InsightType
from weir.insights.window import WindowFigures


class WindowKey(NamedTuple):
    """The place of a window: its tenant and model, start and end."""

    name: str
    start_ms: int
    end_ms: int

    @property
    def path(self) -> str:
        """The span as part of a key."""
        return f"{self.start_ms}/{self.end_ms}/{self.name}"


class Seen(NamedTuple):
    """The state of a window without its figures."""

    span: WindowKey
    newest: dict[str, int]  # event times, by source
    closed: bool


@dataclass(slots=True)
class WindowRow:
    """One window, open or closed."""

    window: WindowFigures = field(default_factory=WindowFigures)
    offsets: dict[str, int] = field(default_factory=dict)  # of the last record that was folded, by source
    newest: dict[str, int] = field(default_factory=dict)  # newest event time of all folded records, by source
    ids: bytes = b""  # hashes of the last event ids; those before them are in pages
    pages: int = 0
    closed: bool = False

    def encode(self) -> bytes:
        """The row as bytes for the table."""
        ids = base64.b64encode(self.ids).decode()
        return dumps([self.window.flat(), self.offsets, self.newest, ids, self.pages, self.closed])

    @classmethod
    def decode(cls, value: bytes) -> "WindowRow":
        """The row that ``encode`` was called on."""
        flat, offsets, newest, ids, pages, closed = orjson.loads(value)
        window, folded = WindowFigures.from_flat(flat), base64.b64decode(ids)
        return cls(window, _numbers(offsets), _numbers(newest), folded, _number(pages), bool(closed))


class JudgedWindow(NamedTuple):
    """A window that was judged, with its breaches."""

    start_ms: int
    end_ms: int
    breached: list[str]


@dataclass(slots=True)
class ModelRow:
    """The row of one model of one tenant."""

    judged_until_ms: int = 0  # windows that end by then are judged
    kept: list[JudgedWindow] = field(default_factory=list)  # oldest first; a missing row was empty
    active: dict[str, Json] = field(default_factory=dict)  # the insights that were raised and not cleared, by type
    late: int = 0  # records for a window that was closed
    ahead: int = 0  # records from too far in the future
    # of the last record that was counted as one of these, by source
    offsets: dict[str, int] = field(default_factory=dict)
    heard_ms: int = 0  # when that record was written

    def encode(self) -> bytes:
        """The row as bytes for the table."""
        kept = [list(one) for one in self.kept]  # orjson takes no named tuples
        return dumps([self.judged_until_ms, kept, self.active, self.late, self.ahead, self.offsets, self.heard_ms])

    @classmethod
    def decode(cls, value: bytes) -> "ModelRow":
        """The row that ``encode`` was called on."""
        judged_until_ms, kept, active, late, ahead, offsets, heard_ms = orjson.loads(value)
        judged = [JudgedWindow(_number(start), _number(end), list(breached)) for start, end, breached in kept]
        wrong = {InsightType(kind).value: dict(insight) for kind, insight in active.items()}
        counts = _number(late), _number(ahead)
        return cls(_number(judged_until_ms), judged, wrong, *counts, _numbers(offsets), _number(heard_ms))

    @property
    def wrong(self) -> list[InsightType]:
        """The types of the active insights."""
        return [InsightType(kind) for kind in self.active]


@dataclass(slots=True)
class PartitionRow:
    """The row of a partition: how far it has come."""

    newest: dict[str, int] = field(default_factory=dict)  # event time, by source
    closed_ms: int = 0  # windows that end by then are closed

    def encode(self) -> bytes:
        """The row as bytes for the table."""
        return dumps([self.newest, self.closed_ms])

    @classmethod
    def decode(cls, value: bytes) -> "PartitionRow":
        """The row that ``encode`` was called on; places that another version added at the end are ignored."""
        newest, closed_ms, *_ = orjson.loads(value)
        return cls(_numbers(newest), _number(closed_ms))


@dataclass(slots=True)
class RebuiltRow:
    """The state of a rebuild; a row of its own, which versions without rebuilds skip."""

    run: str = ""  # the run that made the rows
    at: int = -1  # offset of the event that gave the rows: of two, the later one in the log counts
    folded: dict[str, int] = field(default_factory=dict)  # records before these offsets are in the rows, by source
    swapping: str = ""  # the run whose rows are being put in: until then the rows are invalid
    passed: int = -1  # offset of the last event that was skipped
    why: str = ""  # the reason for that

    def encode(self) -> bytes:
        """The row as bytes for the table."""
        return dumps([self.run, self.at, self.folded, self.swapping, self.passed, self.why])

    @classmethod
    def decode(cls, value: bytes) -> "RebuiltRow":
        """The row that ``encode`` was called on."""
        run, at, folded, swapping, passed, why = orjson.loads(value)
        return cls(str(run), _number(at), _numbers(folded), str(swapping), _number(passed), str(why))


def newest_and_closed(value: bytes) -> tuple[dict[str, int], bool]:
    """The newest event times of an encoded window, and whether it is closed: without its figures.

    Raises:
        ValueError: it is not a window.
        TypeError: the same.
    """
    _, _, newest, _, _, closed = orjson.loads(value)
    return _numbers(newest), bool(closed)


def _numbers(found: Any) -> dict[str, int]:
    """Offsets or times by source.

    Raises:
        TypeError: the value is something else.
    """
    if not isinstance(found, dict) or not all(isinstance(one, int) for one in found.values()):
        raise TypeError("not numbers by source")
    return found


def _number(found: Any) -> int:
    if not isinstance(found, int):
        raise TypeError("not a number")
    return found
