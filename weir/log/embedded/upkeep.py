"""Retention and compaction of a log file, in small transactions between the appends.

Retention removes a prefix of a partition, never a hole. Compaction removes records whose key has a newer one, and
leaves holes; three kinds of records it never removes: those younger than a lag, tombstones younger than a day (a table
that is behind must see them), and the last record of a partition, because Faust's table recovery waits for the record
at the end. SQLite uses the freed space again; the file gets smaller only by `vacuum`.

The rows to delete are searched in a thread with a connection of its own, and deleted through the writer's queue.
"""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from weir.log.embedded.file import LogFile
from weir.log.embedded.schema import OFFSET_BITS, connect
from weir.log.log import LogUnavailableError, Partition

CHUNK = 1000  # records deleted in one transaction: a few milliseconds, in which appends wait
LAG_S = 60.0  # records younger than this are not compacted: readers close to the end see every change
TOMBSTONE_S = 86_400.0  # how long a tombstone outlives compaction, as in Kafka
MIN_DIRTY = 1000  # new records in a partition before it is worth compacting

SUPERSEDED = """
SELECT id FROM records WHERE id >= :low AND id < :horizon AND id < :last AND key IS NOT NULL AND (
    id NOT IN (SELECT max(id) FROM records WHERE id >= :low AND id <= :last AND key IS NOT NULL GROUP BY key)
    OR (value IS NULL AND timestamp < :tombstones)
) ORDER BY id -- so that a tombstone goes after what it deletes
"""


@dataclass(slots=True)
class Upkeep:
    """Applies retention and compaction to one log file. Call `sweep` now and then, from one process only."""

    file: LogFile
    lag_s: float = LAG_S
    tombstone_s: float = TOMBSTONE_S
    min_dirty: int = MIN_DIRTY
    _clean: dict[Partition, tuple[int, int]] = field(default_factory=dict)  # end and live records at the last time

    async def sweep(self) -> None:
        """Apply retention and compaction to every topic once.

        Raises:
            LogUnavailableError: the file cannot be read or written; deletions made before the error stay.
        """
        for spec in list(self.file.topics.values()):
            for at in (Partition(spec.name, partition) for partition in range(spec.partitions)):
                if spec.retention_s is not None:
                    await self._prune(at, time.time() - spec.retention_s)
                if spec.compacted:
                    await self._compact(at)

    async def _prune(self, at: Partition, before: float) -> None:
        """Delete the longest prefix in which every record is older than ``before``."""
        id_, (start, _) = self.file.id(at), self.file.bounds(at)
        keep = self.file.offset_at(at, before)
        if start >= keep:
            return
        while start < keep:
            start = min(start + CHUNK, keep)
            await self.file.run(_prefix_deletion(id_, start))
        self.file.refresh()

    async def _compact(self, at: Partition) -> None:
        start, end = self.file.bounds(at)
        clean, live = self._clean.get(at, (start, 0))
        # at least half of the records are new, so compaction is worth its cost
        if end - clean < max(self.min_dirty, live):
            return
        horizon = min(self.file.offset_at(at, time.time() - self.lag_s), end)
        superseded, live = await asyncio.to_thread(self._search, self.file.id(at), horizon, end)
        for ids in _chunks(superseded):
            await self.file.run(_deletion(ids))
        self._clean[at] = end, live

    def _search(self, id_: int, horizon: int, end: int) -> tuple[list[int], int]:
        """Find the rows to delete, and count those that stay. Runs in a thread."""
        low = id_ << OFFSET_BITS
        span = {"low": low, "horizon": low + horizon, "last": low + end - 1}
        db = connect(self.file.path)
        try:
            superseded = [
                row[0] for row in db.execute(SUPERSEDED, {**span, "tombstones": time.time() - self.tombstone_s})
            ]
            total = db.execute("SELECT count(*) FROM records WHERE id >= :low AND id <= :last", span).fetchone()[0]
        except sqlite3.Error as exc:
            raise LogUnavailableError(f"log {self.file.path} cannot be read: {exc}") from exc
        finally:
            db.close()
        return superseded, total - len(superseded)


def vacuum(path: Path) -> tuple[int, int]:
    """Give the space of deleted records back to the disk; no other process may have the file open.

    Args:
        path: the log file; the disk needs as much free space as the file's content takes.

    Returns:
        Its size in bytes before and after.

    Raises:
        LogUnavailableError: another process uses the file, or the disk is full.
    """
    before = path.stat().st_size
    db = connect(path)
    try:
        db.execute("PRAGMA busy_timeout=0")
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as exc:
        raise LogUnavailableError(f"log {path} cannot be compacted: {exc}") from exc
    finally:
        db.close()
    return before, path.stat().st_size


def _prefix_deletion(id_: int, start: int) -> Callable[[sqlite3.Connection], None]:
    def delete(db: sqlite3.Connection) -> None:
        low = id_ << OFFSET_BITS
        db.execute("DELETE FROM records WHERE id >= ? AND id < ?", (low, low + start))
        db.execute("DELETE FROM marks WHERE partition=? AND offset <= ?", (id_, start))
        db.execute("UPDATE partitions SET start=? WHERE id=?", (start, id_))

    return delete


def _deletion(ids: Sequence[int]) -> Callable[[sqlite3.Connection], None]:
    def delete(db: sqlite3.Connection) -> None:
        db.executemany("DELETE FROM records WHERE id=?", [(id_,) for id_ in ids])

    return delete


def _chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[i : i + CHUNK] for i in range(0, len(ids), CHUNK))
