"""The last line of defence of a table: a row that its changelog refuses stops the worker, now and at each start.

What rows are made of is cut where it enters (``answers.limits``), and so are the rows, by `tables.requests.apply`. So
no row comes near this limit; one that does, by a defect, is told in the log of the worker and not written.
"""

import logging
from collections.abc import MutableMapping
from typing import Any

ROW_MAX_BYTES = 1_000_000  # of key and value: brokers take 1,048,588 bytes for a record, unless they are told otherwise

logger = logging.getLogger(__name__)


def put(table: MutableMapping[Any, Any], key: bytes, value: bytes) -> None:
    """Write a row, unless its changelog would refuse it. Must run under an event of the key's partition."""
    size_bytes = len(key) + len(value)
    if size_bytes > ROW_MAX_BYTES:
        logger.error("a row of %d bytes is not written: a record of the changelog holds %d", size_bytes, ROW_MAX_BYTES)
        return
    table[key] = value
