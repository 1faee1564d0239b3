"""The rows of the quality table: what is in them, and in which order they are written.

| key | value |
|---|---|
| ``window/{start}/{end}/{tenant}:{model}`` | the figures of a window, and what was folded into it last |
| ``ids/{page}/{start}/{end}/{tenant}:{model}`` | hashes of event ids that are in an open window, when they are many |
| ``model/{tenant}:{model}`` | which windows are judged, what is wrong now, what came too late |
| ``over/{tenant}:{model}`` | the last insights that are over, for people |
| ``partition/{number}`` | how far event time has come, where no window of the partition tells |
| ``rebuilt/{number}`` | which run the rows of the partition are of, where they were rebuilt |

Times are milliseconds since the epoch. All rows of one event go to one partition of one changelog, so a crash leaves
the first of them and not the last, never the other way round: the order in which ``shard`` writes them is what makes a
crash harmless.
"""

import base64
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar, cast

import orjson

from weir.envelope import Json, dumps
from weir.events.insights import InsightType
from weir.insights.window import Window

T = TypeVar("T")


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


class Rows:
    """Typed access to a mapping of bytes, which is the table of a worker."""

    def __init__(
        self, table: MutableMapping[bytes, bytes], unreadable: Callable[[bytes, Exception], None] = lambda *_: None
    ) -> None:
        """Take a table.

        Args:
            table: what is no row in it is as if it were not there.
            unreadable: told of the key of such a row, and why it is none.
        """
        self._table = table
        self._unreadable = unreadable

    def _read(self, key: bytes, decode: Callable[[bytes], T], value: bytes | None = None) -> T | None:
        value = self._table.get(key) if value is None else value
        if value is None:
            return None
        try:
            return decode(value)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            self._unreadable(key, error)
            return None

    # -- windows

    def window(self, span: Span) -> WindowRow | None:
        """A window, if there is one."""
        return self._read(_key("window", span.path), WindowRow.decode)

    def put_window(self, span: Span, row: WindowRow) -> None:
        """Write a window."""
        self._table[_key("window", span.path)] = row.encode()

    def drop_window(self, span: Span) -> None:
        """Remove a window."""
        self._table.pop(_key("window", span.path), None)

    def ids(self, span: Span, page: int) -> bytes:
        """A page of hashes of event ids."""
        return self._table.get(_key("ids", f"{page}/{span.path}")) or b""

    def put_ids(self, span: Span, page: int, ids: bytes) -> None:
        """Write a page."""
        self._table[_key("ids", f"{page}/{span.path}")] = ids

    def drop_ids(self, span: Span, page: int) -> None:
        """Remove a page."""
        self._table.pop(_key("ids", f"{page}/{span.path}"), None)

    # -- models and partitions

    def model(self, name: str) -> ModelRow | None:
        """What is known of a model."""
        return self._read(_key("model", name), ModelRow.decode)

    def put_model(self, name: str, row: ModelRow) -> None:
        """Write it."""
        self._table[_key("model", name)] = row.encode()

    def drop_model(self, name: str) -> None:
        """Forget a model, and what was wrong with it."""
        self._table.pop(_key("over", name), None)
        self._table.pop(_key("model", name), None)

    def over(self, name: str) -> list[Json]:
        """Insights of a model that are over, oldest first."""
        return self._read(_key("over", name), _objects) or []

    def put_over(self, name: str, insights: list[Json]) -> None:
        """Write them."""
        self._table[_key("over", name)] = dumps(insights)

    def partition(self, number: int) -> PartitionRow:
        """How far a partition has come."""
        return self._read(partition_key(number), PartitionRow.decode) or PartitionRow()

    def put_partition(self, number: int, row: PartitionRow) -> None:
        """Write it."""
        self._table[partition_key(number)] = row.encode()

    def rebuilt(self, number: int) -> RebuiltRow:
        """What became of the rows that were rebuilt of a partition."""
        return self._read(_key("rebuilt", str(number)), RebuiltRow.decode) or RebuiltRow()

    def put_rebuilt(self, number: int, row: RebuiltRow) -> None:
        """Write it."""
        self._table[_key("rebuilt", str(number))] = row.encode()

    # -- all

    def raw(self) -> Iterator[tuple[bytes, bytes]]:
        """All rows as the table keeps them, also of partitions that others own."""
        for key in list(self._table):  # a list of pairs takes 0.1 s for 98,000 rows, without a turn
            if (value := self._table.get(key)) is not None:
                yield key, value

    def put_raw(self, key: bytes, value: bytes | None) -> None:
        """Write a row as the table keeps it, or remove it."""
        if value is None:
            self._table.pop(key, None)
        else:
            self._table[key] = value

    def names(self) -> Iterator[str]:
        """tenant:model of every row of a model, also of partitions that others own."""
        for key in list(self._table):
            kind, _, name = key.partition(b"/")
            if kind == b"model" and (text := self._read(key, _text, name)) is not None:
                yield text

    def scan(self, mine: Callable[[str], bool]) -> "Iterator[tuple[str, Seen | None]]":
        """tenant:model of every row that has one, and of a window that is mine what is to be seen of it."""
        for key, value in self.raw():
            kind, _, rest = key.partition(b"/")
            if kind == b"model" and (name := self._read(key, _text, rest)) is not None:
                yield name, None
            elif kind == b"window" and (span := self._read(key, _span, key)) is not None:
                if not mine(span.name):
                    yield span.name, None
                elif (seen := self._read(key, _seen, value)) is not None:
                    yield span.name, Seen(span, *seen)

    def windows(self) -> Iterator[tuple[Span, dict[str, int], bool]]:
        """Each window's place, the newest event times in it, and whether it is closed; also of others' partitions."""
        for key, value in self.raw():
            if not key.startswith(b"window/"):
                continue
            span, seen = self._read(key, _span, key), self._read(key, _seen, value)
            if span is not None and seen is not None:
                yield span, *seen


def name_of(key: bytes) -> str | None:
    """Whose row a key is of: tenant:model; None of a partition's own."""
    kind, _, rest = key.decode().partition("/")
    if kind in {"partition", "rebuilt"}:
        return None
    return rest.split("/", {"window": 2, "ids": 3}.get(kind, 0))[-1]


def partition_key(number: int) -> bytes:
    """The key of a partition's own row."""
    return _key("partition", str(number))


def _key(kind: str, path: str) -> bytes:
    return f"{kind}/{path}".encode()


def _span(key: bytes) -> Span:
    _, start, end, name = key.decode().split("/", 3)
    return Span(name, int(start), int(end))


def _text(value: bytes) -> str:
    return value.decode()


def _seen(value: bytes) -> tuple[dict[str, int], bool]:
    """The newest event times of a window, and whether it is closed."""
    _, _, newest, _, _, closed = orjson.loads(value)
    return _numbers(newest), bool(closed)


def _objects(value: bytes) -> list[Json]:
    found: Any = orjson.loads(value)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise TypeError("not a list of objects")
    return cast("list[Json]", found)


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
