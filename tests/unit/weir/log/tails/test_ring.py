"""The recent records of a partition."""

from weir.log.log import Partition, Record
from weir.log.tails import TailLimits
from weir.log.tails.limits import size_bytes
from weir.log.tails.ring import Ring

AT = Partition("chunks", 0)


def record(offset: int, key: bytes | None = b"k", value: bytes = b"v") -> Record:
    return Record(*AT, offset, 0.0, key, value, ())


def offsets(records: list[Record] | None) -> list[int] | None:
    return None if records is None else [one.offset for one in records]


def test_it_gives_what_a_reader_wants_from_its_position_on_in_order() -> None:
    ring = Ring(10, TailLimits())
    for offset, key in ((10, b"a"), (12, b"b"), (13, None), (17, b"a")):
        ring.add(record(offset, key))
    assert offsets(ring.since(10, None)) == [10, 12, 13, 17]
    assert offsets(ring.since(11, b"a")) == [17]
    assert offsets(ring.since(10, b"none")) == []
    assert offsets(ring.since(18, None)) == []
    assert ring.since(9, b"a") is None  # it may have stood there


def test_it_keeps_so_many_records_and_knows_from_where_on_it_has_all() -> None:
    ring = Ring(0, TailLimits(ring_records=3))
    for offset in (0, 1, 5, 6, 9):
        ring.add(record(offset))
    assert ring.start == 2
    assert ring.since(1, None) is None
    assert offsets(ring.since(2, None)) == [5, 6, 9]


def test_it_keeps_so_many_bytes() -> None:
    large = record(1, value=b"v" * 1000)
    ring = Ring(0, TailLimits(ring_bytes=size_bytes(large)))
    ring.add(record(0))
    ring.add(large)
    assert (ring.start, offsets(ring.since(1, None))) == (1, [1])
    ring.add(record(2))
    assert (ring.start, offsets(ring.since(2, None))) == (2, [2])
