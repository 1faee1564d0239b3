"""The requests that a worker has in flight: one task each, its event settled only after the terminal was read back.

The offset of an event is committed when it and all before it are acknowledged, so a worker that dies leaves every
unfinished request to the next owner of its partition. No event is acknowledged because its request was started.

A request comes in one of two ways:

* **by its event** (`Work.take`). What happens depends on what is known of the uid. Nothing: the request begins as soon
  as a slot is free. The same submission is in flight: this is one more delivery of it. The same submission was settled
  before a crash: its end is published again, if the requests table does not show it. Another submission has the uid:
  this one gets an attach or a conflict mark, and never a second LLM call. A request from the dead letters whose earlier
  end is still being settled waits for that;
* **ahead of its event** (`Work.begin`), if this worker has accepted it for a partition of its own. Its event, when
  Faust delivers it, joins the task that runs already.

The task of a request (`Work._run`) has it answered, waits for its event, and then writes in this order: the dead letter
of a failure, the row of the terminals table, the events about the end. Last it acknowledges the event. If this
worker dies in between, the next owner gets the event again, finds the terminal in the log, and does the rest: events
about the end that are published twice have the same ids, and a failure may have two dead letters. If the partition is
no longer this worker's when the answer ends, this worker writes none of these.

A defect in Weir must not stop the partition: a request is tried `TRIES` times, and then goes to the dead letters.
"""

import asyncio
import logging
import time
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field

from weir import topics
from weir.answering.answering import Answering
from weir.answering.errors import NotBegunError
from weir.answering.marks import Claim
from weir.answering.reporting import LifecycleReport, Reporting
from weir.answering.slots import Slot, Slots
from weir.chat import frames, requests
from weir.chat.admission import Admission
from weir.chat.audit import SUBMIT, Audit, Caller
from weir.chat.dead_lettering import dead_letter, write_dead_letter
from weir.chat.ends import EndedRequest, Ends
from weir.chat.fold import Answer
from weir.chat.frames import Frame, FrameKind, Status
from weir.chat.lifecycle import TERMINAL, Happening
from weir.chat.request_writer import RequestWriter
from weir.chat.requests import ChatRequest
from weir.chat.states import RequestRows
from weir.chat.traces import Traces
from weir.envelope import new_id, utc_iso
from weir.events.base import derived_id
from weir.events.ingress import Ingress
from weir.log.log import Delivered, LogError, Partition
from weir.log.retrying import until_written
from weir.worker import Worker

logger = logging.getLogger(__name__)

TRIES = 3  # of a request that meets a defect in Weir; the last one only writes that it failed
# pause between two checks whether the partition is still this worker's, while a request waits for its event
OWNER_CHECK_S = 0.5
TELLING_MAX = 4  # ends that are read again at the same time, after a crash
RETRY_S = 1.0  # pause before a request that met a defect in Weir is tried again


@dataclass(slots=True)
class InFlight:
    """A request that this worker brings to its end."""

    request: ChatRequest
    slot: Slot
    events: list[Delivered] = field(default_factory=list)  # its deliveries: more than one after a rebalance
    delivered: asyncio.Event = field(default_factory=asyncio.Event)
    # set when the request is in the log, or known not to be
    in_log: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False  # whether its answer is in the log: then only settling is left
    claim: Claim | None = None  # of a request that is begun ahead of its event
    context: Context | None = None  # of its first delivery: a table is changed under an event
    task: "asyncio.Task[None] | None" = None

    def deliver(self, event: Delivered) -> None:
        """Add a delivery. Must be called while the agent handles it."""
        self.events.append(event)
        self.context = self.context or copy_context()
        self.delivered.set()
        self.in_log.set()


