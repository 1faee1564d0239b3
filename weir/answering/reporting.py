"""Publishes the events of a request while it is answered and at its end: all events of the chat agent are made here.

The events of the end are published before the request's offset is committed, under ids that are the same from every
worker: if a worker dies in between, the next one publishes them again, and readers drop those that they have seen.
"""

import logging
import time

from weir.answering.decisions import decision
from weir.answering.lineage import LineageEvents
from weir.answering.marks import Attempt
from weir.chat.account import Account
from weir.chat.ends import EndedRequest
from weir.chat.fold import Answer
from weir.chat.frames import FrameKind, Terminal
from weir.chat.lifecycle import Happening
from weir.chat.notes import Notes
from weir.chat.reading.stored import recounted
from weir.chat.requests import ChatRequest
from weir.chat.thinking import ThinkingEvents
from weir.chat.traces import Traces
from weir.envelope import seconds_of
from weir.events.base import EventData, derived_id
from weir.log.log import LogError, Partition
from weir.timing import in_turns
from weir.worker import Worker

logger = logging.getLogger(__name__)

LANDED_S = 10.0  # for the last events about a request; then its offset is committed all the same, and they are counted


class Reporting:
    """Makes the reports of one worker.

    Args:
        worker: the worker.
        traces: publishes trace events.
        thinking_events: makes thinking events.
        lineage: publishes the lineage of SQL in answers; None where that is off.
    """

    def __init__(
        self, worker: Worker, *, traces: Traces, thinking_events: ThinkingEvents, lineage: LineageEvents | None = None
    ) -> None:
        self.worker, self.traces, self.thinking_events, self.lineage = worker, traces, thinking_events, lineage

    def of(self, request: ChatRequest, at: Partition) -> "LifecycleReport":
        """Return the report of a request whose answer is in the partition ``at`` of chat-chunks."""
        return LifecycleReport(self, request, at)


class LifecycleReport:
    """Reports on one request, on one worker."""

    def __init__(self, by: Reporting, request: ChatRequest, at: Partition) -> None:
        self._by, self._worker = by, by.worker
        self._request = request
        self._at = at  # the partition of its answer
        self._attempt = ""  # the last attempt that began here
        self._notes = Notes()  # of this attempt
        self._whole = False  # whether the notes cover all that counts

    def attempted(self, attempt: Attempt) -> None:
        """Report that an attempt begins here."""
        request, does, again = self._request, attempt.does, bool(self._attempt)
        self._attempt, self._notes = attempt.id, attempt.notes
        self._whole = does.kind in {FrameKind.BEGIN, FrameKind.RESTART} or (does.body is not None and not does.said)
        accepted = seconds_of(request.accepted_at)
        queue_s = None if accepted is None else max(0.0, time.time() - accepted)
        begun_s = queue_s if does.kind is FrameKind.BEGIN else None
        self._worker.metrics.attempted(does.kind, begun_s, replay=request.replay is not None)
        details = {
            "attempt": attempt.id,
            "chunks_from": request.chunks_from,
            "mark": does.kind,
            "said": does.said,
            "queue_ms": None if queue_s is None else round(queue_s * 1000, 3),
        }
        self._by.traces.emit(request, Happening.ATTEMPTED, details)
        self._emit(decision(request, attempt.id, does, again=again, worker=self._worker.name))
        if does.kind is FrameKind.BEGIN:
            started = self._by.thinking_events.started(request)
            self._emit(started, derived_id(request.event_id, started.EVENT_TYPE))

    async def ended(self, answer: Answer, terminal: Terminal, ended_at: float) -> None:
        """Report an end that was read from the log; returns when its events are in the log, or cannot get there."""
        account = self._account(answer, terminal, await self._all_notes(answer), ended_at)
        self._count(account)
        await self._tell_end(account)

    async def told_again(self, ended: EndedRequest) -> None:
        """Publish again the end of a request that was settled and counted before a crash: its events may be lost.

        Raises:
            LogError: the log cannot be read.
        """
        answer, chunks = await recounted(
            self._worker.tails, self._at, self._request.uid, position=ended.first, rid=ended.rid, upto=ended.last
        )
        if answer.terminal is not None:
            await self._tell_end(self._account(answer, answer.terminal, Notes(chunks), ended.ended_at))

    def _account(self, answer: Answer, terminal: Terminal, notes: Notes, ended_at: float) -> Account:
        return Account(
            request=self._request,
            answer=answer,
            terminal=terminal,
            notes=notes,
            ended_at=ended_at,
            prices=self._worker.prices,
            redactor=self._by.thinking_events.redactor,
        )

    async def _tell_end(self, account: Account) -> None:
        await self._tell(account)
        if self._by.lineage is not None and self._request.replay is None:  # no client was given that SQL
            await self._by.lineage.tell(account)
        await self._worker.events.landed(LANDED_S)
        # Last: a row that shows the end stands for all events of it.
        self._by.traces.emit(
            self._request, account.happening, account.trace(), event_id=account.event_id(account.happening)
        )
        await self._worker.events.landed(LANDED_S)

    def _count(self, account: Account) -> None:
        self._worker.metrics.ended(
            model=account.model,
            status=account.status,
            error_code=account.error_code,
            error_type=account.error_type,
            ttft_s=_seconds(account.ttft_ms),
            duration_s=_seconds(account.latency_ms),
            tokens_per_second=account.tokens_per_second,
            tokens=account.tokens,
            cost_usd=account.cost_usd,
            replay=account.request.replay is not None,
        )

    async def _tell(self, account: Account) -> None:
        outcome, metrics = account.outcome(), account.metrics()
        if outcome is not None:
            self._emit(outcome, account.event_id(outcome.EVENT_TYPE))
        self._emit(metrics, account.event_id(metrics.EVENT_TYPE))
        async for event_id, data in in_turns(self._by.thinking_events.ended(account)):
            self._emit(data, event_id)

    async def _all_notes(self, answer: Answer) -> Notes:
        """Return notes of all that counts, from the log where another worker has generated some of it."""
        if not answer.next_seq or (self._whole and self._attempt == answer.attempt):
            return self._notes
        try:
            _, chunks = await recounted(
                self._worker.tails, self._at, self._request.uid, position=answer.first, rid=answer.rid, upto=answer.last
            )
        except LogError as error:
            logger.warning("request %s: its end is reported without the whole answer: %s", self._request.uid, error)
            return self._notes
        return Notes(chunks)

    def _emit(self, data: EventData, event_id: str | None = None) -> None:
        request = self._request
        self._worker.events.emit(
            data, request.tenant, event_id=event_id, traceparent=request.traceparent, replay=request.replay
        )


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
