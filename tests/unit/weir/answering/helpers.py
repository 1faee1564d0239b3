"""A request, a model that a test controls, and an answering worker on a log in memory."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.unit.weir.chat.helpers import RID, UID, chunk, read_all
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog, tails_of
from tests.unit.weir.workers import FakeMembership, worker_of
from weir import topics
from weir.answering.answering import Answering
from weir.answering.continuing import Continuation
from weir.answering.marks import Attempt
from weir.answering.rules import Rules
from weir.answering.slots import Slot, Slots
from weir.chat import frames
from weir.chat.fold import Answer
from weir.chat.frames import Frame, FrameKind
from weir.chat.notes import Notes
from weir.chat.requests import ChatRequest, fingerprint
from weir.envelope import Json
from weir.events.ingress import Ingress
from weir.llm.calls import Call
from weir.log.log import Partition

AT = Partition(topics.CHAT_CHUNKS.name, 2)
BODY: Json = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
REQUEST = ChatRequest(
    uid=UID,
    event_id=RID,
    tenant="acme",
    ingress=Ingress.HTTP,
    accepted_at="2026-01-31T12:00:00.000000Z",
    body=BODY,
    fingerprint=fingerprint(BODY),
    stream=True,
)
LONG_LEASE_S, SHORT_LEASE_S = 60.0, 0.3

Play = Callable[[], AsyncGenerator[Json, None]]


def words(*texts: str, then: Exception | None = None) -> Play:
    """A call that sends words, and ends as it should, or with an error."""

    async def play() -> AsyncGenerator[Json, None]:
        for text in texts:
            yield chunk(text)
        if then is not None:
            raise then
        yield {**chunk(None, "stop"), "usage": None}
        yield {"choices": [], "usage": {"total_tokens": len(texts)}}

    return play


def hanging(*texts: str) -> Play:
    """A call that sends words, and then nothing for ever."""

    async def play() -> AsyncGenerator[Json, None]:
        for text in texts:
            yield chunk(text)
        await asyncio.Event().wait()

    return play


class FakeModel:
    """Plays one script for each call; a call too many is a failure of the test."""

    def __init__(self, *plays: Play) -> None:
        self.plays = list(plays)
        self.asked: list[Json] = []
        self.calls: list[Call] = []
        self.open = 0

    async def stream(self, body: Json, call: Call) -> AsyncGenerator[Json, None]:
        self.asked.append(body)
        self.calls.append(call)
        self.open += 1
        try:
            async for one in self.plays.pop(0)():
                yield one
        finally:
            self.open -= 1


class Stage:
    """One worker's answering."""

    def __init__(self, log: MemoryLog, answering: Answering, model: FakeModel, membership: FakeMembership) -> None:
        self.log = log
        self.model = model
        self.attempts: list[str] = []
        self.notes: list[Notes] = []
        self.slots = Slots(1)
        self.membership = membership
        self._answering = answering
        self._slot = Slot(self.slots)

    async def answer(self, request: ChatRequest = REQUEST, *, give_up: bool = False) -> Answer:
        async with asyncio.timeout(WAIT_S):
            return await self._answering.answer(
                request,
                AT,
                slot=self._slot,
                on_attempt=self._attempted,
                give_up=give_up,
            )

    def _attempted(self, attempt: Attempt) -> None:
        self.attempts.append(attempt.id)
        self.notes.append(attempt.notes)

    def write(self, *records: Frame) -> int:
        """Write another worker's frames for the same request; return the offset of the last one."""
        offset = -1
        for record in records:
            offset = self.log.put(AT, REQUEST.key, frames.encode(record, event_id="e", tenant="acme"))
        return offset

    def written(self, kind: FrameKind) -> list[Frame]:
        return [frame for frame in self.log.frames(AT) if frame.kind is kind]


def told(one: Stage) -> str:
    """Return the text that a reader of the whole log has; it must be without a gap."""
    reader = read_all(one.log.frames(AT))
    assert not reader.answer.gap
    return "".join(reader.said)


@asynccontextmanager
async def stage(
    *plays: Play,
    log: MemoryLog | None = None,
    lease_s: float = LONG_LEASE_S,
    attempts_max: int = 5,
    read_back_s: float = 10.0,
    alone: bool = False,
    continuation: Continuation = Continuation.RESTART,
) -> AsyncIterator[Stage]:
    log = log or MemoryLog()
    model = FakeModel(*plays)
    async with tails_of(log) as tails:
        rules = Rules(
            lease_s=lease_s,
            attempts_max=attempts_max,
            frame_max_bytes=1 << 20,
            void_marks_max=4,
            void_pause_s=0.001,
            read_back_s=read_back_s,
            alone=alone,
            continuation=continuation,
        )
        membership = FakeMembership()
        worker = worker_of(log, tails=tails, membership=membership)
        one = Stage(log, Answering(worker, model=model, rules=rules), model, membership)
        yield one
    assert model.open == 0, "every call to the model is closed"
