"""The last line of defence of a table, on both sides: what it is not to write, and what it is not to believe.

A row that its changelog refuses stops the worker, now and at each start.

The content of rows is cut where it enters (``weir.limits``), and so are the rows, by `tables.requests.apply`. So
no row comes near this limit; one that does, by a defect, is told in the log of the worker and not written.

A record of a changelog that is no row (another program wrote it, or a defect) is as if it were not there: it must not
stop a worker, nor take a view of thousands of rows with it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, Final, TypeVar

from app import app

ROW_MAX_BYTES: Final = min(1_000_000, app.settings.record_value_max_bytes)
"""Of key and value: brokers take 1,048,588 bytes for a record, unless they are told otherwise. A changelog that Weir
creates takes KAFKA_MAX_MESSAGE_BYTES."""

UNREADABLE_TOLD: Final = 1000  # rows that are told of once each; more, and they are told of again

logger = logging.getLogger(__name__)

T = TypeVar("T")

_told: set[tuple[str, bytes]] = set()


def put(table: MutableMapping[Any, Any], key: bytes, value: bytes) -> None:
    """Write a row, unless its changelog would refuse it. Must run under an event of the key's partition."""
    size_bytes = len(key) + len(value)
    if size_bytes > ROW_MAX_BYTES:
        logger.error("a row of %d bytes is not written: a record of the changelog holds %d", size_bytes, ROW_MAX_BYTES)
        return
    table[key] = value


def read(table: str, key: bytes, value: bytes | None, decode: Callable[[bytes, bytes], T]) -> T | None:
    """A row, if there is one and it can be read.

    Args:
        table: its name.
        key: of the row.
        value: of the row; None where there is none.
        decode: makes the row of its key and value; raises what such code raises where it is none.
    """
    if value is None:
        return None
    try:
        return decode(key, value)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        unreadable(table, key, error)
        return None


def read_all(table: str, rows: Mapping[bytes, bytes], decode: Callable[[bytes, bytes], T]) -> Iterator[tuple[bytes, T]]:
    """Key and row of all that can be read."""
    for key, value in list(rows.items()):
        row = read(table, key, value, decode)
        if row is not None:
            yield key, row


def unreadable(table: str, key: bytes, error: Exception) -> None:
    """Count and tell of a row that cannot be read, once."""
    if (table, key) in _told:
        return
    if len(_told) >= UNREADABLE_TOLD:
        _told.clear()
    _told.add((table, key))
    app.unreadable_rows[table] += 1
    logger.error("the row %.60r of the table %s is passed over: %s", key, table, type(error).__name__)
