"""Short ways to write frames, and a reader that holds the text which a client has."""

from collections.abc import Iterable, Sequence
from typing import Any

from weir.chat.fold import Answer, Folded, fold
from weir.chat.frames import Frame, FrameKind, Status, Terminal
from weir.envelope import Json

UID, RID = "req-1", "evt-1"
DONE = Terminal(status=Status.COMPLETED, finish_reason="stop")
FAILED = Terminal(status=Status.FAILED, error={"message": "no", "status": 502})


def frame(kind: FrameKind, attempt: str = "", *, rid: str = RID, **fields: Any) -> Frame:
    return Frame(uid=UID, rid=rid, kind=kind, attempt=attempt, **fields)


def begin(attempt: str, *, after: int = -1) -> Frame:
    return frame(FrameKind.BEGIN, attempt, after=after, fingerprint="f")


def restart(attempt: str, *, after: int) -> Frame:
    return frame(FrameKind.RESTART, attempt, after=after, fingerprint="f")


def takeover(attempt: str, *, after: int) -> Frame:
    return frame(FrameKind.TAKEOVER, attempt, after=after, fingerprint="f")


def chunk(content: str | None, finish_reason: str | None = None, index: int = 0) -> Json:
    delta = {} if content is None else {"content": content}
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]}


def says(attempt: str, seq: int, *texts: str) -> Frame:
    """A token frame: one chunk for each text."""
    return frame(FrameKind.CHUNKS, attempt, seq=seq, chunks=[chunk(text) for text in texts])


def beat(attempt: str) -> Frame:
    return frame(FrameKind.HEARTBEAT, attempt)


def ends(attempt: str, terminal: Terminal = DONE) -> Frame:
    return frame(FrameKind.TERMINAL, attempt, terminal=terminal)


def text_of(chunks: Iterable[Json]) -> list[str]:
    return [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]


class Reader:
    """Folds frames, and keeps the chunks since the last restart."""

    def __init__(self, rid: str = RID) -> None:
        self.answer = Answer(rid=rid)
        self.said: list[str] = []
        self.counted: list[int] = []

    def read(self, offset: int, frame_: Frame) -> Folded:
        folded = fold(self.answer, offset, frame_)
        if folded.answer.restarts > self.answer.restarts:
            self.said = []
        assert folded.first_seq == len(self.said) or not folded.chunks
        self.said += text_of(folded.chunks)
        if folded.counts:
            self.counted.append(offset)
        self.answer = folded.answer
        return folded


def read_all(log: Sequence[Frame], start: int = 0) -> Reader:
    """A reader that was given all frames from an offset on."""
    reader = Reader()
    for offset, one in enumerate(log[start:], start):
        reader.read(offset, one)
    return reader
