"""What a worker has in flight: one task for each request, its event settled only after the terminal was read back.

The offset of an event is committed when it and all before it are acknowledged, so a worker that dies leaves every
unfinished request to the next owner of its partition. Nothing is acknowledged for having been started.
"""

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from faust.types import EventT

from agents.answering import Answering, Slot
from answers import frames
from answers.envelope import MalformedRecordError
from answers.fold import Answer
from answers.frames import Frame, Kind
from app import dead_letters, requests, topics
from app.core import Weir
from app.lifecycle import Happening
from app.requests import ChatRequest, new_id
from tables import terminals
from tables.terminals import Ended
from transports.log import LogError, Partition, Record, header_pairs

logger = logging.getLogger(__name__)

RETRY_S = 1.0  # pause before a dead letter or a mark for a second submission is tried again


@dataclass(slots=True)
class InFlight:
    """A request that this worker brings to its end."""

    request: ChatRequest
    events: list["EventT[Any]"] = field(default_factory=list)  # its deliveries: more than one after a rebalance
    task: "asyncio.Task[None] | None" = None


class Work:
    """Takes events of chat-requests, many at once."""

    def __init__(self, app: Weir, answering: Answering) -> None:
        self._app = app
        self._answering = answering
        self._slots: asyncio.Semaphore | None = None
        self._in_flight: dict[str, InFlight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """Requests that are being answered or followed."""
        return len(self._in_flight)

    async def take(self, event: "EventT[Any]") -> None:
        """Take one event; returns when the next one may come. Settles it later, by itself."""
        if self._app.draining:
            await asyncio.get_running_loop().create_future()  # until the stopping worker cancels this stream
        try:
            request = requests.decode(event.message.value)
        except MalformedRecordError as error:
            await self._bury(event, str(error))
            return
        known = self._in_flight.get(request.uid)
        ended = terminals.get(request.uid)
        if known is not None:
            if known.request.event_id == request.event_id:
                known.events.append(event)  # delivered again after a rebalance
            else:
                rid, print_, first = known.request.event_id, known.request.fingerprint, known.request.chunks_from
                self._own(self._answer_again(event, request, rid, print_, first))
        elif ended is None:
            await self._start(event, request)
        elif ended.rid == request.event_id:
            event.ack()  # settled before a crash that came before the commit
        else:
            self._own(self._answer_again(event, request, ended.rid, ended.fingerprint, ended.first))

    async def drain(self, seconds: float) -> None:
        """Finish what is in flight within ``seconds``; what is left goes to the next owner."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        if self._tasks:
            logger.warning(
                "%d requests did not end within %g s and are left to the next owner", self.in_flight, seconds
            )
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _start(self, event: "EventT[Any]", request: ChatRequest) -> None:
        self._slots = self._slots or asyncio.Semaphore(self._app.settings.max_in_flight)
        slot = Slot(self._slots)
        await slot.take()  # back-pressure: the rest waits in the topic
        work = self._in_flight[request.uid] = InFlight(request, [event])
        work.task = self._own(self._run(work, event.message.partition, slot))

    def _own(self, coroutine: "asyncio._CoroutineLike[None]") -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, work: InFlight, partition: int, slot: Slot) -> None:
        request = work.request

        def on_attempt(attempt: str) -> None:
            self._app.traces.emit(
                request, Happening.ATTEMPTED, {"attempt": attempt, "chunks_from": request.chunks_from}
            )

        try:
            at = Partition(topics.CHAT_CHUNKS.name, partition)
            answer = await self._answering.answer(request, at, slot=slot, on_attempt=on_attempt)
            self._settle(work, answer, partition)
        except Exception:
            # Without a settlement the commit stays where it is, so the request is found again.
            logger.exception("request %s: could not be brought to its end", request.uid)
        finally:
            slot.give_back()
            self._in_flight.pop(request.uid, None)

    def _settle(self, work: InFlight, answer: Answer, partition: int) -> None:
        """Follow a terminal that was read out of the log: table first, then the offset."""
        request, terminal = work.request, answer.terminal
        if terminal is None:
            raise RuntimeError("settled without a terminal")
        if partition in self._app.own_partitions():  # else the next owner settles it, from the same log
            ended = Ended(
                rid=answer.rid,
                fingerprint=request.fingerprint,
                tenant=request.tenant,
                status=terminal.status,
                first=answer.first,
                last=answer.last,
                ended_at=time.time(),
            )
            terminals.put(request.uid, ended)
        for event in work.events:
            event.ack()
        details = {
            "attempt": answer.attempt,
            "finish_reason": terminal.finish_reason,
            "usage": terminal.usage,
            "error": terminal.error,
            "timings": terminal.timings,
            "first": answer.first,
            "last": answer.last,
        }
        self._app.traces.emit(request, Happening(f"request.{terminal.status}"), details)

    async def _answer_again(
        self, event: "EventT[Any]", request: ChatRequest, rid: str, fingerprint: str, first: int
    ) -> None:
        """A second submission of a uid gets a mark that names it, never a second call."""
        same = request.fingerprint == fingerprint
        mark = Frame(
            uid=request.uid,
            rid=rid,
            kind=Kind.ATTACH if same else Kind.CONFLICT,
            submission=request.event_id,
            first=first,
        )
        value = frames.encode(mark, event_id=new_id("evt"), tenant=request.tenant)
        while True:
            try:
                await self._app.log_client.append(topics.CHAT_CHUNKS.name, event.message.partition, request.key, value)
                break
            except LogError as error:
                logger.warning("request %s: its second submission waits for the log: %s", request.uid, error)
                await asyncio.sleep(RETRY_S)
        event.ack()

    async def _bury(self, event: "EventT[Any]", reason: str) -> None:
        message = event.message
        record = Record(
            message.topic,
            message.partition,
            message.offset,
            message.timestamp,
            message.key,
            message.value,
            header_pairs(message.headers),
        )
        logger.warning("chat-requests %d at %d goes to the dead letters: %s", record.partition, record.offset, reason)
        while True:
            try:
                await dead_letters.bury(
                    self._app.log_client,
                    record,
                    reason=reason,
                    tenant=self._app.settings.default_tenant,
                    value_max_bytes=self._app.settings.kafka_max_message_bytes // 2,
                )
                break
            except LogError as error:
                logger.warning("a dead letter waits for the log: %s", error)
                await asyncio.sleep(RETRY_S)
        event.ack()
