"""The rows of the quality table: their keys, and typed access to them. ``values.py`` has their values.

| key | value |
|---|---|
| ``window/{start}/{end}/{tenant}:{model}`` | the figures of a window, and the last offset folded into it |
| ``ids/{page}/{start}/{end}/{tenant}:{model}`` | hashes of event ids that are in an open window, when they are many |
| ``model/{tenant}:{model}`` | which windows are judged, the present breaches, late records |
| ``over/{tenant}:{model}`` | the last insights that are over, for people |
| ``partition/{number}`` | the event time of the partition, if no window of it has that |
| ``rebuilt/{number}`` | the run that rebuilt the rows of the partition, if one has |

Times are milliseconds since the epoch. All rows of one event go to one partition of one changelog, so a crash leaves
the first of them and not the last, never the other way round: the order in which ``closing`` writes them makes a
crash harmless.
"""

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, TypeVar, cast

import orjson

from weir.envelope import Json, dumps
from weir.insights.values import ModelRow, PartitionRow, RebuiltRow, Seen, WindowKey, WindowRow, newest_and_closed

T = TypeVar("T")


class QualityRows:
    """Typed access to a mapping of bytes, which is the table of a worker."""

    def __init__(
        self, table: MutableMapping[bytes, bytes], unreadable: Callable[[bytes, Exception], None] = lambda *_: None
    ) -> None:
        """Take a table.

        Args:
            table: a mapping whose malformed rows count as missing.
            unreadable: called with the key of such a row, and the error.
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

    def window(self, span: WindowKey) -> WindowRow | None:
        """A window, if there is one."""
        return self._read(_key("window", span.path), WindowRow.decode)

    def put_window(self, span: WindowKey, row: WindowRow) -> None:
        """Write a window."""
        self._table[_key("window", span.path)] = row.encode()

    def drop_window(self, span: WindowKey) -> None:
        """Remove a window."""
        self._table.pop(_key("window", span.path), None)

    def ids(self, span: WindowKey, page: int) -> bytes:
        """A page of hashes of event ids."""
        return self._table.get(_key("ids", f"{page}/{span.path}")) or b""

    def put_ids(self, span: WindowKey, page: int, ids: bytes) -> None:
        """Write a page."""
        self._table[_key("ids", f"{page}/{span.path}")] = ids

    def drop_ids(self, span: WindowKey, page: int) -> None:
        """Remove a page."""
        self._table.pop(_key("ids", f"{page}/{span.path}"), None)

    # -- models and partitions

    def model(self, name: str) -> ModelRow | None:
        """The row of a model."""
        return self._read(_key("model", name), ModelRow.decode)

    def put_model(self, name: str, row: ModelRow) -> None:
        """Write the row of a model."""
        self._table[_key("model", name)] = row.encode()

    def drop_model(self, name: str) -> None:
        """Forget a model, with its breaches."""
        self._table.pop(_key("over", name), None)
        self._table.pop(_key("model", name), None)

    def over(self, name: str) -> list[Json]:
        """Insights of a model that are over, oldest first."""
        return self._read(_key("over", name), _objects) or []

    def put_over(self, name: str, insights: list[Json]) -> None:
        """Write the insights of a model that are over."""
        self._table[_key("over", name)] = dumps(insights)

    def partition(self, number: int) -> PartitionRow:
        """The row of a partition: how far it has come."""
        return self._read(partition_key(number), PartitionRow.decode) or PartitionRow()

    def put_partition(self, number: int, row: PartitionRow) -> None:
        """Write the row of a partition."""
        self._table[partition_key(number)] = row.encode()

    def rebuilt(self, number: int) -> RebuiltRow:
        """The row about the rebuild of a partition."""
        return self._read(_key("rebuilt", str(number)), RebuiltRow.decode) or RebuiltRow()

    def put_rebuilt(self, number: int, row: RebuiltRow) -> None:
        """Write the row about the rebuild of a partition."""
        self._table[_key("rebuilt", str(number))] = row.encode()

    # -- all

    def raw(self) -> Iterator[tuple[bytes, bytes]]:
        """All rows as bytes, also of partitions that other workers own."""
        for key in list(self._table):  # a list of pairs takes 0.1 s for 98,000 rows, without a turn
            if (value := self._table.get(key)) is not None:
                yield key, value

    def put_raw(self, key: bytes, value: bytes | None) -> None:
        """Write a row as bytes, or remove it."""
        if value is None:
            self._table.pop(key, None)
        else:
            self._table[key] = value

    def names(self) -> Iterator[str]:
        """tenant:model of every row of a model, also of partitions that other workers own."""
        for key in list(self._table):
            kind, _, name = key.partition(b"/")
            if kind == b"model" and (text := self._read(key, _text, name)) is not None:
                yield text

    def scan(self, mine: Callable[[str], bool]) -> "Iterator[tuple[str, Seen | None]]":
        """tenant:model of every row that has one, and for a window that is ``mine`` its `Seen`."""
        for key, value in self.raw():
            kind, _, rest = key.partition(b"/")
            if kind == b"model" and (name := self._read(key, _text, rest)) is not None:
                yield name, None
            elif kind == b"window" and (span := self._read(key, _span, key)) is not None:
                if not mine(span.name):
                    yield span.name, None
                elif (seen := self._read(key, newest_and_closed, value)) is not None:
                    yield span.name, Seen(span, *seen)

    def windows(self) -> Iterator[tuple[WindowKey, dict[str, int], bool]]:
        """Each window's span, its newest event times, and whether it is closed; also of other workers' partitions."""
        for key, value in self.raw():
            if not key.startswith(b"window/"):
                continue
            span, seen = self._read(key, _span, key), self._read(key, newest_and_closed, value)
            if span is not None and seen is not None:
                yield span, *seen


def name_of(key: bytes) -> str | None:
    """The tenant:model of a key; None for a partition's own row."""
    kind, _, rest = key.decode().partition("/")
    if kind in {"partition", "rebuilt"}:
        return None
    return rest.split("/", {"window": 2, "ids": 3}.get(kind, 0))[-1]


def partition_key(number: int) -> bytes:
    """The key of a partition's own row."""
    return _key("partition", str(number))


def _key(kind: str, path: str) -> bytes:
    return f"{kind}/{path}".encode()


def _span(key: bytes) -> WindowKey:
    _, start, end, name = key.decode().split("/", 3)
    return WindowKey(name, int(start), int(end))


def _text(value: bytes) -> str:
    return value.decode()


def _objects(value: bytes) -> list[Json]:
    found: Any = orjson.loads(value)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise TypeError("not a list of objects")
    return cast("list[Json]", found)
