"""A live table as its changelog has it: for who reads it beside the workers."""

from collections.abc import Callable

from weir.log.log import LogClient, LogRefusedError, Partition, Record
from weir.ranges.errors import ReplayError
from weir.ranges.spans import Span, each


class Changes:
    """The changes of one partition of a table, from its changelog's start on, as far as they were read."""

    def __init__(self, log: LogClient, changelog: str, number: int) -> None:
        self._log, self._at = log, Partition(changelog, number)
        self.position = 0  # up to which they were read
        self.rows: dict[bytes, bytes] = {}

    async def read(self, seen: Callable[[Record], None] = lambda _: None) -> int:
        """Read on to the end; how many changes that were.

        Args:
            seen: is given each of them.

        Raises:
            ReplayError: no worker has made the table yet.
            LogError: the log cannot be read.
        """
        try:
            end = (await self._log.bounds(self._at)).end
        except LogRefusedError as error:
            raise ReplayError(f"the table has no changelog yet: {error}") from None
        count = 0
        async for record in each(self._log, Span(self._at, self.position, end)):
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
