"""Typed rows over the bytes of a changelog table, with a last check on both sides.

Keys and values of Weir's tables are bytes: a value that Faust's own codecs cannot decode would stop a recovery for
ever.

A row that its changelog refuses would stop the worker, now and at each start. The content of rows is cut where it
enters (``weir.limits``), and so are the rows themselves (`weir.chat.states.apply`), so no row comes near the limit. A
row that does, by a defect, is logged and not written.

A record of a changelog that is malformed (another program wrote it, or a defect) counts as missing: one record must not
stop a worker, nor take a view of thousands of rows with it.
"""

import logging
from collections.abc import Callable, Iterator, MutableMapping
from typing import Final, Generic, TypeVar

from weir.settings import Settings

LOGGED_MAX: Final = 1000  # unreadable rows of one table that are logged once each; after more, they are logged again

logger = logging.getLogger(__name__)

T = TypeVar("T")
Decode = Callable[[str, bytes], T]
"""The row of a key and a value; ValueError, TypeError, KeyError, AttributeError or RecursionError if it is none."""


def row_max_bytes(settings: Settings) -> int:
    """The most bytes of key and value: brokers take 1,048,588 bytes for a record by default.

    A changelog that Weir creates takes KAFKA_MAX_MESSAGE_BYTES.
    """
    return min(1_000_000, settings.record_value_max_bytes)


class UnreadableRows:
    """Counts the malformed rows of one table, and logs each once."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.count = 0
        self._logged: set[bytes] = set()

    def __call__(self, key: bytes, error: Exception) -> None:
        """Count a row, unless it was counted before."""
        if key in self._logged:
            return
        if len(self._logged) >= LOGGED_MAX:
            self._logged.clear()
        self._logged.add(key)
        self.count += 1
        logger.error("the row %.60r of the table %s is skipped: %s", key, self.table, type(error).__name__)


class TableRows(Generic[T]):
    """The rows of one table, of the partitions that this worker owns (and of those it stands by for).

    Args:
        name: the table's name.
        table: the table, or any mapping of bytes.
        encode: encodes a row to its value.
        decode: decodes a row from a key and a value.
        max_bytes: the most bytes of key and value together.
    """

    def __init__(
        self,
        name: str,
        table: MutableMapping[bytes, bytes],
        *,
        encode: Callable[[T], bytes],
        decode: Decode[T],
        max_bytes: int,
    ) -> None:
        self._table, self._encode, self._decode = table, encode, decode
        self.max_bytes = max_bytes
        self.unreadable = UnreadableRows(name)

    def get(self, key: str) -> T | None:
        """A row, if there is one and it can be read."""
        raw = key.encode()
        return self._read(raw, self._table.get(raw))

    def put(self, key: str, row: T) -> None:
        """Write a row, unless its changelog would refuse it. Must run under an event of the key's partition."""
        raw, value = key.encode(), self._encode(row)
        size_bytes = len(raw) + len(value)
        if size_bytes > self.max_bytes:
            logger.error(
                "a row of %d bytes of the table %s is not written: a record of the changelog holds %d",
                size_bytes, self.unreadable.table, self.max_bytes,
            )  # fmt: skip
            return
        self._table[raw] = value

    def forget(self, key: str) -> None:
        """Remove a row. Must run under an event of the key's partition."""
        self._table.pop(key.encode(), None)

    def items(self) -> Iterator[tuple[str, T]]:
        """Key and row of all readable rows, in no order."""
        for key, value in list(self._table.items()):
            row = self._read(key, value)
            if row is not None:
                yield key.decode(), row

    def _read(self, key: bytes, value: bytes | None) -> T | None:
        if value is None:
            return None
        try:
            return self._decode(key.decode(), value)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            self.unreadable(key, error)
            return None
