"""Pages of records from the broker, for all readers of one process: with a limit on reads at a time."""

import asyncio
from collections.abc import Awaitable

from weir.log.log import Bounds, LogClient, LogUnavailableError, Partition, Record


class LogPages:
    """Reads older records from a log.

    Args:
        client: the log.
        reads: how many reads may be under way at the same time.
    """

    def __init__(self, client: LogClient, reads: int) -> None:
        self._client = client
        self._reads = asyncio.Semaphore(reads)

    def bounds(self, at: Partition) -> Awaitable[Bounds]:
        """Start and end of the log, as the broker states them after the call began. Raises LogError."""
        return self._client.bounds(at)

    async def read(self, at: Partition, position: int, limit: int, known_end: int) -> list[Record]:
        """Read one page from the broker, when another read is allowed.

        An empty page means that there are only holes below ``known_end``, an end that the log has had. But a broker
        that has just become the leader may not know the end of the log yet, and skipping the rest would lose records.

        Raises:
            LogUnavailableError: the broker says that the log ends before ``known_end``.
        """
        async with self._reads:
            await asyncio.sleep(0)  # a log that does not wait for its file must not delay other tasks page after page
            records = await self._client.read(at, position, limit=limit)
            if not records and position < known_end and (end := (await self._client.bounds(at)).end) < known_end:
                raise LogUnavailableError(f"{at.topic}-{at.partition} was at {known_end} and is back at {end}")
            return records
