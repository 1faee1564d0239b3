"""Rebuilds the terminals table, from chat-requests and chat-chunks through the fold of answers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import ClassVar, cast

import orjson

from weir import envelope, topics
from weir.chat import frames
from weir.chat.ends import EndedRequest
from weir.chat.fold import Answer, fold
from weir.chat.frames import ANYBODY, Frame
from weir.chat.kafka_door import request_in
from weir.chat.lifecycle import Happening
from weir.chat.requests import ChatRequest
from weir.envelope import Json, MalformedRecordError
from weir.errors import InvalidRequestError
from weir.log.log import Record
from weir.replay.verify.folds.base import before
from weir.settings import Settings


@dataclass(slots=True)
class _Uid:
    """The records about one uid."""

    asked: list[tuple[float, str, str, str, int]] = field(default_factory=list)  # time, rid, fingerprint, tenant, from
    answers: dict[str, Answer] = field(default_factory=dict)  # by rid
    ended_at: dict[str, float] = field(default_factory=dict)  # by rid
    unaddressed: list[tuple[int, float, Frame]] = field(default_factory=list)  # ends whose writer did not know the rid
    forgotten: dict[str, float] = field(default_factory=dict)  # when, by rid


class TerminalsFold:
    """Rebuilds one partition of the terminals table.

    Args:
        oldest_s: time of the oldest record that is left of a topic which has lost some; 0 if none is gone.
        settings: the settings by which the Kafka door checks requests that clients write to chat-requests.
    """

    ASIDE: ClassVar[Mapping[str, str]] = {}

    def __init__(self, oldest_s: float, settings: Settings) -> None:
        self._oldest_s, self._settings = oldest_s, settings
        self._uids: dict[bytes, _Uid] = {}

    async def take(self, record: Record) -> None:
        """Take a request, a frame, or the event that a request is forgotten."""
        try:
            if record.topic == topics.CHAT_REQUESTS.name:
                self._asked(record.timestamp, request_in(record, self._settings))
            elif record.topic == topics.CHAT_CHUNKS.name:
                self._said(record, frames.decode(record.value))
            else:
                self._forgotten(record)
        except (MalformedRecordError, InvalidRequestError):
            return  # a dead letter, or skipped

    def _of(self, uid: str) -> _Uid:
        return self._uids.setdefault(uid.encode(), _Uid())

    def _asked(self, at_s: float, request: ChatRequest) -> None:
        entry = (at_s, request.event_id, request.fingerprint, request.tenant, request.chunks_from)
        self._of(request.uid).asked.append(entry)

    def _said(self, record: Record, frame: Frame) -> None:
        known = self._of(frame.uid)
        if frame.rid == ANYBODY and frame.terminal is not None:
            known.unaddressed.append((record.offset, record.timestamp, frame))
            for rid in known.answers:
                self._fold(known, rid, record.offset, record.timestamp, frame)
        elif frame.rid != ANYBODY:
            self._fold(known, frame.rid, record.offset, record.timestamp, frame)

    @staticmethod
    def _fold(known: _Uid, rid: str, offset: int, at_s: float, frame: Frame) -> None:
        answer = fold(known.answers.get(rid, Answer(rid=rid)), offset, frame).answer
        known.answers[rid] = answer._replace(usage=None, finish_reasons={})  # these fields are not needed here
        if answer.terminal is not None:
            known.ended_at.setdefault(rid, at_s)

    def _forgotten(self, record: Record) -> None:
        event = envelope.decode(record.value)
        if event.event_type == Happening.FORGOTTEN:
            self._of(str(event.data.get("uid"))).forgotten[str(event.data.get("rid"))] = record.timestamp

    def rows(self) -> dict[bytes, Json]:
        """Return the rows."""
        return {key: row for key in self._uids if (row := self.row(key)) is not None}

    def row(self, key: bytes) -> Json | None:
        """Return the end of the first submission; after it is forgotten, that of the next one that came later."""
        known, free_s, row = self._uids.get(key, _Uid()), 0.0, None
        for at_s, rid, fingerprint, tenant, chunks_from in known.asked:
            if row is not None or at_s < free_s:
                continue  # answered with a mark that names the first submission
            answer, ended_at = self._answer(known, rid, chunks_from)
            if answer is None or answer.terminal is None:
                return None  # the request has not ended
            gone_s = known.forgotten.get(rid)
            if gone_s is not None:
                free_s = gone_s
                continue
            status, first, last = answer.terminal.status, answer.first, answer.last
            row = asdict(
                EndedRequest(
                    rid=rid,
                    fingerprint=fingerprint,
                    tenant=tenant,
                    status=status,
                    first=first,
                    last=last,
                    ended_at=ended_at,
                )
            )
        return row

    @staticmethod
    def _answer(known: _Uid, rid: str, chunks_from: int) -> tuple[Answer | None, float]:
        found = known.answers.get(rid)
        for offset, at_s, frame in known.unaddressed:
            if offset >= chunks_from and (found is None or found.first > offset):
                return fold(Answer(rid=rid), offset, frame).answer, at_s
        return found, known.ended_at.get(rid, 0.0)

    def read(self, key: bytes, value: bytes) -> Json:
        """Return a live row."""
        del key
        return cast("Json", orjson.loads(value))

    def whole(self, key: bytes, live: Json) -> bool:
        """Whether the request of a row came before its end; only the request shows how long before."""
        if not self._oldest_s:
            return True
        return bool(self._uids.get(key, _Uid()).asked) and not before(live["ended_at"], self._oldest_s)
