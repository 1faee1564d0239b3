"""The marks by which a worker claims a request, and the attempt that one of them stands for. No I/O."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from weir.answering.continuing import ContinuationPlan
from weir.chat import frames
from weir.chat.fold import Answer
from weir.chat.frames import Frame, FrameKind
from weir.chat.notes import Notes
from weir.chat.requests import ChatRequest


@dataclass(frozen=True, slots=True)
class Claim:
    """A begin mark that was appended together with its request."""

    attempt: str
    landing: Awaitable[int]  # the mark's offset
    accepted: Callable[[], Awaitable[bool]]  # waits until it is known whether the request is in the log


@dataclass(frozen=True, slots=True)
class Attempt:
    """One LLM call for a request, or an attempt that needs none."""

    id: str
    does: ContinuationPlan
    notes: Notes = field(default_factory=Notes)  # of its output, while it is generated


class Marks:
    """The marks that this worker has made for one request."""

    def __init__(self) -> None:
        self._unused: dict[str, ContinuationPlan] = {}
        self.used: set[str] = set()
        self.void = 0  # number of marks that were read back and do not count

    def add(self, attempt: str, does: ContinuationPlan) -> None:
        """Note a mark that is about to be appended."""
        self._unused[attempt] = does

    def use(self, known: Answer) -> Attempt | None:
        """Take the current attempt, if this worker marked it and has not called the LLM for it yet.

        The log may have been too slow to show the mark in time. No other worker calls for it, so a second mark would
        only count as one more of the request's attempts.
        """
        does = self._unused.pop(known.attempt, None)
        if does is None:
            return None
        self.used.add(known.attempt)
        return Attempt(known.attempt, does)


def encode_mark(request: ChatRequest, known: Answer, attempt: str, kind: FrameKind) -> bytes:
    """Encode the mark of a new attempt as a record of chat-chunks. It counts only if ``known`` is all that there is."""
    mark = Frame(
        uid=request.uid,
        rid=known.rid,
        kind=kind,
        attempt=attempt,
        after=known.last,
        fingerprint=request.fingerprint,
    )
    return frames.encode(mark, event_id=attempt, tenant=request.tenant)
