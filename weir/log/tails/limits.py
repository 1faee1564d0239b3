"""What one process may hold in memory and on the wire for its tails, and how a record counts."""

from dataclasses import dataclass

from weir.log.log import Record

_RECORD_OVERHEAD_BYTES = 200  # the tuple, its offsets and its headers, roughly


@dataclass(frozen=True, slots=True, kw_only=True)
class TailLimits:
    """What one process may hold in memory and on the wire for its tails."""

    ring_records: int = 8192  # recent records kept for each partition, so that most readers need no broker
    ring_bytes: int = 4 << 20
    queue_records: int = 1024  # records waiting for one reader; more, and it falls behind
    queue_bytes: int = 128 << 10
    page_records: int = 500  # records of one read from the broker or from the ring
    index_bytes: int = 32 << 20  # which keys stand where, for each partition: of 30,000 answers or so
    index_block: int = 16  # offsets that the index does not tell apart
    reads: int = 8  # reads under way at the same time, all readers together
    turns: int = 4  # readers that work on a page at the same time; to be taken by readers that decode
    memory_bytes: int = 256 << 20  # of large pages and bodies that readers hold, all readers together
    linger_s: float = 600.0  # how long a partition is followed after its last reader left
    look_wait_s: float = 0.25  # how long ``look`` waits for the feed before it reads from the broker itself


def size_bytes(record: Record) -> int:
    """What a record that is held counts, roughly."""
    return len(record.key or b"") + len(record.value or b"") + _RECORD_OVERHEAD_BYTES