class Work:
    """Takes events of chat-requests, many at once.

    Args:
        worker: the worker.
        answering: brings one request to its end.
        reporting: publishes the events about each request.
        ends: the terminals table.
        rows: the requests table.
        writer: writes requests into the partitions of their uids.
        traces: publishes the events of requests that begin again.
        audit: records requests that came by Kafka, and refused ones.
    """

    def __init__(
        self,
        worker: Worker,
        answering: Answering,
        *,
        reporting: Reporting,
        ends: Ends,
        rows: RequestRows,
        writer: RequestWriter,
        traces: Traces,
        audit: Audit,
    ) -> None:
        self._worker = worker
        self._answering = answering
        self._reporting = reporting
        self._ends, self._rows = ends, rows
        self._traces, self._audit = traces, audit
        self._slots = Slots(worker.settings.max_in_flight)
        self._in_flight: dict[str, InFlight] = {}
        self._ended = 0  # those of them that have ended, while the last events about them are published
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling = asyncio.Semaphore(TELLING_MAX)
        self._admission = Admission(worker, writer=writer, audit=audit, own=self._own)

    def begin(self, request: ChatRequest, partition: int, published: "asyncio.Future[int]") -> None:
        """Begin a request of this worker's own partition while it is on its way to the log, ahead of its event.

        Its begin mark is sent together with it; the LLM is called when both are in the log and the mark counts.

        Only for a uid that was made up for it: for any other, an earlier submission may be waiting in the topic, and
        the first one counts. A worker without a free slot leaves the request to its event, as a stopping worker does.
        If this worker dies or loses the partition, the event begins it where it is delivered, as it always would.
        """
        if self._worker.draining or partition not in self._worker.own_partitions() or not self._slots.acquire_nowait():
            return
        work = InFlight(request, Slot(self._slots, held=True))
        published.add_done_callback(lambda _: work.in_log.set())

        async def accepted() -> bool:
            await work.in_log.wait()
            return bool(work.events) or (not published.cancelled() and published.exception() is None)

        try:
            work.claim = self._answering.claim(request, _chunks_of(partition), accepted)
        except LogError:
            work.slot.give_back()
        else:
            self._launch(work, partition)

    def _launch(self, work: InFlight, partition: int) -> None:
        self._in_flight[work.request.uid] = work
        work.task = self._own(self._run(work, partition))

    @property
    def in_flight(self) -> int:
        """Requests that are being answered or followed."""
        return len(self._in_flight) - self._ended

    def generated(self, tenant: str, fingerprint: str, think_tags: str) -> list[str]:
        """The uids of equal requests that came by HTTP without a uid and are being answered here."""
        running = [one.request for one in self._in_flight.values() if not one.ended]
        wanted = tenant, fingerprint, think_tags
        asked = [one for one in running if (one.tenant, one.fingerprint, one.think_tags or "") == wanted]
        return [one.uid for one in asked if one.ingress is Ingress.HTTP and requests.is_minted(one.uid)]

    async def take(self, event: Delivered) -> None:
        """Take one event; returns when the next one may come. The event is settled later, by itself."""
        if self._worker.draining:
            await self._never()
        await self._take_or_dead_letter(event)

    async def _take_or_dead_letter(self, event: Delivered) -> None:
        try:
            request = await self._admission.admit(event)
            if request is not None:
                await self._take(event, request)
        except Exception:
            # An agent that raises stops its partition; a record that makes it raise would stop it again.
            logger.exception("chat-requests %d at %d", event.message.partition, event.message.offset)
            await dead_letter(self._worker, event, "a defect in Weir while taking the request")

    async def _take(self, event: Delivered, request: ChatRequest) -> None:
        known = self._in_flight.get(request.uid)
        ended = self._ends.get(request.uid)
        if known is not None and known.request.event_id == request.event_id:
            known.deliver(event)  # begun ahead of its event, or delivered again after a rebalance
        elif ended is not None and ended.rid == request.event_id:
            self._own(self._tell_again(event, request, ended))  # settled before a crash that came before the commit
        elif known is not None and known.request.event_id == request.replaces:
            # the earlier submission has failed, and its last events are not published yet
            self._own(self._take_after(known, event))
        elif known is not None:
            first = known.request
            same = (request.fingerprint, request.tenant) == (first.fingerprint, first.tenant)
            self._own(self._answer_again(event, request, first.event_id, first.chunks_from, same=same, ended=False))
        elif ended is None or _begins_anew(request, ended):
            await self._start(event, request, ended)
        else:
            same = (request.fingerprint, request.tenant) == (ended.fingerprint, ended.tenant)
            self._own(self._answer_again(event, request, ended.rid, ended.first, same=same, ended=True))

    async def _take_after(self, known: InFlight, event: Delivered) -> None:
        """Take a request from the dead letters when the submission whose end it replaces is settled."""
        if known.task is not None:
            await asyncio.wait({known.task})
        if not self._worker.draining and event.message.partition in self._worker.own_partitions():
            await self._take_or_dead_letter(event)  # else the next owner gets it again

    def _record(self, request: ChatRequest) -> None:
        self._audit.record(
            SUBMIT,
            Caller(ingress=request.ingress),
            tenant=request.tenant,
            actor=request.username,
            resource_id=request.uid,
            event_id=derived_id(request.event_id, SUBMIT.name),
            traceparent=request.traceparent,
        )

    @staticmethod
    async def _never() -> None:
        """Take no more events: wait until the stopping worker cancels this stream."""
        await asyncio.get_running_loop().create_future()

    async def drain(self, seconds: float) -> None:
        """Finish the requests in flight within ``seconds``; the others go to the next owner.

        A task that only follows another worker's attempt has nothing to finish.
        """
        for work in self._in_flight.values():
            if not work.slot.held and work.task is not None:
                work.task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        if self._tasks:
            logger.warning(
                "%d requests did not end within %g s and are left to the next owner", self.in_flight, seconds
            )
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _start(self, event: Delivered, request: ChatRequest, ended: EndedRequest | None) -> None:
        """Begin a request whose uid is not in flight, and has ended as ``ended``, or never."""
        slot = Slot(self._slots)
        await slot.take()  # back-pressure: the rest waits in the topic
        if self._worker.draining:
            return slot.give_back()
        if request.uid in self._in_flight or self._ends.get(request.uid) != ended:
            # A request from the dead letters waits in a task of its own: another one was first.
            slot.give_back()
            return await self._take(event, request)
        if request.ingress is Ingress.KAFKA:  # the other doors record it themselves
            self._record(request)
        work = InFlight(request, slot)
        work.deliver(event)
        self._launch(work, event.message.partition)
        return None

    def _own(self, coroutine: "asyncio._CoroutineLike[None]") -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, work: InFlight, partition: int) -> None:
        try:
            for tries_left in reversed(range(TRIES)):
                try:
                    return await self._end(work, partition, give_up=tries_left == 0)
                except NotBegunError:
                    if self._worker.draining or not work.events:
                        return None  # its event begins it, if there is to be one
                except Exception:
                    logger.exception("request %s: a defect, %d more tries", work.request.uid, tries_left)
                    await asyncio.sleep(RETRY_S)
            # An event that is never settled would hold the commit of its partition back for ever.
            for event in work.events:
                await dead_letter(self._worker, event, "a defect in Weir while answering the request")
        finally:
            work.slot.give_back()
            self._in_flight.pop(work.request.uid, None)

    async def _tell_redriven(self, request: ChatRequest) -> None:
        """Publish that a request begins again, before any other event of its new life: its row shows an end."""
        ended, last = self._ends.get(request.uid), request.redriven[-1]
        details = {
            "replaces": request.replaces if ended is None else ended.rid,
            "replaced_status": None if ended is None else ended.status,
            "replaced_ended_at": None if ended is None else utc_iso(ended.ended_at),
            "run": last.get("run"),
            "letter": last.get("letter"),
            "chunks_from": request.chunks_from,
            "on_disconnect": request.on_disconnect,
        }
        event_id = derived_id(request.event_id, Happening.REDRIVEN)
        await until_written(lambda: self._traces.publish(request, Happening.REDRIVEN, details, event_id=event_id))

    async def _end(self, work: InFlight, partition: int, *, give_up: bool) -> None:
        """Bring a request to its end, and settle it."""
        request = work.request
        if request.redriven:
            await self._tell_redriven(request)
        report = self._report(request, partition)
        claim, work.claim = work.claim, None
        answer = await self._answering.answer(
            request, _chunks_of(partition), slot=work.slot, on_attempt=report.attempted, give_up=give_up, claim=claim
        )
        work.slot.give_back()
        work.ended = True
        context = await self._delivery(work, partition)
        if context is None or partition not in self._worker.own_partitions():
            return
        await self._write_dead_letter(work, answer)
        ended = context.run(self._settle, work, answer, partition)
        if ended is not None and answer.terminal is not None:
            self._ended += 1
            try:
                await report.ended(answer, answer.terminal, ended.ended_at)
            finally:
                self._ended -= 1
            for event in work.events:
                event.ack()

    async def _write_dead_letter(self, work: InFlight, answer: Answer) -> None:
        """Write a dead letter for a request that failed for good, so that it can be inspected and sent again."""
        terminal = answer.terminal
        if terminal is None or terminal.status not in {Status.FAILED, Status.EXPIRED}:
            return
        if work.request.replay is not None:  # it is in the replay's report, and sent again it would have no client
            return
        error = terminal.error or {}
        reason = f"{terminal.status}: {error.get('message') or 'no reason was given'}"
        details = {"uid": work.request.uid, "attempts": answer.attempts, "error": error}
        # LLMs quote the prompt in their messages, which must not get into log lines.
        log_reason = f"{terminal.status}: {error.get('code') or error.get('type')}"
        await write_dead_letter(
            self._worker, work.events[0], reason, log_reason=log_reason, tenant=work.request.tenant, details=details
        )

    async def _delivery(self, work: InFlight, partition: int) -> Context | None:
        """Return the context of the request's event, after a wait if begun ahead. None if another worker gets it."""
        while work.context is None:
            if self._worker.draining or partition not in self._worker.own_partitions():
                return None
            with suppress(TimeoutError):
                async with asyncio.timeout(OWNER_CHECK_S):
                    await work.delivered.wait()
        return work.context

    def _settle(self, work: InFlight, answer: Answer, partition: int) -> EndedRequest | None:
        """Write a terminal that was read from the log into the table; the offset comes after the end is reported.

        Returns:
            the table's entry; None if the next owner of the partition gets the request again, and settles it.
        """
        request, terminal = work.request, answer.terminal
        if terminal is None:
            raise RuntimeError("settled without a terminal")
        if partition not in self._worker.own_partitions():
            return None
        ended = EndedRequest(
            rid=answer.rid,
            fingerprint=request.fingerprint,
            tenant=request.tenant,
            status=terminal.status,
            first=answer.first,
            last=answer.last,
            ended_at=answer.ended_at or time.time(),
        )
        self._ends.put(request.uid, ended)
        return ended

    def _report(self, request: ChatRequest, partition: int) -> LifecycleReport:
        return self._reporting.of(request, _chunks_of(partition))

    async def _tell_again(self, event: Delivered, request: ChatRequest, ended: EndedRequest) -> None:
        """Publish an end again where the request's row does not show it: a crash may have lost its event.

        After a rebalance everything comes again that ended since the oldest request which still runs, so most of it was
        published before. Events that are published twice have the same ids.
        """
        row = self._rows.get(request.uid)
        if row is None or row.get("rid") != ended.rid or row.get("state") not in TERMINAL:
            async with self._telling:
                try:
                    await until_written(lambda: self._report(request, event.message.partition).told_again(ended))
                except Exception:  # its figures are missing then; the request has ended all the same
                    logger.exception("request %s: its end could not be published again", request.uid)
        event.ack()

    async def _answer_again(
        self, event: Delivered, request: ChatRequest, rid: str, first: int, *, same: bool, ended: bool
    ) -> None:
        """Answer a second submission of a uid with a mark that names it, never with a second call."""
        mark = Frame(
            uid=request.uid,
            rid=rid,
            kind=FrameKind.ATTACH if same else FrameKind.CONFLICT,
            submission=request.event_id,
            first=first,
            ended=ended,
        )
        value = frames.encode(mark, event_id=new_id("evt"), tenant=request.tenant)
        at = _chunks_of(event.message.partition)
        await until_written(lambda: self._worker.log.append(at.topic, at.partition, request.key, value))
        event.ack()


def _begins_anew(request: ChatRequest, ended: EndedRequest) -> bool:
    """Whether a request that failed or expired has come back from the dead letters since that end.

    A submission that had come back before that end, and is delivered again, was replaced by the end itself.
    """
    return (
        bool(request.redriven)
        and ended.status in {Status.FAILED, Status.EXPIRED}
        # If chat-chunks was recreated since, the offset of the earlier end says nothing.
        and (ended.last < request.chunks_from or ended.rid == request.replaces)
        and (request.fingerprint, request.tenant) == (ended.fingerprint, ended.tenant)
    )


def _chunks_of(partition: int) -> Partition:
    """Return the partition with the answers to the requests of a partition."""
    return Partition(topics.CHAT_CHUNKS.name, partition)
