"""The one function that reads an answer out of the log; every decision and every delivery uses it.

Several workers may write for one request: a worker that was paused, one that lost its partition, one that took over.
There are no locks. Instead every reader folds the request's frames in log order with the same rules, so all of them
agree on which frames count (DESIGN section 5):

* A begin, takeover or restart mark counts only if its ``after`` is still the offset of the last counting record when
  the mark lands. So of two marks that were decided on the same knowledge, the first wins, for every reader.
* Only a counting mark ends the attempt before it; frames of any other attempt are ignored.
* Within an attempt a chunk below the expected ``seq`` is a repetition and dropped; one above it is a gap, which is a
  bug: it is flagged, and the stream fails rather than hides it.
* A handoff closes its attempt: its later records do not count.
* The first terminal that counts is final. A cancelled or expired one counts from any writer, others only from the
  current attempt. A writer that does not know which submission of the uid came first leaves the rid open (ANYBODY).
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from weir.chat.frames import ANYBODY, ASIDE, CLAIMS, ENDED_WITHOUT_ATTEMPT, Frame, FrameKind, Terminal
from weir.envelope import Json
from weir.llm.choices import WEIR_FINISH
from weir.llm.chunks import finish_reasons


class Answer(NamedTuple):
    """The state of one request (``rid``) after folding its frames up to some offset."""

    rid: str
    attempt: str = ""  # the current attempt, whose frames count
    attempts: int = 0  # counting marks so far
    first: int = -1  # offset of the first counting mark
    last: int = -1  # offset of the last counting record
    next_seq: int = 0  # the number that the next chunk must have
    restarts: int = 0
    gap: bool = False
    closed: bool = False  # whether the attempt is over without a terminal
    terminal: Terminal | None = None
    finish_reasons: Mapping[int, str] = MappingProxyType({})  # by choice
    weir_finish: str | None = None  # what set choice 0's finish reason, if the model did not
    usage: Json | None = None  # the last usage that the upstream sent
    ended_at: float | None = None  # time of the terminal in seconds since the epoch, if the reader knows it


class Folded(NamedTuple):
    """The new state, and what this frame added for a reader."""

    answer: Answer
    counts: bool
    chunks: Sequence[Json] = ()  # new chunks only
    first_seq: int = 0  # number of chunks[0]
    skipped: int = 0  # repeated chunks of the frame before chunks[0]


def fold(answer: Answer, offset: int, frame: Frame) -> Folded:
    """Fold one frame, read at ``offset``, into the state. Pure; frames of other requests change nothing."""
    without_attempt = (
        not frame.attempt and frame.terminal is not None and frame.terminal.status in ENDED_WITHOUT_ATTEMPT
    )
    ours = frame.rid == answer.rid or (without_attempt and frame.rid == ANYBODY)
    if not ours or answer.terminal is not None or frame.kind in ASIDE:
        return Folded(answer, counts=False)
    if frame.kind in CLAIMS:
        return _mark(answer, offset, frame)
    if without_attempt:
        first = offset if answer.first < 0 else answer.first
        return Folded(answer._replace(first=first, last=offset, terminal=frame.terminal), counts=True)
    if frame.attempt != answer.attempt or not answer.attempt or answer.closed:
        return Folded(answer, counts=False)
    return _of_attempt(answer, offset, frame)


def _of_attempt(answer: Answer, offset: int, frame: Frame) -> Folded:
    if frame.kind is FrameKind.CHUNKS:
        return _chunks(answer, offset, frame)
    if frame.kind is FrameKind.HANDOFF:
        return Folded(answer._replace(last=offset, closed=True), counts=True)
    lost = frame.kind is FrameKind.TERMINAL and frame.seq > answer.next_seq  # chunks that never arrived
    return Folded(answer._replace(last=offset, terminal=frame.terminal, gap=answer.gap or lost), counts=True)


def _mark(answer: Answer, offset: int, frame: Frame) -> Folded:
    if frame.after != answer.last:
        return Folded(answer, counts=False)
    restart = frame.kind is FrameKind.RESTART
    marked = answer._replace(
        attempt=frame.attempt,
        attempts=answer.attempts + 1,
        first=offset if answer.first < 0 else answer.first,
        last=offset,
        closed=False,
        next_seq=0 if restart else answer.next_seq,
        restarts=answer.restarts + restart,
        finish_reasons={} if restart else answer.finish_reasons,
        weir_finish=None if restart else answer.weir_finish,
        usage=None if restart else answer.usage,
    )
    return Folded(marked, counts=True)


def _chunks(answer: Answer, offset: int, frame: Frame) -> Folded:
    skipped = max(0, answer.next_seq - frame.seq)
    new = frame.chunks[skipped:]
    if frame.seq > answer.next_seq:
        return Folded(answer._replace(last=offset, gap=True), counts=True)
    reasons = finish_reasons(new)
    extended = answer._replace(
        last=offset,
        next_seq=answer.next_seq + len(new),
        finish_reasons={**answer.finish_reasons, **reasons} if reasons else answer.finish_reasons,
        weir_finish=(weir_finish(new) or answer.weir_finish) if reasons else answer.weir_finish,
        usage=next((chunk["usage"] for chunk in reversed(new) if chunk.get("usage")), answer.usage),
    )
    return Folded(extended, counts=True, chunks=new, first_seq=answer.next_seq, skipped=min(skipped, len(frame.chunks)))


def weir_finish(chunks: Iterable[Json]) -> str | None:
    """Return what ended choice 0 in these chunks, if it was not the model; None if it was, or if it has not ended."""
    for chunk in chunks:
        for choice in chunk.get("choices") or ():
            if not choice.get("index") and choice.get(WEIR_FINISH):
                return str(choice[WEIR_FINISH])
    return None
