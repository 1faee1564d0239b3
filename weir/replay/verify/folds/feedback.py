"""Rebuilds the feedback table, from ai-feedback-events and the ends of requests."""

from collections.abc import Mapping
from typing import ClassVar

from weir import envelope, topics
from weir.envelope import Event, Json, MalformedRecordError, utc_iso
from weir.errors import InvalidRequestError
from weir.events.catalogue import data_of
from weir.events.feedback import FeedbackExpired, FeedbackRescored, FeedbackSubmitted
from weir.feedback import folding, joining, pieces
from weir.feedback.pieces import Piece
from weir.feedback.rules import Count
from weir.log.log import Record
from weir.log.partitioner import partition_for
from weir.replay.verify.folds.base import JsonRows, before
from weir.replay.verify.folds.requests import RequestsFold
from weir.settings import Settings


class FeedbackFold(JsonRows):
    """Rebuilds one partition of the feedback table.

    Args:
        oldest_s: time of the oldest record that is left of a topic which has lost some; 0 if none is gone.
        settings: limits of feedback.
        partitions: the number of partitions of ai-feedback-events.
    """

    ASIDE: ClassVar[Mapping[str, str]] = {
        "received_at": "the clock of the worker that took it",
        "recorded_at": "the clock of the worker that joined it",
    }

    def __init__(self, oldest_s: float, settings: Settings, partitions: int) -> None:
        self._oldest_s, self._settings, self._partitions = oldest_s, settings, partitions
        self._requests = RequestsFold(oldest_s)
        super().__init__()

    async def take(self, record: Record) -> None:
        """Take a record of feedback, or of a trace event."""
        try:
            event = envelope.decode(record.value)
            if record.topic == topics.AGENT_TRACES.name:
                self._requests.fold(event)
                self._join(str(event.data.get("uid")))
            elif isinstance(uid := event.data.get("uid"), str) and self._at_home(uid, record):
                self._take(record, event, uid)
        except (MalformedRecordError, InvalidRequestError):
            return  # a dead letter

    def _at_home(self, uid: str, record: Record) -> bool:
        return partition_for(uid.encode(), self._partitions) == record.partition

    def _take(self, record: Record, event: Event, uid: str) -> None:
        row = self.known.get(uid.encode())
        if event.event_type == FeedbackExpired.EVENT_TYPE:
            self._join(uid)
            self._set(uid, folding.expire(self.known.get(uid.encode()), data_of(event, FeedbackExpired)))
        elif event.event_type == FeedbackRescored.EVENT_TYPE:
            self._set(uid, folding.rescore(row, data_of(event, FeedbackRescored)))
        else:
            self._keep(record, event, data_of(event, FeedbackSubmitted))

    def _keep(self, record: Record, event: Event, data: FeedbackSubmitted) -> None:
        folding.check(event, data, self._settings)
        piece = pieces.piece_of(
            data,
            feedback_id=event.event_id,
            tenant=event.tenant_id,
            given_at=pieces.given_at(event.timestamp, record.timestamp),
            received_at=utc_iso(record.timestamp),
            offset=record.offset,
            edit_distance=joining.edit_distance(data),
        )
        key = data.uid.encode()
        kept = folding.keep(self.known.get(key), piece, self._requests.row(key), self._settings)
        if kept.counts_as is Count.RECEIVED:
            self._set(data.uid, kept.pieces)
            self._join(data.uid)

    def _join(self, uid: str) -> None:
        request, row = self._requests.row(uid.encode()), self.known.get(uid.encode())
        signals = folding.due(row, request)
        if request is not None and signals is not None:
            self._set(uid, folding.join(row, signals, request, "").pieces)

    def _set(self, uid: str, kept: list[Piece]) -> None:
        self._put(uid.encode(), pieces.row_of(uid, kept))

    def whole(self, key: bytes, live: Json) -> bool:
        """Whether the log still has the row's pieces, and the beginning of its request."""
        request = self._requests.row(key)
        times = [piece["received_at"] for piece in live.get("pieces", ())]
        if request is not None:
            times.append(request.get("accepted_at"))
        return not any(before(time, self._oldest_s) for time in times)
