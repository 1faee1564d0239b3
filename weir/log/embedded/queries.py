"""The queries of a log file, and the statements that change it besides the writer's inserts. No threads, no memory."""

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from weir.log.embedded.schema import OFFSET_BITS, OFFSET_MASK
from weir.log.log import Bounds, LogUnavailableError, OtherPartitionsError, Partition, Record, TopicSpec

READ_BYTES = 4 << 20  # one read returns no more values than this, plus one record
RECORD_BYTES = 512  # nor more than this for each record that it was asked for, as on Kafka (weir.log.kafka.fetches)

HeaderPairs = tuple[tuple[str, bytes], ...]


class Queries:
    """Queries a log file. The caller makes sure that only one thread does at a time.

    Args:
        db: a connection for reading; the caller closes it.
        path: the file, for messages.
    """

    def __init__(self, db: sqlite3.Connection, path: Path) -> None:
        self._db = db
        self._path = path

    def topics(self) -> dict[str, TopicSpec]:
        """All topics, by name."""
        rows = self._all("SELECT name, partitions, retention_s, compacted FROM topics")
        return {
            name: TopicSpec(name=name, partitions=n, retention_s=retention_s, compacted=bool(compacted))
            for name, n, retention_s, compacted in rows
        }

    def partitions(self) -> list[tuple[int, Partition, Bounds]]:
        """All partitions, each with its number in the file."""
        rows = self._all("SELECT id, topic, partition, start, next FROM partitions")
        return [(id_, Partition(topic, partition), Bounds(start, end)) for id_, topic, partition, start, end in rows]

    def bounds(self, id_: int) -> Bounds:
        """Start and end of a partition."""
        return Bounds(*self._all("SELECT start, next FROM partitions WHERE id=?", (id_,))[0])

    def records(self, id_: int, at: Partition, position: int, end: int, limit: int) -> list[Record]:
        """Records of a partition from ``position`` to before ``end``: at most ``limit``, and so many bytes."""
        records, size_bytes, low = [], 0, id_ << OFFSET_BITS
        max_bytes = min(READ_BYTES, limit * RECORD_BYTES)
        with self._reading():
            for row, timestamp, key, value, headers in self._db.execute(
                "SELECT id, timestamp, key, value, headers FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
                (low | position, low + end, limit),
            ):
                records.append(Record(*at, row & OFFSET_MASK, timestamp, key, value, load_headers(headers)))
                size_bytes += len(value or b"")
                if size_bytes > max_bytes:
                    break
        return records

    def offset_at(self, id_: int, bounds: Bounds, timestamp: float) -> int:
        """The first offset within ``bounds`` whose record is not older than ``timestamp``; the end for none.

        The time marks hold an offset before which every record is older, and bound the search to a few thousand
        records.
        """
        low = id_ << OFFSET_BITS
        mark = self._all("SELECT max(offset) FROM marks WHERE partition=? AND newest < ?", (id_, timestamp))[0][0]
        row = self._all(
            "SELECT id FROM records WHERE id >= ? AND id < ? AND timestamp >= ? ORDER BY id LIMIT 1",
            (low | max(mark or 0, bounds.start), low + bounds.end, timestamp),
        )
        return int(row[0][0]) & OFFSET_MASK if row else bounds.end

    def committed(self, group: str) -> dict[Partition, int]:
        """The offsets that a consumer group has committed."""
        rows = self._all("SELECT topic, partition, offset FROM commits WHERE consumer_group=?", (group,))
        return {Partition(topic, partition): offset for topic, partition, offset in rows}

    def _all(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        with self._reading():
            return self._db.execute(sql, parameters).fetchall()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise LogUnavailableError(f"log {self._path} cannot be read: {exc}") from exc


def create_topics(db: sqlite3.Connection, specs: Sequence[TopicSpec]) -> None:
    """Create the missing topics, and store the retention of existing ones. Must run inside a transaction.

    Raises:
        OtherPartitionsError: a topic exists with another number of partitions.
    """
    for spec in specs:
        row = db.execute("SELECT partitions FROM topics WHERE name=?", (spec.name,)).fetchone()
        if row is None:
            db.execute(
                "INSERT INTO topics VALUES(?,?,?,?)", (spec.name, spec.partitions, spec.retention_s, spec.compacted)
            )
            db.executemany(
                "INSERT INTO partitions(topic, partition) VALUES(?,?)",
                [(spec.name, partition) for partition in range(spec.partitions)],
            )
        elif row[0] != spec.partitions:
            raise OtherPartitionsError(spec.name, row[0], spec.partitions)
        db.execute("UPDATE topics SET retention_s=? WHERE name=?", (spec.retention_s, spec.name))


def store_commits(db: sqlite3.Connection, group: str, offsets: Mapping[Partition, int]) -> None:
    """Store where a consumer group goes on. Must run inside a transaction."""
    db.executemany(
        "INSERT OR REPLACE INTO commits VALUES(?,?,?,?)", [(group, *at, offset) for at, offset in offsets.items()]
    )


def dump_headers(headers: HeaderPairs) -> str:
    """Headers as text for a row."""
    return json.dumps([(name, value.decode("latin-1")) for name, value in headers])


def load_headers(text: str | None) -> HeaderPairs:
    """Headers from the text of a row."""
    return tuple((name, value.encode("latin-1")) for name, value in json.loads(text)) if text else ()
