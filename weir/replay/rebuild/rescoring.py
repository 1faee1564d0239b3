"""Scores feedback with the present formula: the numbers of each piece, and signals with these numbers."""

import hashlib
from dataclasses import dataclass, replace

from weir import envelope
from weir.envelope import Json, MalformedRecordError
from weir.errors import InvalidRequestError
from weir.events.catalogue import data_of
from weir.events.feedback import FeedbackSubmitted
from weir.events.signals import SignalRecorded
from weir.feedback import joining, pieces, rules
from weir.feedback.joining import Worth
from weir.insights.reading import Measured
from weir.log.log import Record
from weir.log.partitioner import partition_for
from weir.settings import Settings

KEY_BYTES = 16  # of a piece of feedback: enough that no two share a key


@dataclass(slots=True)
class Counted:
    """Counts of rescored signals."""

    seen: int = 0
    changed: int = 0
    unknown: int = 0  # signals whose feedback is not in the log any more: they keep their numbers
    old: float = 0.0  # sums of scores
    new: float = 0.0

    def add(self, other: "Counted") -> None:
        """Add the counts of another instance."""
        self.seen, self.changed = self.seen + other.seen, self.changed + other.changed
        self.unknown, self.old, self.new = self.unknown + other.unknown, self.old + other.old, self.new + other.new

    def as_json(self) -> Json:
        """The counts as JSON, with means instead of sums."""
        mean = {name: round(total / self.seen, 6) if self.seen else None for name, total in self._sums()}
        return {"seen": self.seen, "changed": self.changed, "unknown": self.unknown, **mean}

    def _sums(self) -> tuple[tuple[str, float], ...]:
        return ("mean_score_before", self.old), ("mean_score_after", self.new)


class Formula:
    """The numbers of the feedback in the log: some 150 bytes for each piece.

    Args:
        settings: limits of what counts as feedback.
        partitions: the number of partitions of ai-feedback-events.
        from_ms: feedback given before keeps its numbers; milliseconds since the epoch.
    """

    def __init__(self, settings: Settings, partitions: int, from_ms: int) -> None:
        self._settings, self._partitions, self.from_ms = settings, partitions, from_ms
        self._worth: dict[bytes, Worth] = {}
        self._same: dict[Worth, Worth] = {}  # most are equal

    def add(self, record: Record) -> None:
        """Take one record of ai-feedback-events; the first one of a piece counts, as it did for its agent."""
        try:
            event = envelope.decode(record.value)
            if event.event_type != FeedbackSubmitted.EVENT_TYPE:
                return
            data = data_of(event, FeedbackSubmitted)
            if partition_for(data.uid.encode(), self._partitions) != record.partition:
                return  # it was moved to the right partition
            rules.check(data, self._settings)
        except (MalformedRecordError, InvalidRequestError):
            return  # a dead letter
        piece = pieces.piece_of(
            data,
            feedback_id=event.event_id,
            tenant=event.tenant_id,
            given_at="",
            received_at="",
            offset=record.offset,
            edit_distance=joining.edit_distance(data),
        )
        worth = joining.worth_of(piece)
        self._worth.setdefault(_key(event.tenant_id, data.uid, event.event_id), self._same.setdefault(worth, worth))

    def worth(self, tenant: str, uid: str, feedback_id: str) -> Worth | None:
        """The numbers of a piece; None if it is not in the log."""
        return self._worth.get(_key(tenant, uid, feedback_id))

    def today(self, measured: Measured) -> Worth | None:
        """The present numbers of a signal; None if it keeps its own, and for any other event."""
        data = measured.data
        if not isinstance(data, SignalRecorded) or measured.at_ms < self.from_ms:
            return None
        return self.worth(measured.name.partition(":")[0], data.uid, data.feedback_id)

    def rescored(self, measured: Measured, counted: Counted | None = None) -> Measured:
        """A signal with its present numbers; any other event unchanged."""
        data = measured.data
        if not isinstance(data, SignalRecorded) or measured.at_ms < self.from_ms:
            return measured
        found = self.today(measured)
        now = found or Worth(data.score, data.weight)
        changed = now != (data.score, data.weight)
        if counted is not None:
            counted.seen, counted.changed = counted.seen + 1, counted.changed + changed
            counted.unknown += found is None
            counted.old, counted.new = counted.old + data.score, counted.new + now.score
        if not changed:
            return measured
        return replace(measured, data=data.model_copy(update=now._asdict()))


def _key(tenant: str, uid: str, feedback_id: str) -> bytes:
    return hashlib.blake2b(repr((tenant, uid, feedback_id)).encode(), digest_size=KEY_BYTES).digest()
