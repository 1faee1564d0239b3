"""Rebuilds the feedback table, from ai-feedback-events and the ends of requests."""

from collections.abc import Mapping
from typing import ClassVar, cast

import orjson

from weir import envelope, topics
from weir.chat.lifecycle import TERMINAL
from weir.envelope import Event, Json, MalformedRecordError, utc_iso
from weir.errors import InvalidRequestError
from weir.events.catalogue import data_of
from weir.events.feedback import FeedbackExpired, FeedbackRescored, FeedbackSubmitted
from weir.feedback import joining, pieces, rules
from weir.feedback.pieces import Piece
from weir.feedback.rules import ID_MAX
from weir.log.log import Record
from weir.log.partitioner import partition_for
from weir.replay.verify.folds.base import before
from weir.replay.verify.folds.requests import RequestsFold
from weir.settings import Settings


class FeedbackFold:
    """One partition of the table.

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
        self._known: dict[bytes, Json] = {}

    async def take(self, record: Record) -> None:
        """Take a record of feedback, or of a trace event."""
        try:
            told = envelope.decode(record.value)
            if record.topic == topics.AGENT_TRACES.name:
                self._requests.fold(told)
                self._join(str(told.data.get("uid")))
            elif isinstance(uid := told.data.get("uid"), str) and self._at_home(uid, record):
                self._take(record, told, uid)
        except (MalformedRecordError, InvalidRequestError):
            return  # a dead letter

    def _at_home(self, uid: str, record: Record) -> bool:
        return partition_for(uid.encode(), self._partitions) == record.partition

    def _take(self, record: Record, told: Event, uid: str) -> None:
        row = self._known.get(uid.encode())
        if told.event_type == FeedbackExpired.EVENT_TYPE:
            self._join(uid)
            data = data_of(told, FeedbackExpired)
            limits = {"waiting_before": data.waiting_before, "known_before": data.known_before}
            self._put(uid, pieces.expired(self._known.get(uid.encode()), **limits))
        elif told.event_type == FeedbackRescored.EVENT_TYPE:
            rescored = data_of(told, FeedbackRescored)
            numbers = {name: one.model_dump() for name, one in rescored.signals.items()}
            self._put(uid, pieces.rescored(row, numbers))
        else:
            self._keep(record, told, data_of(told, FeedbackSubmitted))

    def _keep(self, record: Record, told: Event, data: FeedbackSubmitted) -> None:
        rules.check(data, self._settings)
        known = pieces.pieces(self._known.get(data.uid.encode()))
        request = self._requests.row(data.uid.encode())
        foreign = request is not None and request["tenant"] != told.tenant_id
        if foreign or _is_replay(request) or max(len(told.event_id), len(told.tenant_id)) > ID_MAX:
            return
        if any(one.feedback_id == told.event_id for one in known):
            return
        if len(known) >= self._settings.feedback_per_request_max:
            return
        piece = pieces.piece_of(
            data,
            feedback_id=told.event_id,
            tenant=told.tenant_id,
            given_at=pieces.given_at(told.timestamp, record.timestamp),
            received_at=utc_iso(record.timestamp),
            offset=record.offset,
            edit_distance=joining.edit_distance(data),
        )
        self._put(data.uid, [*known, piece])
        self._join(data.uid)

    def _join(self, uid: str) -> None:
        request, row = self._requests.row(uid.encode()), self._known.get(uid.encode())
        if request is None or request["state"] not in TERMINAL or _is_replay(request) or not pieces.waiting(row):
            return
        tenant = request["tenant"]
        signals = {
            piece.feedback_id: joining.kept(piece, joining.signal_of(piece, request), "")
            for piece in pieces.waiting(row)
            if piece.tenant == tenant
        }
        kept = pieces.joined(row, signals, request.get("session_id"))
        self._put(uid, [piece for piece in kept if piece.tenant == tenant])

    def _put(self, uid: str, kept: list[Piece]) -> None:
        row = pieces.row_of(uid, kept)
        if row is None:
            self._known.pop(uid.encode(), None)
        else:
            self._known[uid.encode()] = row

    def rows(self) -> dict[bytes, Json]:
        """The rows."""
        return self._known

    def row(self, key: bytes) -> Json | None:
        """One row."""
        return self._known.get(key)

    def read(self, key: bytes, value: bytes) -> Json:
        """A live row."""
        del key
        return cast("Json", orjson.loads(value))

    def whole(self, key: bytes, live: Json) -> bool:
        """Whether the log still has its pieces, and the beginning of its request."""
        request = self._requests.row(key)
        times = [piece["received_at"] for piece in live.get("pieces", ())]
        if request is not None:
            times.append(request.get("accepted_at"))
        return not any(before(time, self._oldest_s) for time in times)


def _is_replay(request: Json | None) -> bool:
    """Whether an answer is a replay's, which takes no feedback."""
    return request is not None and request.get("replay") is not None
