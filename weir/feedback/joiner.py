"""Joins feedback with its request, in either order of arrival, and publishes the result: a signal, a quality figure.

Feedback on a request that has not ended, or is not known, waits in the feedback table, and is joined when the states
agent learns of the end; that agent has the same partition on the same worker. An event is acknowledged when its results
are in the log, and their ids are made from the feedback's id: after a crash the same ones are written again.
"""

import asyncio
import logging
import time
from collections import Counter

from weir import envelope, topics
from weir.chat.dead_lettering import dead_letter
from weir.chat.ends import Ends
from weir.chat.lifecycle import TERMINAL, Happening
from weir.chat.states import RequestRows, superseded
from weir.chat.validation import check_uid
from weir.envelope import Event, Json, MalformedRecordError, utc_iso
from weir.errors import InvalidRequestError
from weir.events import catalogue
from weir.events.base import derived_id
from weir.events.feedback import FeedbackExpired, FeedbackRescored, FeedbackSource, FeedbackSubmitted, FeedbackType
from weir.events.signals import SignalRecorded
from weir.feedback import distance, folding, joining, pieces
from weir.feedback.keyed_executor import KeyedExecutor
from weir.feedback.ownership import still_ours
from weir.feedback.pieces import Piece
from weir.feedback.rows import FeedbackRows
from weir.feedback.rules import Count
from weir.log.log import Delivered, Partition, header_pairs, partition_of
from weir.log.retrying import until_written
from weir.worker import Worker

logger = logging.getLogger(__name__)

AT_ONCE = 64  # events that wait for the log at the same time
DRAIN_S = 5.0  # for the events that wait for the log while the worker stops; the next owner processes the rest again
LATE_S = 60.0  # after its end, a request's event counts as lost
_COMPARING = asyncio.Semaphore(1)
ENDS = frozenset({Happening.COMPLETED, Happening.FAILED, Happening.CANCELLED, Happening.EXPIRED})


