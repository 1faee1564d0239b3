"""Decides which batches of a fetch count, where other clients write in transactions (isolation "read committed").

A broker answers such a fetch up to the oldest open transaction, and sends the records of aborted ones along, with a
list: the producer of each, and the offset at which its transaction begins. It ends at that producer's abort marker. So
every batch has to be looked at in order, once for each fetch.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

from aiokafka.record.control_record import ABORT_MARKER, ControlRecord

__all__ = ["Aborted", "Transactions"]

Aborted = tuple[int, int]
"""A transaction that was aborted: the id of its producer, and the offset at which it begins."""


class Transactions:
    """The transactions of one fetch of one partition.

    Args:
        aborted: the aborted transactions, as the broker sends them.
    """

    def __init__(self, aborted: Iterable[Aborted]) -> None:
        self._to_come = deque(sorted(aborted, key=lambda one: one[1]))
        self._aborted: set[int] = set()  # producers whose batches do not count here

    def counts(self, batch: Any) -> bool:  # aiokafka's batches share no base class
        """Whether a batch has records for a reader; call it for each batch, in order."""
        while self._to_come and self._to_come[0][1] <= batch.base_offset:
            self._aborted.add(self._to_come.popleft()[0])
        if batch.is_control_batch:
            if self._aborted and _is_abort(batch):
                self._aborted.discard(batch.producer_id)
            return False
        return not (self._aborted and batch.is_transactional and batch.producer_id in self._aborted)


def _is_abort(batch: Any) -> bool:
    marker = next(batch, None)
    return marker is not None and bool(ControlRecord.parse(marker.key) == ABORT_MARKER)
