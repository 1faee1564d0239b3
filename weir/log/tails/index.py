"""The index of one partition: which keys stand where in it. No I/O.

A reader of one key does not read what others have written: it goes from one place of its key to the next. The index
does not know single offsets but blocks of them, ``TailLimits.index_block`` long, which costs little memory, and a read
along a block little time. A feed grows it forwards with each record, a scan backwards on demand. It is bounded: where
it has become too large, it gives up its oldest blocks, and then grows backwards no more.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from weir.log.log import Record
from weir.log.tails.limits import TailLimits

_KEY_OVERHEAD_BYTES = 380  # of a key in the index: its bytes object, its entry, its list, its place in the dict
_PLACE_BYTES = 28  # of a block more in which a key stands: one element in each of two lists
_BLOCK_BYTES = 160  # of a block: its number, its list, its tuple
_GAP_BLOCKS = 3  # so many blocks without the key are read along: cheaper than one more question


@dataclass(slots=True, eq=False)
class _Places:
    """Where a key stands: the numbers of its blocks, ascending. Block n has the offsets from n * index_block on."""

    key: bytes
    blocks: list[int]


class Index:
    """Which keys stand where in one partition, complete from ``start`` to the feed's live position.

    It may name a place where the key is not (compaction or retention took the record), but misses none where it is.
    """

    def __init__(self, start: int, limits: TailLimits) -> None:
        self.start = start
        self.full = False  # it has given up old blocks to keep its bound, and would do so with any that are older
        self._limits = limits
        self._width = limits.index_block
        self._places: dict[bytes, _Places] = {}
        self._blocks: deque[tuple[int, list[_Places]]] = deque()  # ascending, without those that have no keys
        self._size_bytes = 0

    def add(self, record: Record) -> None:
        """The feed delivers ``record``. For each record that is written anywhere, so it does little."""
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
        """All records from the new ``start`` to the present one, the newest first."""
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
        """Where ``key`` may stand next, at or after ``position``: from an offset, and how many offsets on.

        None: nowhere. Offsets without the key lie between, where it stands here and there in a page.
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
