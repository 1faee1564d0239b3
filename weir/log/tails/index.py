"""The index of one partition: the places of each key. No I/O.

A reader of one key does not read the records of other keys: it goes from one place of its key to the next. The index
does not know single offsets but blocks of them, ``TailLimits.index_block`` long, which costs little memory, and a read
along a block little time. A feed grows it forwards with each record, a scan backwards on demand. It is bounded: where
has become too large, it drops its oldest blocks, and then grows backwards no more.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from weir.log.log import Record
from weir.log.tails.limits import TailLimits

_KEY_OVERHEAD_BYTES = 380  # of a key in the index: its bytes object, its entry, its list, its place in the dict
_PLACE_BYTES = 28  # of another block in which a key has records: one element in each of two lists
_BLOCK_BYTES = 160  # of a block: its number, its list, its tuple
_GAP_BLOCKS = 3  # so many blocks without the key are read along: cheaper than one more question


@dataclass(slots=True, eq=False)
class _Places:
    """The places of a key: the numbers of its blocks, ascending. Block n has the offsets from n * index_block on."""

    key: bytes
    blocks: list[int]


class Index:
    """The places of keys in one partition, complete from ``start`` to the feed's live position.

    It may have a place without the key (compaction or retention removed the record), but misses none with it.
    """

    def __init__(self, start: int, limits: TailLimits) -> None:
        self.start = start
        self.full = False  # it has dropped old blocks to keep its bound, and would drop older ones again
        self._limits = limits
        self._width = limits.index_block
        self._places: dict[bytes, _Places] = {}
        self._blocks: deque[tuple[int, list[_Places]]] = deque()  # ascending, without those that have no keys
        self._size_bytes = 0

    def add(self, record: Record) -> None:
        """Add a record that the feed delivers. It is called for each record that is written, so it does little."""
        if record.key is None:
            return
        number = record.offset // self._width
        places = self._places.get(record.key)
        if places is not None and places.blocks[-1] == number:
            return
        if not self._blocks or self._blocks[-1][0] != number:
            self._blocks.append((number, []))
            self._size_bytes += _BLOCK_BYTES
        places = places or self._enter(record.key)
        places.blocks.append(number)
        self._blocks[-1][1].append(places)
        self._size_bytes += _PLACE_BYTES
        self._keep_bound()

    def extend(self, start: int, records: Iterable[Record]) -> None:
        """Add all records from the new ``start`` to the present one, the newest first."""
        self.start = start
        for record in records:
            if record.key is None:
                continue
            number = record.offset // self._width
            places = self._places.get(record.key)
            if places is not None and places.blocks[0] == number:
                continue
            if not self._blocks or self._blocks[0][0] != number:
                self._blocks.appendleft((number, []))
                self._size_bytes += _BLOCK_BYTES
            places = places or self._enter(record.key)
            places.blocks.insert(0, number)
            self._blocks[0][1].append(places)
            self._size_bytes += _PLACE_BYTES
        self._keep_bound()

    def find(self, key: bytes, position: int) -> tuple[int, int] | None:
        """The next place of ``key`` at or after ``position``: an offset, and how many offsets to read.

        None: there is no place. The range holds offsets without the key, where its places lie close together.
        """
        places = self._places.get(key)
        blocks = places.blocks if places is not None else ()
        at = bisect_left(blocks, position // self._width)
        if at == len(blocks):
            return None
        first = max(position, blocks[at] * self._width)
        end = (blocks[at] + 1) * self._width
        while (at := at + 1) < len(blocks) and end - first < self._limits.page_records:
            if blocks[at] > blocks[at - 1] + _GAP_BLOCKS:
                break
            end = (blocks[at] + 1) * self._width
        return first, min(end - first, self._limits.page_records)

    def _enter(self, key: bytes) -> _Places:
        self._places[key] = places = _Places(key, [])
        self._size_bytes += _KEY_OVERHEAD_BYTES + len(key)
        return places

    def _keep_bound(self) -> None:
        while self._size_bytes > self._limits.index_bytes and len(self._blocks) > 1:
            number, oldest = self._blocks.popleft()
            self._size_bytes -= _BLOCK_BYTES + _PLACE_BYTES * len(oldest)
            for places in oldest:
                del places.blocks[0]
                if not places.blocks:
                    del self._places[places.key]
                    self._size_bytes -= _KEY_OVERHEAD_BYTES + len(places.key)
            self.start = max(self.start, (number + 1) * self._width)
            self.full = True
