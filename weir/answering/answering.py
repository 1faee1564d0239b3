"""Answer one request: look, mark, read back, call (DESIGN section 5).

A worker that is handed a request does not know whether it is new. It may have been handed out before, to a worker that
died, or to one that is alive and only lost the partition. So it

1. *looks*: folds the request's frames in the log. A terminal there ends it;
2. *follows* an attempt that is alive. One that is silent for longer than the lease counts as dead;
3. *marks*: appends a begin mark (nothing happened before), a takeover mark (to go on where the answer stands) or a
   restart mark (to say it again), which counts only if nothing else landed in between, and *reads it back*. Void: back
   to 1. `weir.answering.continuing` has the choice. A mark that is read back late, because the log is slow, is not made
   again: it is called for as soon as it is seen;
4. *calls* the LLM and writes its frames, while it goes on reading the log: a mark of somebody else ends it;
5. returns only when a terminal was read out of the log, whoever wrote it.

A call that fails is told in a terminal frame; one that breaks off is gone on with, where the LLM can do that. A log
that fails leaves everything in doubt: back to 1. A request past its deadline gets an expired terminal, not a mark. A
worker that stops before an answer is whole closes its attempt with a handoff, so that nobody waits for the lease.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

from weir.answering.calling import CallRules, call_of
from weir.answering.continuing import Continuation, Plan, plan, plan_without_text, spoken
from weir.answering.frame_writer import FrameWriter
from weir.answering.view import View
from weir.chat import frames
from weir.chat.fold import Answer, weir_finish
from weir.chat.frames import Frame, Kind, Status, Terminal
from weir.chat.notes import Notes
from weir.chat.reading import recounted
from weir.chat.requests import ChatRequest
from weir.envelope import Json, new_id, seconds_of
from weir.llm.calls import Call
from weir.llm.choices import cut_off
from weir.llm.chunks import finish_reasons
from weir.llm.errors import AnswerTooLongError, UpstreamError, UpstreamUnavailableError
from weir.log.log import LogClient, LogError, LogReplacedError, Partition, value_max_bytes
from weir.log.tails import Tail, Tails
from weir.telemetry.tracing import tracing

logger = logging.getLogger(__name__)

LOG_RETRY_S = (
    0.1,
    0.3,
    1.0,
    3.0,
)  # pauses while the log cannot be reached; the last one repeats while the worker lives
HANDOFF_S = 3.0  # for closing an attempt that does not come to its end here
VOID_PAUSE_MAX_S = 3.0
EXPIRED = {
    "message": "No worker had begun the request by its deadline.",
    "type": "timeout_error",
    "param": None,
    "code": "deadline_exceeded",
    "status": 504,
}
OLD_S = 3600.0  # a request younger than that is not asked whether the log has forgotten its beginning
FORGOTTEN = {
    "message": "The log does not keep what may have been said to this request.",
    "type": "timeout_error",
    "param": None,
    "code": "log_truncated",
    "status": 410,
}
UNDECIDED = {
    "message": "No attempt at this request counts in the log.",
    "type": "server_error",
    "param": None,
    "code": "void_marks",
    "status": 500,
}
INTERNAL_ERROR = {"message": "internal error", "type": "server_error", "param": None, "code": "internal_error"}


class Model(Protocol):
    """What answers: ``weir.llm.upstream.Upstream`` or a stand-in."""

    def stream(self, body: Json, call: Call) -> AsyncGenerator[Json, None]:
        """Chunk objects of one answer; raises UpstreamError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Limits of answering."""

    lease_s: float  # silence after which somebody else's attempt counts as dead
    attempts_max: int  # marks for one request, then it fails without another call
    frame_max_bytes: int  # the largest value of a record, where the topic takes no less
    void_marks_max: int = 12  # of one worker for one request: as many can only be void by a defect
    void_pause_s: float = 0.05  # after the first of them; twice as long after each, up to `VOID_PAUSE_MAX_S`
    read_back_s: float = 10.0  # a record that was confirmed and cannot be read for so long: look again
    alone: bool = False  # nobody else can be alive: any attempt found in the log is dead
    continuation: Continuation = Continuation.RESTART  # how the LLM goes on with a half-said answer
    calls: CallRules = field(default_factory=CallRules)  # how the LLM is asked


class NotBegunError(Exception):
    """Nothing is begun here: this worker stops, or the request is not in the log. Whoever is handed it begins it."""


class Slots:
    """The worker's places for answers in flight. Like a semaphore, but one can also be had without a wait, or not."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: deque[asyncio.Future[None]] = deque()

    def acquire_nowait(self) -> bool:
        """Take a place that is free. Whether there was one."""
        if self._free:
            self._free -= 1
            return True
        return False

    async def acquire(self) -> None:
        """Take a place, after those who wait for one already."""
        if self.acquire_nowait():
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it was ours already
                self.release()
            raise

    def release(self) -> None:
        """Hand a place to the next who waits, or keep it free."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Slot:
    """One of the worker's places for an answer in flight. Taking twice or giving back twice is harmless."""

    def __init__(self, slots: Slots, *, held: bool = False) -> None:
        self._slots = slots
        self._held = held

    @property
    def held(self) -> bool:
        """Whether a place is held; who holds none is only following, or waits to begin."""
        return self._held

    async def take(self) -> None:
        """Wait for a place, unless one is held."""
        if not self._held:
            await self._slots.acquire()
            self._held = True

    def give_back(self) -> None:
        """Let somebody else have it."""
        if self._held:
            self._held = False
            self._slots.release()


