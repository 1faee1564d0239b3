"""Decodes the batches of a fetch; batches that cannot be read are skipped and reported.

Kafka checks a batch before it takes it. A batch that cannot be read was damaged later, on the disk of the broker that
leads the partition, or is compressed in a way that this client does not know. aiokafka raises an error for it, and
raises it again with every fetch from there: nothing behind the batch is ever read, and a Faust worker ends with a
traceback, like every worker that gets the partition after it.

An unreadable batch is fetched once more. Then reading goes on behind it, and the owner of the reader is notified.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiokafka.codec
from aiokafka.errors import CorruptRecordException

from weir.log.kafka.transactions import Aborted, Transactions
from weir.log.log import LogRefusedError, Partition

__all__ = ["Batch", "Batches", "Fetched", "PassedOver", "UnreadableBatch", "check_codecs"]

FETCHES: Final = 2  # of an unreadable batch; it may have been damaged on its way
REMEMBERED: Final = 1000  # unreadable batches that are reported once only, however many readers meet them
MOST_RECORDS: Final = 1 << 20  # of one batch; a damaged header that says more is ignored


@dataclass(frozen=True, slots=True)
class UnreadableBatch:
    """A batch that was skipped because it cannot be read."""

    at: Partition
    first: int  # the offsets of the batch, first and last
    last: int
    reason: str

    def __str__(self) -> str:
        topic, partition = self.at
        return f"offsets {self.first} to {self.last} of {topic}-{partition} cannot be read ({self.reason})"


PassedOver = Callable[[UnreadableBatch], None]


class Batch:
    """The methods of a batch that aiokafka's fetcher calls; the records are decoded already.

    Args:
        records: aiokafka's records, which share no base class.
        next_offset: the offset behind the last record of the batch, also where compaction has removed that record.
    """

    # Under no load each token makes one of these, and a frozen dataclass takes four times as long to make.
    __slots__ = ("next_offset", "records")

    is_control_batch = False
    producer_id = None

    def __init__(self, records: Sequence[Any], next_offset: int) -> None:
        self.records = records
        self.next_offset = next_offset

    def __iter__(self) -> Iterator[Any]:
        return iter(self.records)

    def validate_crc(self) -> bool:
        """Return true: the checksum was verified before decoding."""
        return True


class Batches:
    """Decodes the fetches of one client."""

    def __init__(self, passed_over: PassedOver) -> None:
        self._passed_over = passed_over
        self._met: dict[tuple[Partition, int], int] = {}  # how often an unreadable batch was fetched

    def decoded(self, at: Partition, position: int, fetched: Any, aborted: Iterable[Aborted] = ()) -> Iterator[Batch]:
        """The batches of a fetch, up to one that is to be fetched again; without the records of aborted transactions.

        Args:
            at: the partition that was fetched from.
            position: the offset that was asked for.
            fetched: aiokafka's ``MemoryRecords``.
            aborted: the transactions that were aborted, as the broker sent them along.
        """
        transactions = Transactions(aborted)
        while fetched.has_next():
            batch: Any = None
            try:
                batch = fetched.next_batch()
                decoded = _decoded(batch, transactions)
            except Exception as error:  # noqa: BLE001 -- each decompressor has errors of its own
                met = self._meet(at, position)
                if met < FETCHES:
                    return
                decoded = Batch((), _behind(batch, position))
                if met == FETCHES:
                    self._passed_over(UnreadableBatch(at, position, decoded.next_offset - 1, _reason(error)))
            yield decoded
            if batch is None:  # the offset of the next batch is unknown
                return
            position = max(position, decoded.next_offset)

    def _meet(self, at: Partition, position: int) -> int:
        if len(self._met) >= REMEMBERED:
            self._met.clear()
        self._met[at, position] = met = self._met.get((at, position), 0) + 1
        return met


class Fetched:
    """Decoded batches in place of aiokafka's ``MemoryRecords``."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._next = next(batches, None)

    def has_next(self) -> bool:
        """Whether there is another batch."""
        return self._next is not None

    def next_batch(self) -> Batch | None:
        """The next batch."""
        batch, self._next = self._next, next(self._batches, None)
        return batch


def check_codecs() -> None:
    """Check that this client can read every compression of Kafka.

    Raises:
        LogRefusedError: a library is missing, and without it each compressed record would count as unreadable.
    """
    known = (aiokafka.codec.has_gzip, aiokafka.codec.has_snappy, aiokafka.codec.has_lz4, aiokafka.codec.has_zstd)
    if not all(has() for has in known):
        raise LogRefusedError("compressed records of Kafka cannot be read: install aiokafka[lz4,snappy,zstd]")


def _decoded(batch: Any, transactions: Transactions) -> Batch:
    if not batch.validate_crc():
        raise CorruptRecordException("invalid CRC")
    return Batch(list(batch) if transactions.counts(batch) else (), batch.next_offset)


def _behind(batch: Any, position: int) -> int:
    """The offset to go on from behind a batch whose header may be damaged as well."""
    try:
        behind = int(batch.next_offset)
    except Exception:  # noqa: BLE001 - there is no batch at all
        return position + 1
    return behind if position < behind <= position + MOST_RECORDS else position + 1


def _reason(error: Exception) -> str:
    text = " ".join(str(error.args[0] if error.args else "").split())[:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
