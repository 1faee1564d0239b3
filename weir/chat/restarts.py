"""Finds where an answer was restarted, once for all its readers and without holding the answer.

A reader that comes after a restart must not get the chunks before it. So a reader of a long answer has to know the last
restart before it begins, and reads page by page. A restart mark is found by its bytes; whether it counts is folded from
the record that its writer took for the last counting one (``after``), as a resumed reader folds, so the rest of the
answer is not decoded for it.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from weir.chat.decoding import decode
from weir.chat.fold import Answer, fold
from weir.chat.frames import Frame, FrameKind
from weir.log.log import Partition
from weir.log.tails import Tails

KNOWN_MAX = 1024  # answers with readers whose marks are remembered
READERS_MAX = 2  # answers that are searched at the same time
_MARK = b'"restart"'  # of the frame's ``mark``; in a text of the answer its quotes are escaped


@dataclass(slots=True)
class _Mark:
    offset: int
    rid: str
    after: int
    counts: bool | None = None  # None: not checked yet


@dataclass(slots=True)
class _Searched:
    """The restart marks of one uid between two offsets."""

    start: int
    upto: int
    marks: list[_Mark] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Restarts:
    """The restarts in the answers that one worker reads."""

    def __init__(self, tails: Tails) -> None:
        self._tails = tails
        self._known: OrderedDict[tuple[Partition, bytes], _Searched] = OrderedDict()
        self._searching = asyncio.Semaphore(READERS_MAX)

    async def last(self, at: Partition, key: bytes, rid: str, *, position: int, upto: int) -> int:
        """Return the offset of the last restart that counts, from ``position`` on and below ``upto``; -1: none.

        Raises:
            LogError: the log cannot be read.
        """
        known = self._known.get((at, key))
        if known is None or known.start > position:
            known = self._known[at, key] = _Searched(position, position)
        self._known.move_to_end((at, key))
        while len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        async with known.lock:
            if known.upto < upto:
                async with self._searching:
                    await self._search(known, at, key, upto)
            for mark in reversed(known.marks):
                if mark.rid == rid and position <= mark.offset < upto:
                    if mark.counts is None:
                        mark.counts = await self._counts(at, key, mark)
                    if mark.counts:
                        return mark.offset
        return -1

    async def _search(self, known: _Searched, at: Partition, key: bytes, upto: int) -> None:
        async with self._tails.open(at, known.upto, key=key) as tail:
            async for records in tail.pages(upto):
                for record in records:
                    if _MARK in (record.value or b""):
                        frame = decode(record)
                        if frame is not None and frame.kind is FrameKind.RESTART:
                            known.marks.append(_Mark(record.offset, frame.rid, frame.after))
                known.upto = records[-1].offset + 1
            known.upto = max(known.upto, upto)

    async def _counts(self, at: Partition, key: bytes, mark: _Mark) -> bool:
        """Whether a mark counts: fold from the record that its writer took for the last counting one to the mark."""
        answer: Answer | None = None if mark.after >= 0 else Answer(rid=mark.rid)
        async with self._tails.open(at, max(mark.after, 0), key=key) as tail:
            async for records in tail.pages(mark.offset + 1):
                for record in records:
                    frame = decode(record) if record.offset <= mark.offset else None
                    if frame is None:
                        continue
                    if answer is None:
                        if record.offset != mark.after or frame.rid != mark.rid or frame.terminal is not None:
                            return False
                        answer = _as_of(frame, record.offset)
                        continue
                    answer = fold(answer, record.offset, frame).answer
                    if record.offset == mark.offset:
                        return answer.last == mark.offset and answer.restarts > 0
        return False


def _as_of(frame: Frame, offset: int) -> Answer:
    """Return an answer whose last counting record is this frame: enough to tell which frames count next."""
    seq, closed = frame.seq + len(frame.chunks), frame.kind is FrameKind.HANDOFF
    return Answer(rid=frame.rid, attempt=frame.attempt, attempts=1, last=offset, next_seq=seq, closed=closed)


_OF_TAILS: "WeakKeyDictionary[Tails, Restarts]" = WeakKeyDictionary()


def restarts_of(tails: Tails) -> Restarts:
    """Return the one object for all readers of these tails."""
    found = _OF_TAILS.get(tails)
    if found is None:
        found = _OF_TAILS[tails] = Restarts(tails)
    return found
