"""The recent records of one partition, so that most readers need no broker. No I/O."""

from collections import deque

from weir.log.log import Record
from weir.log.tails.limits import TailLimits, size_bytes


class Ring:
    """All records of a partition from ``start`` to the last one that was added, within a bound."""

    def __init__(self, start: int, limits: TailLimits) -> None:
        self.start = start
        self._limits = limits
        self._records: deque[Record] = deque()
        self._size_bytes = 0

    def add(self, record: Record) -> None:
        """Keep the next record; drop the oldest ones if there are too many. Called for each record that is written."""
        self._records.append(record)
        self._size_bytes += size_bytes(record)
        while len(self._records) > self._limits.ring_records or self._size_bytes > self._limits.ring_bytes:
            dropped = self._records.popleft()
            self._size_bytes -= size_bytes(dropped)
            self.start = dropped.offset + 1

    def since(self, position: int, key: bytes | None) -> list[Record] | None:
        """The records of ``key`` (None: of every key) from ``position`` on; None if the ring starts later."""
        if position < self.start:
            return None
        found: list[Record] = []
        for record in reversed(self._records):  # a reader is mostly a few records behind: search from the end
            if record.offset < position:
                break
            if key is None or record.key == key:
                found.append(record)
        found.reverse()
        return found
