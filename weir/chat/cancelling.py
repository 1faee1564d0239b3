"""Cancels a request of any worker at its client's wish: by a terminal record in the log, which needs no attempt.

The HTTP door and the RabbitMQ door call the same `Cancelling.cancel`.
"""

import asyncio
from typing import NamedTuple

from weir.chat import frames
from weir.chat.decoding import decode
from weir.chat.fold import Answer, fold
from weir.chat.frames import ANYBODY, CLAIMS, Frame, FrameKind, Status, Terminal
from weir.chat.lifecycle import TERMINAL
from weir.chat.lookup import Lookup
from weir.chat.requests import chunks_of
from weir.chat.states import first_known, start_of
from weir.envelope import Json, new_id
from weir.log.log import LogClient, LogUnavailableError, Partition, Record
from weir.log.tails import Tails
from weir.worker import Worker


class Cancelled(NamedTuple):
    """How a request that was to be cancelled ended: it may have ended otherwise before."""

    uid: str
    tenant: str
    status: str

    def as_json(self) -> Json:
        """Return it as the HTTP door answers it."""
        return {"id": f"chatcmpl-{self.uid}", "object": "chat.completion.state", "status": self.status}


class Cancelling:
    """Cancels requests of any worker.

    Args:
        worker: this worker.
        lookup: finds the rows of requests.
    """

    def __init__(self, worker: Worker, lookup: Lookup) -> None:
        self._worker, self._lookup = worker, lookup

    async def cancel(self, uid: str) -> Cancelled:
        """Cancel a request, unless it has ended already.

        Raises:
            NotFoundError: no worker knows the request.
            UnavailableError: the worker that owns the request is away.
            LogError: the request may or may not be cancelled.
        """
        row = await self._lookup.fresh(uid)
        status = str(row["state"])
        if status not in TERMINAL:
            answer = await write_cancelled(
                self._worker.log,
                self._worker.tails,
                chunks_of(self._worker.log, uid),
                uid,
                rid=str(row["rid"]) if first_known(row) else ANYBODY,
                tenant=str(row["tenant"]),
                position=start_of(row),
                timeout_s=self._worker.settings.accept_timeout_s,
            )
            status = str(answer.terminal.status) if answer.terminal else status
        return Cancelled(uid, str(row["tenant"]), status)


async def write_cancelled(
    log: LogClient,
    tails: Tails,
    at: Partition,
    uid: str,
    *,
    rid: str,
    tenant: str,
    position: int,
    timeout_s: float,
    status: Status = Status.CANCELLED,
) -> Answer:
    """Cancel a request, unless it has ended already, and read back how it ended: the first terminal in the log counts.

    Args:
        log: the log client.
        tails: the tails to read the answer with.
        at: the partition of chat-chunks.
        uid: the request's uid.
        rid: the request's rid; ANYBODY where it is not known which submission of the uid came first.
        tenant: the request's tenant.
        position: an offset; no record about the request is older.
        timeout_s: the time that the log may take.
        status: cancelled or expired.

    Raises:
        LogError: the request may or may not be cancelled.
    """
    answer = Answer(rid=rid)
    try:
        async with asyncio.timeout(timeout_s), tails.open(at, position, key=uid.encode()) as tail:
            async for records in tail.pages():
                answer = _folded(answer, records)
            answer = _folded(answer, await tail.look())
            if answer.terminal is None:
                terminal = Terminal(status=status, finish_reason=status)
                end = Frame(uid=uid, rid=answer.rid, kind=FrameKind.TERMINAL, terminal=terminal)
                value = frames.encode(end, event_id=new_id("evt"), tenant=tenant)
                await log.append(at.topic, at.partition, uid.encode(), value)
            while answer.terminal is None and not tail.closed:
                answer = _folded(answer, await tail.next())
    except TimeoutError:
        raise LogUnavailableError("a cancellation was not confirmed in time") from None
    if answer.terminal is None:
        raise LogUnavailableError("the tails were stopped")
    return answer


def _folded(answer: Answer, records: list[Record]) -> Answer:
    for record in records:
        frame = decode(record)
        if frame is not None:
            answer = fold(_known(answer, frame), record.offset, frame).answer
    return answer


def _known(answer: Answer, frame: Frame) -> Answer:
    """Take the rid of the first attempt seen as the request's, if the rid is ANYBODY; frames count from there on."""
    if answer.rid != ANYBODY or not frame.attempt or answer.terminal is not None:
        return answer
    last = frame.after if frame.kind in CLAIMS else answer.last
    return Answer(rid=frame.rid, attempt=frame.attempt, last=last, next_seq=frame.seq)
