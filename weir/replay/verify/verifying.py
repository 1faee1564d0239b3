"""Compares a live table with one rebuilt from its topics: the differences, and the rows that cannot be verified."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from weir.envelope import Json
from weir.log.log import LogClient, Partition
from weir.ranges.changelog import Changes
from weir.ranges.merged import merged
from weir.ranges.offset_ranges import OffsetRange, gone_until_s
from weir.replay.verify.folds.base import Fold

LOOK_S: Final = 0.5  # between two reads of rows that differ
STILL_S: Final = 6.0  # a row that differs for so long, and does not change, is different: workers lag by less
SETTLED_S: Final = 30.0  # after which a row that still changes is reported as such
NO_ROW: Final = "no row"
"""Stands for a live row that is malformed: workers cannot read it either, and skip it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that can be verified."""

    name: str
    changelog: str
    inputs: tuple[str, ...]  # topics; of records with the same time, those of the first topic come first
    partitions: int
    make: Callable[[Changes, int], Awaitable[Fold]]


@dataclass(slots=True, kw_only=True)
class Verified:
    """The result of verifying a table."""

    table: str
    rows: int = 0
    unknown: int = 0  # rows whose first records retention has removed
    moving: int = 0  # rows that changed at each read, and never agreed
    differences: list[Json] = field(default_factory=list)  # key, field, live, rebuilt
    aside: dict[str, str] = field(default_factory=dict)

    def as_json(self, shown: int) -> Json:
        """The result as JSON, with ``shown`` differences."""
        return {
            "object": "replay.table",
            "table": self.table,
            "rows": self.rows,
            "cannot_be_verified": self.unknown,
            "moving": self.moving,
            "count": len(self.differences),
            "differences": self.differences[:shown],
            "not_compared": self.aside,
        }

    def as_text(self, shown: int) -> str:
        """The result as lines of text."""
        lines = [f"{self.table}: {self.rows} rows, {_count(len(self.differences))}"]
        if self.unknown:
            lines.append(f"{self.unknown} rows cannot be verified: retention has taken their beginning")
        if self.moving:
            lines.append(f"{self.moving} rows changed at each look; verify again when there is less to do")
        lines += [
            f"{one['key']}: {one['field']} is {one['live']!r}, and should be {one['rebuilt']!r}"
            for one in self.differences[:shown]
        ]
        if len(self.differences) > shown:
            lines.append(f"and {len(self.differences) - shown} more")
        return "\n".join(lines) + "\n"


def _count(differences: int) -> str:
    return "no difference" if not differences else f"{differences} difference{'s' if differences > 1 else ''}"


class _Side:
    """One partition: its live and its rebuilt rows, as far as they were read."""

    def __init__(self, log: LogClient, table: Table, number: int, changes: Changes, fold: Fold) -> None:
        self._log, self.fold, self.changes = log, fold, changes
        self._positions = {Partition(topic, number): 0 for topic in table.inputs}

    async def read(self) -> None:
        """Read on: the topics to their ends, then the changelog, which follows them."""
        spans = []
        for at, position in self._positions.items():
            bounds = await self._log.bounds(at)
            spans.append(OffsetRange(at, max(position, bounds.start), bounds.end))
        async for record in merged(self._log, spans):
            await self.fold.take(record)
        self._positions = {span.at: span.end for span in spans}
        await self.changes.read()

    def all_keys(self) -> set[bytes]:
        """The keys of all rows, on either side."""
        return self.changes.rows.keys() | self.fold.rows().keys()

    def pair(self, key: bytes) -> tuple[Json | str | None, Json | None]:
        """A row, live and rebuilt."""
        value = self.changes.rows.get(key)
        return None if value is None else self._live(key, value), self.fold.row(key)

    def _live(self, key: bytes, value: bytes) -> Json | str | None:
        with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            row: object = self.fold.read(key, value)  # any JSON, perhaps
            if row is None:
                return None
            if isinstance(row, dict):
                self.fold.whole(key, row)
                return row
        return NO_ROW

    def compare(self, key: bytes) -> list[Json]:
        """The differences of a row."""
        live, rebuilt = self.pair(key)
        return [
            {"key": key.decode("utf-8", "replace"), "field": where, "live": one, "rebuilt": other}
            for where, one, other in differences(live, rebuilt, "", self.fold.ASIDE.keys())
        ]

    def whole(self, key: bytes) -> bool:
        """Whether the topics have all records of a row."""
        live, rebuilt = self.pair(key)
        shown = live if isinstance(live, dict) else rebuilt
        return shown is None or self.fold.whole(key, shown)


async def verify(log: LogClient, table: Table, found: Verified, number: int) -> None:
    """Verify one partition. Workers may go on: a row that differs is read again until it agrees, or stands still.

    Args:
        log: the log with the topics and the changelog.
        table: the table.
        found: the result, to which this partition is added.
        number: the number of the partition.

    Raises:
        LogError: the log cannot be read.
    """
    changes = Changes(log, table.changelog, number)
    await changes.read()
    side = _Side(log, table, number, changes, await table.make(changes, number))
    found.aside |= side.fold.ASIDE
    await side.read()
    keys = {key for key in side.all_keys() if side.pair(key) != (None, None)}
    whole = {key for key in keys if side.whole(key)}
    found.rows, found.unknown = found.rows + len(keys), found.unknown + len(keys - whole)
    for key in sorted(await _settled(side, whole, found)):
        found.differences += side.compare(key)


async def _settled(side: _Side, keys: set[bytes], found: Verified) -> list[bytes]:
    """The keys of rows that differ and stand still."""
    wrong: list[bytes] = []
    began = time.monotonic()
    since = {key: (began, side.pair(key)) for key in keys if side.compare(key)}
    while since and time.monotonic() - began < SETTLED_S:
        await asyncio.sleep(LOOK_S)
        await side.read()
        for key, (seen_at, pair) in list(since.items()):
            if not side.compare(key):
                del since[key]
            elif side.pair(key) != pair:
                since[key] = (time.monotonic(), side.pair(key))
            elif time.monotonic() - seen_at >= STILL_S:
                wrong.append(key)
                del since[key]
    found.moving += len(since)
    return wrong


def differences(live: Any, rebuilt: Any, where: str, aside: Any) -> Iterator[tuple[str, Any, Any]]:
    """(field, live, rebuilt) of each difference; a row that is missing on one side is one difference."""
    if isinstance(live, dict) and isinstance(rebuilt, dict):
        for name in sorted({*live, *rebuilt} - set(aside)):
            yield from differences(live.get(name), rebuilt.get(name), f"{where}.{name}" if where else name, aside)
    elif isinstance(live, list) and isinstance(rebuilt, list) and len(live) == len(rebuilt):
        for place, (one, other) in enumerate(zip(live, rebuilt, strict=True)):
            yield from differences(one, other, f"{where}[{place}]", aside)
    elif live != rebuilt:
        yield where or "row", live, rebuilt


async def oldest_s(log: LogClient, topics: tuple[str, ...], number: int, now: float) -> float:
    """The time before which records of a partition may be gone; 0 if none is.

    Raises:
        LogError: the log cannot be read.
    """
    return max([await gone_until_s(log, Partition(topic, number), now) for topic in topics])
