"""Folds answers from the records of chat-chunks and collects their content: of one request, or of many in one pass.

A restarted answer takes back its content so far. So what is collected of it (its text and tool calls, one object, its
chunks) is dropped at each restart that counts, and collected again.
"""

from collections.abc import Callable, Iterator
from typing import Final, Generic, Protocol, TypeVar

from weir.chat.decoding import decode
from weir.chat.fold import Answer, Folded, fold
from weir.chat.frames import Frame, FrameKind
from weir.chat.requests import ChatRequest
from weir.envelope import Json
from weir.log.log import Record

__all__ = ["Awaited", "Awaiting", "Chunks", "Collected"]

_OF_ANOTHER: Final = frozenset({FrameKind.ATTACH, FrameKind.CONFLICT})


class Content(Protocol):
    """A collection of an answer's content: `weir.chat.notes.Notes`, `weir.chat.completion.Completion`, `Chunks`."""

    def add(self, chunk: Json, /) -> object:
        """Add the next chunk that counts."""


S = TypeVar("S", bound=Content)


class Chunks(list[Json]):
    """All chunks of an answer that count."""

    def add(self, chunk: Json, /) -> None:
        """Add the next chunk."""
        self.append(chunk)


class Collected(Generic[S]):
    """One answer and its collected content.

    Args:
        rid: the request's rid.
        make: makes an empty collection.
    """

    __slots__ = ("_make", "answer", "said")

    def __init__(self, rid: str, make: Callable[[], S]) -> None:
        self.answer = Answer(rid=rid)
        self.said = make()
        self._make = make

    def take(self, offset: int, frame: Frame) -> Folded:
        """Fold the frame of a record, and collect those of its chunks that count."""
        folded = fold(self.answer, offset, frame)
        if folded.answer.restarts > self.answer.restarts:
            self.said = self._make()
        for chunk in folded.chunks:
            self.said.add(chunk)
        self.answer = folded.answer
        return folded


class Awaited(Collected[S]):
    """The answer that one submission of a request waits for.

    Attributes:
        request: the submission; only its ids are used here.
        start: an offset; no record of the answer is older.
        repeated: whether the answer belongs to another submission of the uid, and this one gets none of its own.
        ended_at: time of the record with the answer's end, in seconds since the epoch; 0 before the end.
    """

    __slots__ = ("ended_at", "repeated", "request", "start")

    def __init__(self, request: ChatRequest, start: int, make: Callable[[], S]) -> None:
        super().__init__(request.event_id, make)
        self.request, self.start = request, start
        self.repeated, self.ended_at = False, 0.0

    @property
    def over(self) -> bool:
        """Whether no later record changes the answer."""
        return self.repeated or self.answer.terminal is not None


class Awaiting(Generic[S]):
    """The submissions whose answers are collected in one pass over chat-chunks. Each leaves with its end.

    Args:
        make: makes an empty collection for the answer to a request.
    """

    def __init__(self, make: Callable[[ChatRequest], S]) -> None:
        self._make = make
        self._of: dict[bytes, dict[str, Awaited[S]]] = {}  # by key: the submissions of its uid, by their event id
        self._count = 0

    def __len__(self) -> int:
        """Return the number of waiting submissions."""
        return self._count

    def __iter__(self) -> Iterator[Awaited[S]]:
        """Iterate over the waiting submissions with their answers so far."""
        return (awaited for submissions in self._of.values() for awaited in submissions.values())

    def watch(self, request: ChatRequest, start: int) -> Awaited[S]:
        """Wait for the end of a submission; records below ``start`` are not about its answer."""
        awaited = Awaited(request, start, lambda: self._make(request))
        submissions = self._of.setdefault(request.key, {})
        self._count += request.event_id not in submissions
        submissions[request.event_id] = awaited
        return awaited

    def of(self, key: bytes) -> list[Awaited[S]]:
        """Return the waiting submissions of a uid."""
        return list(self._of.get(key, {}).values())

    def forget(self, awaited: Awaited[S]) -> None:
        """Stop waiting for the end of a submission."""
        key, event_id = awaited.request.key, awaited.answer.rid
        submissions = self._of.get(key, {})
        if submissions.get(event_id) is awaited:
            del submissions[event_id]
            self._count -= 1
            if not submissions:
                del self._of[key]

    def take(self, record: Record) -> list[Awaited[S]]:
        """Fold the next record of any partition, in each partition's order; return the answers that it ends."""
        submissions = self._of.get(record.key or b"")
        waiting = [one for one in submissions.values() if record.offset >= one.start] if submissions else ()
        frame = decode(record) if waiting else None
        if frame is None:
            return []
        for one in waiting:
            one.repeated = frame.kind in _OF_ANOTHER and frame.submission == one.request.event_id
            one.take(record.offset, frame)
        over = [one for one in waiting if one.over]
        for one in over:
            one.ended_at = record.timestamp
            self.forget(one)
        return over
