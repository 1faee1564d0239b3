"""What the log says in the end about each request: chat-chunks, folded as every reader of it does."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from answers.completion import Completion
from answers.envelope import utc_iso
from answers.fold import Answer, fold
from answers.frames import Frame, Kind
from app import reading, topics
from transports.kafka.client import KafkaLog
from transports.log import Partition, Record
from transports.partitioner import partition_for


@dataclass(kw_only=True)
class Told:
    """One uid."""

    completion: Completion
    answers: dict[str, Answer] = field(default_factory=dict)  # by rid; a sound log has one
    terminals: int = 0  # that count
    ended_at: float = math.inf  # when the counting one was written, in seconds since the epoch
    frames: Counter[Kind] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    story: list[str] = field(default_factory=list)  # a line for each frame

    @property
    def attempts(self) -> int:
        """Marks that count."""
        return sum(answer.attempts for answer in self.answers.values())

    @property
    def text(self) -> str:
        """The whole answer."""
        choices = self.completion.result()["choices"]
        return str(choices[0]["message"]["content"] or "") if choices else ""

    def take(self, record: Record, uid: str) -> None:
        """Fold the next record."""
        frame = reading.decode(record)
        if frame is None or frame.uid != uid or record.partition != partition_for(uid.encode(), topics.CHAT_PARTITIONS):
            self.problems.append(f"no frame of its key in partition {record.partition} at {record.offset}")
            return
        self.frames[frame.kind] += 1
        folded = fold(self.answers.get(frame.rid) or Answer(rid=frame.rid), record.offset, frame)
        line = f"{utc_iso(record.timestamp)} {record.offset} {frame.kind} {frame.attempt} seq {frame.seq}"
        self.story.append(line if folded.counts else f"{line} does not count")
        if not folded.counts:
            return
        self.answers[frame.rid] = folded.answer
        self._count(frame, record.timestamp)
        for chunk in folded.chunks:
            self.completion.add(chunk)

    def _count(self, frame: Frame, written_at: float) -> None:
        if frame.kind is Kind.RESTART:
            self.completion = Completion(frame.uid)
        elif frame.kind is Kind.TERMINAL:
            self.terminals += 1
            self.ended_at = written_at


async def read_all(log: KafkaLog, uids: Iterable[str]) -> tuple[dict[str, Told], list[str]]:
    """What the log says about each uid, and the records that are about none of them."""
    told = {uid: Told(completion=Completion(uid)) for uid in uids}
    strangers = []
    for number in range(topics.CHAT_CHUNKS.partitions):
        at, position = Partition(topics.CHAT_CHUNKS.name, number), 0
        while records := await log.read(at, position):
            for record in records:
                uid = (record.key or b"").decode(errors="replace")
                if uid in told:
                    told[uid].take(record, uid)
                else:
                    strangers.append(f"partition {number} at {record.offset}: a record of {uid!r}")
            position = records[-1].offset + 1
    return told, strangers
