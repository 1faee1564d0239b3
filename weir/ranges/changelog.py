"""Reads a live table from its changelog, for processes beside the workers."""

from collections.abc import Callable

from weir.log.log import LogClient, LogRefusedError, Partition, Record
from weir.ranges.errors import ReplayError
from weir.ranges.offset_ranges import OffsetRange, each


class Changes:
    """The changes of one partition of a table, read from its changelog's start on."""

    def __init__(self, log: LogClient, changelog: str, number: int) -> None:
        self._log, self._at = log, Partition(changelog, number)
        self.position = 0  # offset up to which the changes were read
        self.rows: dict[bytes, bytes] = {}

    async def read(self, seen: Callable[[Record], None] = lambda _: None) -> int:
        """Read on to the end; returns the number of changes.

        Args:
            seen: called with each change.

        Raises:
            ReplayError: no worker has made the table yet.
            LogError: the log cannot be read.
        """
        try:
            end = (await self._log.bounds(self._at)).end
        except LogRefusedError as error:
            raise ReplayError(f"the table has no changelog yet: {error}") from None
        count = 0
        async for record in each(self._log, OffsetRange(self._at, self.position, end)):
            self._take(record)
            seen(record)
            count += 1
        self.position = max(self.position, end)
        return count

    def _take(self, record: Record) -> None:
        if record.key is not None and record.value is None:
            self.rows.pop(record.key, None)
        elif record.key is not None and record.value is not None:
            self.rows[record.key] = record.value
