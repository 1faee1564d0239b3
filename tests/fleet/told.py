"""Reads the log after a run: the accepted requests, and the end of each.

A request is accepted if it is in chat-requests, whether its client knows or not. Its end is folded from chat-chunks as
every reader does it.
"""

import math
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tests.defaults import CHAT_PARTITIONS
from tests.fleet.seen import Seen
from weir import topics
from weir.chat import requests
from weir.chat.completion import Completion
from weir.chat.decoding import decode
from weir.chat.fold import Answer, fold
from weir.chat.frames import ANYBODY, ASIDE, Frame, FrameKind, Status
from weir.envelope import utc_iso
from weir.log.kafka.client import KafkaLog
from weir.log.log import Partition, Record
from weir.log.partitioner import partition_for
from weir.topics import Topic


@dataclass(kw_only=True)
class Told:
    """The frames of one uid."""

    answer: Answer
    completion: Completion
    ended_at: float = math.inf  # when the counting terminal was written, in seconds since the epoch
    frames: Counter[FrameKind] = field(default_factory=Counter)
    repeated: int = 0  # tokens that do not count, or were taken back: generated twice
    problems: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)  # a line for each mark, and for each row of chunks
    _row: tuple[str, bool] | None = None  # the chunks of the last line: their attempt, and whether they count

    @property
    def status(self) -> Status | None:
        """The end of the request."""
        return self.answer.terminal.status if self.answer.terminal else None

    @property
    def spoke(self) -> bool:
        """Whether any frame but a begin mark was written."""
        return self.frames.keys() != {FrameKind.BEGIN}

    @property
    def text(self) -> str:
        """The whole answer."""
        choices = self.completion.result()["choices"]
        return str(choices[0]["message"]["content"] or "") if choices else ""

    def take(self, record: Record, uid: str) -> None:
        """Fold the next record."""
        frame = decode(record)
        if frame is None or frame.uid != uid or record.partition != partition_for(uid.encode(), CHAT_PARTITIONS):
            self.problems.append(f"no frame of its key in partition {record.partition} at {record.offset}")
            return
        self.frames[frame.kind] += 1
        before = self.answer
        if frame.rid not in {before.rid, ANYBODY} and frame.kind not in ASIDE:
            self.problems.append(f"{frame.kind} at {record.offset} is of another identity: {frame.rid}")
        folded = fold(before, record.offset, frame)
        self._tell(record, frame, counts=folded.counts)
        self.repeated += len(frame.chunks) - len(folded.chunks)
        if folded.answer.restarts > before.restarts:
            self.repeated += before.next_seq
        if not folded.counts:
            return
        self.answer = folded.answer
        if frame.kind is FrameKind.RESTART:
            self.completion = Completion(frame.uid)
        elif frame.kind is FrameKind.TERMINAL:
            self.ended_at = record.timestamp
        for chunk in folded.chunks:
            self.completion.add(chunk)

    def _tell(self, record: Record, frame: Frame, *, counts: bool) -> None:
        row = (frame.attempt, counts) if frame.kind is FrameKind.CHUNKS else None
        if row is not None and row == self._row:
            self.story[-1] = self.story[-1].partition(" to ")[0] + f" to seq {frame.seq} at {utc_iso(record.timestamp)}"
            return
        self._row = row
        line = f"{utc_iso(record.timestamp)} {record.offset} {frame.kind} {frame.attempt} seq {frame.seq}"
        self.story.append(line if counts else f"{line} does not count")


SeenT = TypeVar("SeenT", bound=Seen[Any])


@dataclass(kw_only=True)
class Accepted(Generic[SeenT]):
    """A request that is in chat-requests."""

    uid: str
    seen: SeenT  # the client that asked for it
    told: Told


async def read_accepted(log: KafkaLog, all_seen: list[SeenT]) -> tuple[list[Accepted[SeenT]], list[str]]:
    """Every accepted request, and the records that are none."""
    asked = {seen.ask.prompt: seen for seen in all_seen}
    accepted: dict[str, Accepted[SeenT]] = {}
    strangers = []
    async for record in read_all(log, topics.CHAT_REQUESTS):
        request = requests.decode(record.value)
        seen = asked.get(request.body["messages"][0]["content"])
        if seen is None or record.key != request.key:
            strangers.append(
                f"chat-requests {record.partition} at {record.offset}: no client asked for {request.uid!r}"
            )
        elif request.uid not in accepted:
            told = Told(answer=Answer(rid=request.event_id), completion=Completion(request.uid))
            accepted[request.uid] = Accepted(uid=request.uid, seen=seen, told=told)
    return list(accepted.values()), strangers


async def read_answers(log: KafkaLog, accepted: list[Accepted[SeenT]]) -> list[str]:
    """Fold the frames of each request; returns problems with frames of other uids."""
    told = {one.uid: one.told for one in accepted}
    others: dict[str, Told] = {}
    async for record in read_all(log, topics.CHAT_CHUNKS):
        uid = (record.key or b"").decode(errors="replace")
        one = told.get(uid) or others.setdefault(uid, Told(answer=Answer(rid=""), completion=Completion(uid)))
        one.take(record, uid)
    # A door may write the begin mark of a request that then does not get into the log: nothing may follow it.
    return [f"{uid!r} was never accepted, and says {other.story}" for uid, other in others.items() if other.spoke]


async def read_all(log: KafkaLog, topic: Topic) -> AsyncIterator[Record]:
    """All records of a topic."""
    for number in range(log.partitions(topic.name)):
        at, position = Partition(topic.name, number), 0
        while records := await log.read(at, position):
            for record in records:
                yield record
            position = records[-1].offset + 1
