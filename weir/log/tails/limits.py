"""Limits on memory and reads of one process's tails, and the size that a record counts."""

from dataclasses import dataclass

from weir.log.log import Record

_RECORD_OVERHEAD_BYTES = 200  # the tuple, its offsets and its headers, roughly


@dataclass(frozen=True, slots=True, kw_only=True)
class TailLimits:
    """Limits on memory and reads of one process's tails."""

    ring_records: int = 8192  # recent records kept for each partition, so that most readers need no broker
    ring_bytes: int = 4 << 20
    queue_records: int = 1024  # records waiting for one reader; with more, it falls behind
    queue_bytes: int = 128 << 10
    page_records: int = 500  # records of one read from the broker or from the ring
    index_bytes: int = 32 << 20  # size of the index of each partition: some 30,000 answers
    index_block: int = 16  # offsets that the index does not distinguish
    reads: int = 8  # reads under way at the same time, all readers together
    turns: int = 4  # readers that work on a page at the same time; to be taken by readers that decode
    memory_bytes: int = 256 << 20  # of large pages and bodies that readers hold, all readers together
    linger_s: float = 600.0  # how long a partition is followed after its last reader left
    look_wait_s: float = 0.25  # how long ``look`` waits for the feed before it reads from the broker itself


def size_bytes(record: Record) -> int:
    """The size that a held record counts, roughly."""
    return len(record.key or b"") + len(record.value or b"") + _RECORD_OVERHEAD_BYTES
