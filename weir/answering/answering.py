"""Answers one request: look, mark, read back, call (DESIGN section 5).

A worker that gets a request does not know whether it is new. It may have been delivered before, to a worker that died,
or to one that is alive and only lost the partition. So it

1. *looks*: folds the request's frames in the log. A terminal there ends it;
2. *follows* an attempt that is alive. One that is silent for longer than the lease counts as dead;
3. *marks*: appends a begin mark (nothing happened before), a takeover mark (to continue the answer as it is) or a
   restart mark (to generate it again), which counts only if nothing else landed in between, and *reads it back*. Void:
   back to 1. `weir.answering.continuing` decides which mark. If the log is slow and a mark is read back late, the
   worker makes no second one: it calls the LLM for it as soon as it is read;
4. *calls* the LLM and writes its frames, while it goes on reading the log: another worker's mark ends the call;
5. returns only when a terminal was read out of the log, from whichever worker.

A call that fails ends in a terminal frame with the error; one that breaks off is continued, where the LLM can do that.
A log that fails leaves everything in doubt: back to 1. A request past its deadline gets an expired terminal, not a
mark. A worker that stops before an answer is whole closes its attempt with a handoff, so that the next owner does not
wait for the lease.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from weir.answering.continuing import ContinuationPlan, plan, plan_without_text
from weir.answering.errors import EXPIRED, FORGOTTEN, UNDECIDED, NotBegunError
from weir.answering.generating import Generating, Model
from weir.answering.marks import Attempt, Claim, Marks, encode_mark
from weir.answering.rules import Rules
from weir.answering.slots import Slot
from weir.answering.view import View
from weir.chat import frames
from weir.chat.fold import Answer
from weir.chat.frames import Frame, FrameKind, Status, Terminal
from weir.chat.reading.stored import recounted
from weir.chat.requests import ChatRequest
from weir.envelope import Json, new_id, seconds_of
from weir.log.log import LogError, LogReplacedError, Partition
from weir.log.tails import Tail
from weir.timing import Failure, endless, retry
from weir.worker import Worker

logger = logging.getLogger(__name__)

LOG_RETRY_S = 0.1, 0.3, 1.0, 3.0  # pauses while the log cannot be reached; the last one repeats while the worker lives
OLD_S = 3600.0  # for a younger request, the log is not asked whether it has removed the beginning


class Answering:
    """Answers requests one by one; the caller runs many at once."""

    def __init__(
        self,
        worker: Worker,
        *,
        model: Model,
        rules: Rules,
    ) -> None:
        self._worker, self._log, self._tails = worker, worker.log, worker.tails
        self._rules = rules
        self._generating = Generating(worker, model=model, rules=rules)

    def claim(self, request: ChatRequest, at: Partition, accepted: Callable[[], Awaitable[bool]]) -> Claim:
        """Append the begin mark of a request that is on its way to the log itself, without waiting for either.

        Only for a request that no other worker can have written about yet: its rid has just been made up. If the
        request does not get into the log, the mark is never used.

        Raises:
            LogError: the log takes nothing now.
        """
        attempt = new_id("att")
        landing = asyncio.ensure_future(
            self._append_mark(request, at, Answer(rid=request.event_id), attempt, FrameKind.BEGIN)
        )
        # mark the exception as retrieved, in case the claim is never used
        landing.add_done_callback(lambda done: done.cancelled() or done.exception())
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
            on_attempt: called with each attempt when it begins.
            give_up: whether to end the request as failed without a call: answering it met a defect in Weir.
            claim: the request's mark, if it was appended with the request.

        Returns:
            the folded answer, with the terminal that counts.

        Raises:
            NotBegunError: an attempt is needed, and this worker stops; or the claimed request is not in the log.
        """
        marks, replaced = Marks(), False

        async def attempt() -> Answer:
            nonlocal claim
            async with self._open(request, at, at_end=replaced) as tail:
                view = View(tail, request.event_id)
                await view.look()
                claimed, claim = claim, None
                if claimed is not None and not await claimed.accepted():
                    raise NotBegunError
                if replaced:  # no begin and no continuation: another worker may have generated all of it
                    await self._expire(request, at, view, FORGOTTEN)
                elif claimed is not None:
                    await self._redeem(request, view, claimed, marks)
                return await self._until_terminal(
                    request, at, view, slot, on_attempt=on_attempt, marks=marks, give_up=give_up
                )

        def failed(failure: Failure) -> None:
            name, error, pause_s = request.uid, failure.error, failure.pause_s
            logger.warning("request %s: the log failed, looking again in %g s: %s", name, pause_s, error)

        pauses_s = endless(LOG_RETRY_S)
        while True:
            try:
                return await retry(attempt, LogError, but=LogReplacedError, pauses_s=pauses_s, tell=failed)
            except LogReplacedError as error:
                logger.warning("request %s expires: %s", request.uid, error)
                replaced = True

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
                await self._generating.run(request, at, view, attempt, give_up=give_up)
                continue
            theirs = known.attempt and known.attempt not in marks.used and not known.closed and not self._rules.alone
            if theirs and view.silent_s < self._rules.lease_s:
                slot.give_back()
                await self._follow(view)
                continue
            if self._worker.draining:  # this worker may stop before an attempt ends
                raise NotBegunError
            if marks.void and await view.wait(self._rules.pause_s(marks.void)):
                continue  # mostly another worker's mark
            await slot.take()
            late = await self._too_late(request, at, marks, begun=bool(known.attempts))
            if late is not None:
                await self._expire(request, at, view, late)
                continue
            does = await self._plan(request, at, view.answer)
            await self._mark(request, at, view, does, marks)
        return view.answer

    async def _plan(self, request: ChatRequest, at: Partition, known: Answer) -> ContinuationPlan:
        """Return what the next attempt is to do, given all that is known."""
        policy = self._rules.continuation
        simple = plan_without_text(known, request, policy)
        if simple is not None:
            return simple
        _, said = await recounted(
            self._tails, at, request.uid, position=request.chunks_from, rid=known.rid, upto=known.last
        )
        return await asyncio.to_thread(plan, known, request, policy, said)  # an answer may be long

    async def _too_late(self, request: ChatRequest, at: Partition, marks: Marks, *, begun: bool) -> Json | None:
        """Why a request must not be begun any more; None if it may. A request that was begun is brought to its end."""
        if marks.void >= self._rules.void_marks_max:
            return UNDECIDED
        if begun:
            return None
        if _is_past(request.deadline):
            return EXPIRED
        # A request from a Kafka client may not name where its answer begins.
        if request.chunks_from and _age_s(request.accepted_at) > OLD_S:
            bounds = await self._log.bounds(at)
            return FORGOTTEN if bounds.start > request.chunks_from else None
        return None

    async def _expire(self, request: ChatRequest, at: Partition, view: View, error: Json) -> None:
        """End a request that no client waits for any more; the first terminal to land counts."""
        frame = Frame(
            uid=request.uid,
            rid=view.answer.rid,
            kind=FrameKind.TERMINAL,
            terminal=Terminal(status=Status.EXPIRED, error=error),
        )
        value = frames.encode(frame, event_id=new_id("evt"), tenant=request.tenant)
        await view.land(self._log.append(at.topic, at.partition, request.key, value), self._rules.read_back_s)

    async def _follow(self, view: View) -> None:
        """Wait for more of another worker's attempt.

        An attempt that is alive never gets into the second half of its lease, unless the log itself is away; so there
        the log is asked again and again, before its worker is declared dead.
        """
        lease_s, silent_s = self._rules.lease_s, view.silent_s
        if silent_s < lease_s / 2:
            await view.wait(lease_s / 2 - silent_s)
        else:
            await view.listen(lease_s / 6)

    async def _mark(
        self, request: ChatRequest, at: Partition, view: View, does: ContinuationPlan, marks: Marks
    ) -> None:
        """Claim the request by a mark, and read on to the mark. Another worker's counts where that landed first."""
        attempt = new_id("att")
        marks.add(attempt, does)
        landing = self._append_mark(request, at, view.answer, attempt, does.kind)
        await view.land(landing, self._rules.read_back_s)
        marks.void += view.answer.attempt != attempt

    def _append_mark(
        self, request: ChatRequest, at: Partition, known: Answer, attempt: str, kind: FrameKind
    ) -> Awaitable[int]:
        return self._log.append(at.topic, at.partition, request.key, encode_mark(request, known, attempt, kind))

    async def _redeem(self, request: ChatRequest, view: View, claim: Claim, marks: Marks) -> None:
        """Read on to a mark that was appended with its request."""
        marks.add(claim.attempt, ContinuationPlan(FrameKind.BEGIN, request.body))
        await view.read_up_to(await claim.landing, self._rules.read_back_s)


def _is_past(deadline: str | None) -> bool:
    """Whether a time (ISO 8601) is over; an invalid one is not."""
    return deadline is not None and _age_s(deadline) > 0


def _age_s(time_: str) -> float:
    """Seconds since a time (ISO 8601); 0 for an invalid one."""
    then = seconds_of(time_)
    return 0.0 if then is None else time.time() - then
