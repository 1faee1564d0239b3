"""Finds the answer that a submission gets, and where in the log it starts.

A reader of a *submission* does not know yet whether it is the first of its uid. It waits for the mark that decides: a
begin mark of its own, an attach mark that names where the answer starts, or a conflict mark. A cancellation before the
first attempt is the end of all submissions.
"""

import time
from collections.abc import AsyncGenerator
from typing import NamedTuple

from weir.chat.decoding import decode
from weir.chat.frames import ANYBODY, CLAIMS, FrameKind
from weir.chat.reading.pages import next_of
from weir.errors import InvalidRequestError
from weir.log.log import LogUnavailableError, Partition, Record
from weir.log.tails import Tail, Tails

ORIGIN_IDLE_S = 60.0  # between two steps of a wait that ends with the first mark about a submission


class Identified(NamedTuple):
    """The answer that a submission gets."""

    rid: str
    position: int  # where the answer starts
    known: list[Record]  # the records of the answer that were read
    ended: bool  # whether the answer was over before the submission


async def identify(tail: Tail, submission: str, idle_s: float, *, own: bool) -> AsyncGenerator[Identified | None, None]:
    """Yield None while the answer is not known, then the answer, and end."""
    begun, quiet_since = False, time.monotonic()
    while True:
        records = await next_of(tail, idle_s)
        for place, record in enumerate(records):
            frame = decode(record)
            if frame is None:
                continue
            # an attempt of an earlier submission: then a mark is to come that names it
            begun = begun or bool(frame.attempt)
            first = frame.rid == submission or (frame.rid == ANYBODY and not begun)
            if first and (frame.kind in CLAIMS or frame.kind is FrameKind.TERMINAL):
                yield Identified(submission, record.offset, records[place:], ended=False)
                return
            if frame.submission != submission or frame.kind not in {FrameKind.ATTACH, FrameKind.CONFLICT}:
                continue
            if frame.kind is FrameKind.ATTACH or not own:
                yield Identified(frame.rid, frame.first, [], ended=frame.ended)
                return
            raise InvalidRequestError(
                "Another request with a different body has this uid.", param="uid", code="uid_conflict", status=409
            )
        # Marks about an earlier submission do not reach the reader of this one.
        if time.monotonic() - quiet_since >= idle_s:
            quiet_since = time.monotonic()
            yield None


async def origin(
    tails: Tails, at: Partition, uid: str, *, position: int, submission: str, own: bool = True, topic_id: str = ""
) -> tuple[str, int]:
    """Return the rid of a submission's request, and the offset where its answer starts.

    They are an earlier submission's, if this is not the first of its uid. Waits until the log shows it.

    Raises:
        InvalidRequestError: another request has this uid (409).
        LogReplacedError: the log has been replaced since the position was found.
        LogError: the log cannot be read.
    """
    async with tails.open(at, position, key=uid.encode(), topic_id=topic_id) as tail:
        async for found in identify(tail, submission, ORIGIN_IDLE_S, own=own):
            if found is not None:
                return found[:2]
    raise LogUnavailableError("the tails were stopped")
