"""Rebuilds the quality table, from agent-metrics-events and ai-learning-signals."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, ClassVar, Self

import orjson

from weir.envelope import Json
from weir.insights.closing import Closing, Insight
from weir.insights.folding import Folding, Judging
from weir.insights.reading import Measured
from weir.insights.values import ModelRow, WindowRow
from weir.insights.window import WindowFigures
from weir.log.log import Record
from weir.replay.rebuild import seeding

Change = Callable[[Measured], Measured]

NAMES = tuple(each.name for each in fields(WindowFigures))


class QualityFold:
    """Rebuilds one partition of the quality table."""

    ASIDE: ClassVar[Mapping[str, str]] = {
        "ids, offsets, partition": "places in the order in which the two topics were read",
        "late, heard": "what is late hangs on which topic was read faster",
        "detected_at": "the clock of the log when it was seen",
    }

    def __init__(self, windows: Folding, table: dict[bytes, bytes], since_ms: int, change: Change) -> None:
        self._windows, self._table, self._since_ms, self._change = windows, table, since_ms, change

    @classmethod
    async def of(
        cls,
        live: Mapping[bytes, bytes],
        number: int,
        judging: Judging,
        since_ms: int,
        change: Change = lambda measured: measured,
    ) -> Self:
        """Begin with the live windows that end by a time, in milliseconds since the epoch.

        Args:
            live: the rows of the live table.
            number: of the partition.
            judging: the windows and limits of figures.
            since_ms: the time.
            change: what becomes of each record's figures before they are folded in.
        """

        async def tell(closing: Closing) -> tuple[Insight, ...]:
            return closing.insights

        table = seeding.seed(live, number, since_ms)
        return cls(await Folding.of(table, number, judging, tell=tell, since_ms=since_ms), table, since_ms, change)

    async def take(self, record: Record) -> None:
        """Take a record of either topic."""
        await self._windows.take(record, self._change)

    def rows(self) -> dict[bytes, Json]:
        """Return the rows."""
        return {key: row for key in self._table if (row := self.row(key)) is not None}

    def row(self, key: bytes) -> Json | None:
        """Return one row."""
        value = self._table.get(key)
        return None if value is None else self.read(key, value)

    def read(self, key: bytes, value: bytes) -> Json | None:
        """Return a row, for comparison."""
        kind = key.partition(b"/")[0]
        if kind == b"window":
            row = WindowRow.decode(value)
            return {**dict(zip(NAMES, row.window.flat(), strict=True)), "newest": row.newest, "closed": row.closed}
        if kind == b"model":
            return _model(ModelRow.decode(value))
        return {"over": [_said(one) for one in orjson.loads(value)]} if kind == b"over" else None

    def whole(self, key: bytes, live: Json) -> bool:
        """Whether a window has all its records, or for a model, whether retention has removed none."""
        del live
        kind, _, rest = key.decode().partition("/")
        return not self._since_ms or (kind == "window" and int(rest.partition("/")[0]) >= self._since_ms)


def _model(row: ModelRow) -> Json:
    return {
        "judged_until_ms": row.judged_until_ms,
        "kept": [list(one) for one in row.kept],
        "active": {kind: _said(one) for kind, one in row.active.items()},
        "ahead": row.ahead,
    }


def _said(insight: Json) -> dict[str, Any]:
    return {name: insight.get(name) for name in ("insight_id", "value", "window_start", "window_end")}
