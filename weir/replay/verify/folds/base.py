"""The protocol of all folds, and the common part of those of JSON objects."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, cast

import orjson

from weir.envelope import Json, seconds_of
from weir.log.log import Record
from weir.timing import CLOCKS_APART_S


class Fold(Protocol):
    """Rebuilds one partition of a table from its topics."""

    ASIDE: ClassVar[Mapping[str, str]]  # fields that are not compared, with the reason

    async def take(self, record: Record) -> None:
        """Take the next record of one of the topics."""

    def rows(self) -> dict[bytes, Json]:
        """Return the rows as they should be, in the form of ``read``."""

    def row(self, key: bytes) -> Json | None:
        """Return one row as it should be."""

    def read(self, key: bytes, value: bytes) -> Json | None:
        """Return a row of the live table, for comparison; None if it is not to be compared."""

    def whole(self, key: bytes, live: Json) -> bool:
        """Whether the topics still have all records from which a live row was made."""


class JsonRows:
    """Keeps the rows of a table of JSON objects."""

    def __init__(self) -> None:
        self.known: dict[bytes, Json] = {}

    def rows(self) -> dict[bytes, Json]:
        """Return the rows."""
        return self.known

    def row(self, key: bytes) -> Json | None:
        """Return one row."""
        return self.known.get(key)

    def read(self, key: bytes, value: bytes) -> Json:
        """Return a live row."""
        del key
        return cast("Json", orjson.loads(value))

    def _put(self, key: bytes, row: Json | None) -> None:
        """Keep a row; without one, drop the row that was kept."""
        if row is None:
            self.known.pop(key, None)
        else:
            self.known[key] = row


def before(time: Any, oldest_s: float) -> bool:
    """Whether a time (ISO 8601, or seconds) may lie before the oldest record left; True for what is not a time."""
    seconds = time if isinstance(time, float | int) else seconds_of(str(time))
    return bool(oldest_s) and (seconds is None or seconds < oldest_s + CLOCKS_APART_S)