@dataclass(frozen=True, slots=True)
class Claim:
    """A begin mark that was appended together with its request."""

    attempt: str
    landing: Awaitable[int]  # the mark's offset
    accepted: Callable[[], Awaitable[bool]]  # waits until it is known whether the request is in the log


@dataclass(frozen=True, slots=True)
class Attempt:
    """One LLM call for a request, or what stands for it."""

    id: str
    does: Plan
    notes: Notes = field(default_factory=Notes)  # of what it says, while it says it


class Marks:
    """The marks that this worker has made for one request."""

    def __init__(self) -> None:
        self._unused: dict[str, Plan] = {}
        self.used: set[str] = set()
        self.void = 0  # how many were read back and do not count

    def add(self, attempt: str, does: Plan) -> None:
        """Note a mark that is about to be appended."""
        self._unused[attempt] = does

    def use(self, known: Answer) -> Attempt | None:
        """Take the attempt that may speak now, if this worker marked it and has not called the LLM for it yet.

        The log may have been too slow to show the mark in time. No other worker calls for it, so a second mark would
        only count as one more of the request's attempts.
        """
        does = self._unused.pop(known.attempt, None)
        if does is None:
            return None
        self.used.add(known.attempt)
        return Attempt(known.attempt, does)


class Answering:
    """Answers requests one by one; the caller runs many at once."""

    def __init__(
        self,
        *,
        log: LogClient,
        tails: Tails,
        model: Model,
        rules: Rules,
        stopping: Callable[[], bool] = lambda: False,
        on_handoff: Callable[[ChatRequest], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._tails = tails
        self._model = model
        self._rules = rules
        self._on_handoff = on_handoff
        self._stopping = stopping  # whether no attempt may be begun any more: it might not come to its end

    def claim(self, request: ChatRequest, at: Partition, accepted: Callable[[], Awaitable[bool]]) -> Claim:
        """Append the begin mark of a request that is on its way to the log itself, without waiting for either.

        Only where nobody can have written anything for the request yet: its rid has just been made up. If the request
        does not get into the log, nobody will ever ask for the mark.

        Raises:
            LogError: the log takes nothing now.
        """
        attempt = new_id("att")
        landing = asyncio.ensure_future(
            self._append_mark(request, at, Answer(rid=request.event_id), attempt, Kind.BEGIN)
        )
        landing.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, if nobody asks for it
        return Claim(attempt, landing, accepted)

    async def answer(
        self,
        request: ChatRequest,
        at: Partition,
        *,
        slot: Slot,
        on_attempt: Callable[[Attempt], None],
        give_up: bool = False,
        claim: Claim | None = None,
    ) -> Answer:
        """Bring a request to its end.

        Args:
            request: the first submission of its uid.
            at: the partition of chat-chunks that holds its answer.
            slot: held while this worker looks or calls, given back while it only follows.
            on_attempt: told of each attempt when it begins.
            give_up: call nobody, end the request as failed: answering it met a defect of ours.
            claim: its mark, where that was appended with the request.

        Returns:
            the folded answer, with the terminal that counts.

        Raises:
            NotBegunError: an attempt is needed, and this worker stops; or the claimed request is not in the log.
        """
        failures, marks, replaced = 0, Marks(), False
        while True:
            try:
                async with self._open(request, at, at_end=replaced) as tail:
                    view = View(tail, request.event_id)
                    await view.look()
                    claimed, claim = claim, None
                    if claimed is not None and not await claimed.accepted():
                        raise NotBegunError
                    if replaced:  # no begin and no continuation: another worker may have said all of it
                        await self._expire(request, at, view, FORGOTTEN)
                    elif claimed is not None:
                        await self._redeem(request, at, view, claimed, marks)
                    return await self._until_terminal(
                        request, at, view, slot, on_attempt=on_attempt, marks=marks, give_up=give_up
                    )
            except LogReplacedError as error:
                logger.warning("request %s expires: %s", request.uid, error)
                replaced = True
            except LogError as error:
                pause = LOG_RETRY_S[min(failures, len(LOG_RETRY_S) - 1)]
                failures += 1
                logger.warning("request %s: the log failed, looking again in %g s: %s", request.uid, pause, error)
                await asyncio.sleep(pause)

    def _open(self, request: ChatRequest, at: Partition, *, at_end: bool) -> Tail:
        if at_end:
            return self._tails.open(at, key=request.key)
        return self._tails.open(at, request.chunks_from, key=request.key, topic_id=request.chunks_topic_id)

    async def _until_terminal(
        self,
        request: ChatRequest,
        at: Partition,
        view: View,
        slot: Slot,
        *,
        on_attempt: Callable[[Attempt], None],
        marks: Marks,
        give_up: bool,
    ) -> Answer:
        while view.answer.terminal is None:
            known = view.answer
            attempt = None if known.closed else marks.use(known)
            if attempt is not None:
                on_attempt(attempt)
                await self._speak_and_watch(request, at, view, attempt, give_up=give_up)
                continue
            theirs = known.attempt and known.attempt not in marks.used and not known.closed and not self._rules.alone
            if theirs and view.silent_s < self._rules.lease_s:
                slot.give_back()
                await self._follow(view)
                continue
            if self._stopping():
                raise NotBegunError
            if marks.void and await view.wait(self._void_pause_s(marks)):
                continue  # another worker's mark, mostly
            await slot.take()
            late = await self._too_late(request, at, marks, begun=bool(known.attempts))
            if late is not None:
                await self._expire(request, at, view, late)
                continue
            does = await self._plan(request, at, view.answer)
            await self._mark(request, at, view, does, marks)
        return view.answer

    async def _plan(self, request: ChatRequest, at: Partition, known: Answer) -> Plan:
        """What the next attempt is to do, given all that is known."""
        policy = self._rules.continuation
        simple = plan_without_text(known, request, policy)
        if simple is not None:
            return simple
        _, said = await recounted(
            self._tails, at, request.uid, position=request.chunks_from, rid=known.rid, upto=known.last
        )
        return await asyncio.to_thread(plan, known, request, policy, said)  # an answer may be long

    def _void_pause_s(self, marks: Marks) -> float:
        return min(self._rules.void_pause_s * 2.0 ** (marks.void - 1), VOID_PAUSE_MAX_S)

    async def _too_late(self, request: ChatRequest, at: Partition, marks: Marks, *, begun: bool) -> Json | None:
        """Why a request must not be begun any more; None if it may. What was begun is brought to its end."""
        if marks.void >= self._rules.void_marks_max:
            return UNDECIDED
        if begun:
            return None
        if _is_past(request.deadline):
            return EXPIRED
        # A request that a Kafka client wrote need not say where its answer may begin.
        if request.chunks_from and _age_s(request.accepted_at) > OLD_S:
            bounds = await self._log.bounds(at)
            return FORGOTTEN if bounds.start > request.chunks_from else None
        return None

    async def _expire(self, request: ChatRequest, at: Partition, view: View, error: Json) -> None:
        """End a request that nobody waits for any more; whichever terminal lands first counts."""
        frame = Frame(
            uid=request.uid,
            rid=view.answer.rid,
            kind=Kind.TERMINAL,
            terminal=Terminal(status=Status.EXPIRED, error=error),
        )
        value = frames.encode(frame, event_id=new_id("evt"), tenant=request.tenant)
        await self._land(view, at, self._log.append(at.topic, at.partition, request.key, value))

    async def _follow(self, view: View) -> None:
        """Wait for more of somebody else's attempt.

        One that is alive never gets into the second half of its lease, unless the log itself is away; so there the
        log is asked again and again, before anybody is declared dead.
        """
        lease_s, silent_s = self._rules.lease_s, view.silent_s
        if silent_s < lease_s / 2:
            await view.wait(lease_s / 2 - silent_s)
        else:
            await view.listen(lease_s / 6)

    async def _mark(self, request: ChatRequest, at: Partition, view: View, does: Plan, marks: Marks) -> None:
        """Ask for the request, and read on to the mark. Another worker's counts where that landed first."""
        attempt = new_id("att")
        marks.add(attempt, does)
        await self._land(view, at, self._append_mark(request, at, view.answer, attempt, does.kind))
        marks.void += view.answer.attempt != attempt

    def _append_mark(
        self, request: ChatRequest, at: Partition, known: Answer, attempt: str, kind: Kind
    ) -> Awaitable[int]:
        mark = Frame(
            uid=request.uid,
            rid=known.rid,
            kind=kind,
            attempt=attempt,
            after=known.last,
            fingerprint=request.fingerprint,
        )
        value = frames.encode(mark, event_id=attempt, tenant=request.tenant)
        return self._log.append(at.topic, at.partition, request.key, value)

    async def _redeem(self, request: ChatRequest, at: Partition, view: View, claim: Claim, marks: Marks) -> None:
        """Read on to a mark that was appended with its request."""
        marks.add(claim.attempt, Plan(Kind.BEGIN, request.body))
        await self._read_up_to(view, at, await claim.landing)

    async def _land(self, view: View, at: Partition, landing: Awaitable[int]) -> None:
        """Wait until a record is in the log, and fold everything up to it.

        Raises:
            LogReplacedError: it landed before what was read already.
        """
        read = view.position
        offset = await landing
        if offset <= read:
            raise LogReplacedError(
                f"{at.topic}-{at.partition} was read up to {read} and has its next record at {offset}"
            )
        await self._read_up_to(view, at, offset)

    async def _read_up_to(self, view: View, at: Partition, offset: int) -> None:
        """Fold everything up to a record that was confirmed."""
        deadline = time.monotonic() + self._rules.read_back_s
        while view.position < offset:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LogError(f"the mark at offset {offset} of {at.topic} {at.partition} cannot be read back")
            await view.wait(left)

    async def _speak_and_watch(
        self, request: ChatRequest, at: Partition, view: View, attempt: Attempt, *, give_up: bool
    ) -> None:
        """Call the LLM, and read along until the terminal, or until somebody else has taken over."""
        writer = FrameWriter(
            lambda value: self._log.append(at.topic, at.partition, request.key, value),
            request,
            view.answer.rid,
            attempt.id,
            view.answer.next_seq,
            max_bytes=min(self._rules.frame_max_bytes, value_max_bytes(self._log, at.topic, request.key)),
        )
        speaking = asyncio.create_task(
            self._speak(request, view, writer, attempt, give_up), name=f"speak-{request.uid}"
        )
        watching = asyncio.create_task(self._watch(view, attempt.id, writer), name=f"watch-{request.uid}")
        try:
            await asyncio.wait({speaking, watching, writer.failed}, return_when=asyncio.FIRST_COMPLETED)
            if not watching.done():
                writer.check()  # raises LogError: everything is in doubt, and what the LLM says now is lost
                speaking.result()
                async with asyncio.timeout(self._rules.read_back_s):
                    await asyncio.wait({watching})
            watching.result()
        except TimeoutError:
            raise LogError(f"the terminal in {at.topic} {at.partition} cannot be read back") from None
        except asyncio.CancelledError:
            if self._stopping():
                await _stop(speaking)
                await self._hand_off(request, writer)
            raise
        finally:
            await _stop(speaking, watching)

    async def _hand_off(self, request: ChatRequest, writer: FrameWriter) -> None:
        """Close the attempt after what was said. Where that fails, the next owner waits for the lease."""
        try:
            async with asyncio.timeout(HANDOFF_S):
                await writer.hand_off()
            self._on_handoff(request)
        except (LogError, UpstreamError, TimeoutError) as error:
            logger.warning("request %s: not handed off: %s: %s", request.uid, type(error).__name__, error)

    async def _watch(self, view: View, attempt: str, writer: FrameWriter) -> None:
        """Read along until the terminal, or until somebody else has taken over; tell that the attempt is alive."""
        beat_s = self._rules.lease_s / 3
        while view.answer.attempt == attempt and view.answer.terminal is None and not view.answer.closed:
            await view.wait(beat_s)
            if time.monotonic() - writer.wrote_at >= beat_s:
                writer.beat()

    async def _speak(
        self, request: ChatRequest, view: View, writer: FrameWriter, attempt: Attempt, give_up: bool
    ) -> None:
        """One LLM call, from its first chunk to the terminal frame.

        Raises:
            LogError: what was said may or may not be in the log.
        """
        before, does = view.answer, attempt.does
        told = _Told(before, attempt.notes)
        try:
            if give_up:
                terminal = told.terminal({**INTERNAL_ERROR, "status": 500})
            else:
                await self._call(request, view, writer, told, does)
                terminal = told.terminal(does.error)
        except UpstreamUnavailableError as error:
            if self._can_go_on(before, told):
                logger.warning("request %s: goes on with a new call: %s", request.uid, error)
                unwritable = await self._close(request, writer)
                if unwritable is None:
                    return
                terminal = told.terminal(unwritable.terminal_error)
            else:
                terminal = told.terminal(error.terminal_error)
        except UpstreamError as error:
            terminal = told.terminal(error.terminal_error)
        except LogError:
            raise
        except Exception:
            logger.exception("request %s: a defect in answering", request.uid)
            terminal = told.terminal({**INTERNAL_ERROR, "status": 500})
        try:
            await writer.end(terminal)
        except UpstreamError as error:  # what the terminal was to carry cannot be written: a bare one
            await writer.end(Terminal(status=Status.FAILED, error=error.terminal_error))

    async def _close(self, request: ChatRequest, writer: FrameWriter) -> UpstreamError | None:
        """Close the attempt, for another one to go on; the error of a chunk that no record takes, which ends it.

        Raises:
            LogError: it may not be closed.
        """
        try:
            await writer.hand_off()
        except UpstreamError as error:
            return error
        self._on_handoff(request)
        return None

    def _can_go_on(self, before: Answer, told: "_Told") -> bool:
        """Whether an answer that broke off here can be gone on with: by a call that is not the last one."""
        without = {Continuation.RESTART, Continuation.FAIL}
        return told.began and before.attempts < self._rules.attempts_max and self._rules.continuation not in without

    async def _call(self, request: ChatRequest, view: View, writer: FrameWriter, told: "_Told", does: Plan) -> None:
        """Call the LLM, unless only the terminal is missing, and say what it says."""
        if does.body is None:
            return
        self._check_attempts(view.answer)
        how, said = call_of(request, self._rules.calls, view), view.answer.next_seq
        with tracing.call(request.traceparent, does.body, does.kind) as call:
            try:
                async with aclosing(spoken(does, self._model.stream(does.body, how))) as chunks:
                    async for chunk in chunks:
                        await writer.say(chunk)
                        told.chunk(chunk)
                        call.chunk(chunk)
            except AnswerTooLongError as error:
                if not said:
                    raise
                end = cut_off(error.limit, str(request.body.get("model")))
                await writer.say(end)
                told.chunk(end)
        await writer.flush()

    def _check_attempts(self, before: Answer) -> None:
        if before.attempts > self._rules.attempts_max:
            raise UpstreamError(
                f"given up after {self._rules.attempts_max} attempts",
                status=500,
                kind="server_error",
                code="too_many_attempts",
            )


async def _stop(*tasks: "asyncio.Task[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _is_past(deadline: str | None) -> bool:
    """Whether a time (ISO 8601) is over; one that is none is not."""
    return deadline is not None and _age_s(deadline) > 0


def _age_s(time_: str) -> float:
    """Seconds since a time (ISO 8601); 0 for one that is none."""
    then = seconds_of(time_)
    return 0.0 if then is None else time.time() - then


class _Told:
    """What an attempt has heard from the LLM, for its terminal. Timings are milliseconds since it began."""

    def __init__(self, before: Answer, notes: Notes) -> None:
        self._notes = notes
        # After a restart mark nothing counts of what was said before; the fold has dropped it.
        self._usage, self._reasons = before.usage, dict(before.finish_reasons)
        self._began = time.monotonic()
        self._first: float | None = None
        self._weir_finish = before.weir_finish

    @property
    def began(self) -> bool:
        """Whether the LLM has said anything."""
        return self._first is not None

    def chunk(self, chunk: Json) -> None:
        if self._first is None:
            self._first = time.monotonic()
        self._usage = chunk.get("usage") or self._usage
        reasons = finish_reasons([chunk])
        if reasons:
            self._reasons |= reasons
            self._weir_finish = weir_finish([chunk]) or self._weir_finish
        self._notes.add(chunk)

    def terminal(self, error: Json | None = None) -> Terminal:
        first_ms = None if self._first is None else round((self._first - self._began) * 1000, 3)
        total_ms = round((time.monotonic() - self._began) * 1000, 3)
        return Terminal(
            status=Status.COMPLETED if error is None else Status.FAILED,
            finish_reason=self._reasons.get(0) if error is None else None,
            weir_finish=self._weir_finish if error is None else None,
            usage=self._usage,
            error=error,
            timings={"first_chunk_ms": first_ms, "total_ms": total_ms},
        )