class Joiner:
    """Processes feedback, and the ends of requests, of this worker's partitions.

    Args:
        worker: the worker.
        requests: the requests table.
        ends: the terminals table.
        rows: the feedback table.
        counts: counts what this worker has done with feedback since its start.
    """

    def __init__(
        self, worker: Worker, *, requests: RequestRows, ends: Ends, rows: FeedbackRows, counts: Counter[Count]
    ) -> None:
        self._worker = worker
        self._requests, self._ends, self._rows = requests, ends, rows
        self._counts = counts
        self._turns = KeyedExecutor(AT_ONCE)

    async def drain(self, seconds: float) -> None:
        """Finish the events that wait for the log."""
        await self._turns.drain(min(seconds, DRAIN_S))

    # -- feedback

    async def take(self, event: Delivered) -> None:
        """Take one event of ai-feedback-events; returns when the next one may come. Settles the event later."""
        try:
            feedback = envelope.decode(event.message.value)
        except MalformedRecordError as error:
            await self._dead_letter(event, str(error))
            return
        await self._turns.begin(str(feedback.data.get("uid")), lambda: self._settle(event, feedback))

    async def _settle(self, event: Delivered, feedback: Event) -> None:
        try:
            await self._process(event, feedback)
        except (MalformedRecordError, InvalidRequestError) as error:
            await self._dead_letter(event, str(error))
        except Exception:
            # A record that raises here would do so for ever, and block its partition.
            logger.exception("ai-feedback-events %d at %d", event.message.partition, event.message.offset)
            await self._dead_letter(event, "a defect in Weir while taking the feedback")
        else:
            event.ack()

    async def _process(self, event: Delivered, feedback: Event) -> None:
        """Process one event of feedback.

        Raises:
            MalformedRecordError, InvalidRequestError: it is not feedback; the message holds nothing of its content.
        """
        uid = feedback.data.get("uid")
        if not isinstance(uid, str):
            raise MalformedRecordError("`data.uid`: Input should be a valid string")
        at = partition_of(self._worker.log, topics.AI_FEEDBACK.name, uid.encode())
        if at.partition != event.message.partition:
            await self._move(event, uid, at)
        elif feedback.event_type == FeedbackExpired.EVENT_TYPE:
            await self._expire(event, uid, catalogue.data_of(feedback, FeedbackExpired))
        elif feedback.event_type == FeedbackRescored.EVENT_TYPE:
            await self._rescored(event, uid, catalogue.data_of(feedback, FeedbackRescored))
        else:
            await self._submitted(event, feedback, catalogue.data_of(feedback, FeedbackSubmitted))

    async def _move(self, event: Delivered, uid: str, at: Partition) -> None:
        """Move a record to its uid's partition, whose owner has the row: Kafka clients have different partitioners."""
        check_uid(uid)
        self._counts[Count.MOVED] += 1
        message, key = event.message, uid.encode()
        headers = header_pairs(message.headers)
        await until_written(lambda: self._worker.log.append(*at, key, message.value, headers))

    async def _submitted(self, event: Delivered, feedback: Event, data: FeedbackSubmitted) -> None:
        folding.check(feedback, data, self._worker.settings)
        piece = await _piece(event, feedback, data)
        if not await still_ours(self._worker, event):
            return
        uid = data.uid
        kept = folding.keep(self._rows.get(uid), piece, self._requests.get(uid), self._worker.settings)
        self._counts[kept.counts_as] += 1
        if kept.counts_as is Count.RECEIVED:
            self._put(uid, kept.pieces)
        if kept.counts_as is not Count.FOREIGN:
            await self._join(event, uid, self._requests.get(uid))

    async def _join(self, event: Delivered, uid: str, request: Json | None) -> bool:
        """Publish the signals of an ended request's waiting pieces. Return whether its row is still this worker's."""
        signals = folding.due(self._rows.get(uid), request)
        if request is None or signals is None:
            return True
        await asyncio.gather(*(self._tell(piece, signal) for piece, signal in signals))
        if not await still_ours(self._worker, event):
            return False
        joined = folding.join(self._rows.get(uid), signals, request, utc_iso())
        self._counts[Count.FOREIGN] += joined.foreign
        self._counts[Count.JOINED] += joined.joined
        self._put(uid, joined.pieces)
        return True

    async def _tell(self, piece: Piece, signal: SignalRecorded) -> None:
        events, quality = self._worker.events, joining.quality_of(piece, signal)
        await until_written(lambda: events.publish(signal, piece.tenant, event_id=joining.signal_id(piece)))
        await until_written(lambda: events.publish(quality, piece.tenant, event_id=joining.quality_id(piece)))

    async def _expire(self, event: Delivered, uid: str, data: FeedbackExpired) -> None:
        # The event of a request's end may have been lost with its worker; the terminals table has the end.
        if not await self._join(event, uid, self._request(uid)) or not await still_ours(self._worker, event):
            return
        row = self._rows.get(uid)
        left = folding.expire(row, data)
        self._counts[Count.EXPIRED] += _expired(left) - _expired(pieces.pieces(row))
        self._put(uid, left)

    async def _rescored(self, event: Delivered, uid: str, data: FeedbackRescored) -> None:
        if self._rows.get(uid) is not None and await still_ours(self._worker, event):
            self._put(uid, folding.rescore(self._rows.get(uid), data))

    # -- requests

    def ended(self, event: Delivered, trace: Event) -> bool:
        """Take the end of a request, after its row is written. Return whether the event is settled here, later.

        Args:
            event: an event of agent-trace-events, as it was delivered.
            trace: the decoded event.
        """
        try:
            return self._take_end(event, trace)
        except Exception:
            # The waiting pieces are joined after the next sweep.
            logger.exception("agent-trace-events %d at %d", event.message.partition, event.message.offset)
            return False

    def _take_end(self, event: Delivered, trace: Event) -> bool:
        uid = trace.data.get("uid")
        request = self._requests.get(uid) if trace.event_type in ENDS and isinstance(uid, str) else None
        if request is None or not isinstance(uid, str) or request["state"] not in TERMINAL:
            return False  # no end, or an earlier end of the request, published again
        if request.get("replay") is not None:
            return False
        left = trace.event_type == Happening.CANCELLED == f"request.{request['state']}"
        if not left and not pieces.waiting(self._rows.get(uid)):
            return False
        # The agent must not wait: a client that looks for a request that was accepted just now would wait, too.
        return self._turns.begin_now(uid, lambda: self._settle_end(event, request, abandoned=left))

    async def _settle_end(self, event: Delivered, request: Json, *, abandoned: bool) -> None:
        try:
            if abandoned:
                await self._abandoned(request)
            await self._join(event, str(request["uid"]), request)
        except Exception:
            # The waiting pieces are joined after the next sweep.
            logger.exception("agent-trace-events %d at %d", event.message.partition, event.message.offset)
        event.ack()

    async def _abandoned(self, request: Json) -> None:
        """Publish a cancelled request as implicit feedback on its answer, once."""
        uid, tenant = str(request["uid"]), str(request["tenant"])
        data = FeedbackSubmitted(
            uid=uid,
            response_id=f"chatcmpl-{uid}",
            feedback_type=FeedbackType.IMPLICIT_REJECT,
            feedback_source=FeedbackSource.ABANDON,
            user_id=request.get("username"),
            session_id=request.get("session_id"),
        )
        feedback_id = derived_id("abandon", tenant, uid, request.get("rid"))
        await until_written(lambda: self._worker.events.publish(data, tenant, event_id=feedback_id))
        self._counts[Count.ABANDONED] += 1

    def is_left(self, uid: str) -> bool:
        """Whether a request has ended, and its waiting pieces were left by the worker that should have joined them."""
        request = self._request(uid)
        return request is not None and request["state"] in TERMINAL

    def _request(self, uid: str) -> Json | None:
        """Return a request's row; with its end by the terminals table, if the row should show it by now."""
        row, end = self._requests.get(uid), self._ends.get(uid)
        known = (row is not None and row["state"] in TERMINAL) or (end is not None and superseded(row, end.rid))
        if end is None or known or time.time() - end.ended_at < LATE_S:
            return row
        return {"uid": uid, **(row or {}), "tenant": end.tenant, "state": end.status}

    def _put(self, uid: str, kept: list[Piece]) -> None:
        row = pieces.row_of(uid, kept)
        if row is None:
            self._rows.forget(uid)
        else:
            self._rows.put(uid, row)

    # --

    async def _dead_letter(self, event: Delivered, reason: str) -> None:
        self._counts[Count.DEAD] += 1
        await dead_letter(self._worker, event, reason)


async def _piece(event: Delivered, feedback: Event, data: FeedbackSubmitted) -> Piece:
    """Return the piece for a row, with the edit distance of a correction that came without one."""
    return pieces.piece_of(
        data,
        feedback_id=feedback.event_id,
        tenant=feedback.tenant_id,
        given_at=pieces.given_at(feedback.timestamp, event.message.timestamp),
        received_at=utc_iso(),
        offset=event.message.offset,
        edit_distance=await _edit_distance(data),
    )


async def _edit_distance(data: FeedbackSubmitted) -> float | None:
    given = data.edit_distance is not None or data.original is None or data.corrected is None
    if given or distance.cells(str(data.original), str(data.corrected)) <= distance.AT_ONCE:
        return joining.edit_distance(data)
    async with _COMPARING:  # threads compete for the GIL, so only one is used
        return await asyncio.to_thread(joining.edit_distance, data)


def _expired(found: list[Piece]) -> int:
    return sum(piece.state is pieces.Standing.EXPIRED for piece in found)
