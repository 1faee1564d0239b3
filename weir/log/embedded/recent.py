"""The newest records of a partition, kept in memory: tails and the worker read them without touching the file."""

from collections import deque
from collections.abc import Iterable

from weir.log.log import Record

MAX_RECORDS = 512  # per partition
MAX_BYTES = 1 << 20  # of values, per partition


class Recent:
    """Consecutive records up to the end of one partition, as far as they fit."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque()
        self._size_bytes = 0

    def extend(self, fresh: Iterable[Record]) -> None:
        """Add records that were appended; forgets everything before a gap (another process wrote in between)."""
        records = self._records
        for record in fresh:
            if records and records[-1].offset + 1 != record.offset:
                records.clear()
                self._size_bytes = 0
            records.append(record)
            self._size_bytes += len(record.value or b"")
        while self._size_bytes > MAX_BYTES or len(records) > MAX_RECORDS:
            self._size_bytes -= len(records.popleft().value or b"")

    def read(self, position: int, limit: int) -> list[Record] | None:
        """At most ``limit`` records from ``position`` on, or None when the file must be asked."""
        records = self._records
        if not records or not records[0].offset <= position <= records[-1].offset:
            return None
        skip = position - records[0].offset
        return [records[i] for i in range(skip, min(skip + limit, len(records)))]
