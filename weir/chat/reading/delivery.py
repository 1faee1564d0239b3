"""What each record of an answer adds for a reader. No I/O."""

from collections import deque
from dataclasses import dataclass, replace

from weir.chat.decoding import decode
from weir.chat.fold import Answer, fold
from weir.chat.frames import Frame, Status, Terminal
from weir.envelope import Json
from weir.log.log import Record


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one record adds for a reader. All empty: nothing came within the reader's waiting time."""

    partition: int = -1
    offset: int = -1
    chunks: tuple[Json, ...] = ()
    first_n: int = 0  # place of chunks[0] in its frame
    restarted: bool = False  # whether the answer starts again
    terminal: Terminal | None = None
    more: bool = False  # whether the next delivery is there already: the content of both may be sent together
    size_bytes: int = 0  # of the record


IDLE = Delivery()


def news_of(answer: Answer, records: list[Record], partition: int, taken_back: int) -> tuple[Answer, deque[Delivery]]:
    """Return what records add for a reader, up to a gap or the terminal, without anything that a restart takes back."""
    news: deque[Delivery] = deque()
    for record in records:
        frame = decode(record)
        if frame is None:
            continue
        folded = fold(answer, record.offset, frame)
        restarted = folded.answer.restarts > answer.restarts
        answer = folded.answer
        if answer.gap:
            break
        if restarted:
            news.clear()
        if record.offset < taken_back:
            continue
        if folded.chunks or restarted or (folded.counts and answer.terminal):
            chunks = (*folded.chunks, *_last_words(frame, record))
            if news:  # seldom, while an answer is written: then records come one at a time
                news.append(replace(news.pop(), more=True))
            size_bytes = len(record.value or b"")
            news.append(
                Delivery(
                    partition,
                    record.offset,
                    chunks,
                    folded.skipped,
                    restarted,
                    answer.terminal,
                    size_bytes=size_bytes,
                )
            )
    return answer, news


def _last_words(frame: Frame, record: Record) -> tuple[Json, ...]:
    """Return the end that a reader of a cancelled answer gets, in the place of the LLM's own."""
    if frame.terminal is None or frame.terminal.status is not Status.CANCELLED:
        return ()
    choice = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "cancelled"}
    return (
        {
            "id": f"chatcmpl-{frame.uid}",
            "object": "chat.completion.chunk",
            "created": int(record.timestamp),
            "model": "",
            "choices": [choice],
        },
    )
