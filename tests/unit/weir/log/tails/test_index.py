"""The places of keys in a partition."""

import random

import pytest

from weir.log.log import Partition, Record
from weir.log.tails import TailLimits
from weir.log.tails.index import Index

AT = Partition("chunks", 0)


def record(offset: int, key: bytes | None) -> Record:
    return Record(*AT, offset, 0.0, key, b"v", ())


@pytest.mark.parametrize("seed", range(20))
def test_the_index_names_every_place(seed: int) -> None:
    """The index grows at both ends, and is compared with a list of all records."""
    chance = random.Random(seed)
    limits = TailLimits(
        index_block=chance.randint(1, 9),
        page_records=chance.randint(1, 60),
        index_bytes=chance.choice([9_000, 1 << 20]),
    )
    keys = [b"%d" % number for number in range(30)]
    log = [record(offset, chance.choice([*keys, None])) for offset in range(1000) if chance.random() < 0.8]
    start = end = 500
    index = Index(start, limits)
    while end < 1000:
        if chance.random() < 0.5 and start > 0 and not index.full:
            low = max(0, start - chance.randint(1, 40))
            index.extend(low, [one for one in reversed(log) if low <= one.offset < start])
            start = low
        high = min(1000, end + chance.randint(1, 10))
        for one in log:
            if end <= one.offset < high:
                index.add(one)
        end = high
        assert index.start >= start
        position, key = chance.randint(index.start, end), chance.choice([*keys, b"nobody"])
        wanted = [one.offset for one in log if position <= one.offset < end and one.key == key]
        found: list[int] = []
        while place := index.find(key, position):
            first, count = place
            assert first >= position
            assert 0 < count <= limits.page_records
            position = first + count
            found += [offset for offset in wanted if first <= offset < position]
        assert found == wanted
