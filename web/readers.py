"""The readers of requests: some requests are cancelled when the last reader has left.

The first submission of a request reads it from the start. Any other reader writes a mark to the log when it comes, and
every reader when it leaves; the last one to leave waits for the time of grace and looks for readers that have come.
Readers may be with any worker. A worker that dies writes no marks for its readers: then the answer goes on.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from weir.chat import frames
from weir.chat.cancelling import write_cancelled
from weir.chat.frames import Frame, FrameKind
from weir.chat.reading.identifying import origin
from weir.chat.reading.stored import marks
from weir.chat.requests import chunks_of
from weir.envelope import new_id
from weir.errors import ApiError
from weir.log.log import LogError, LogUnavailableError, Partition
from weir.worker import Worker

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """One client's reading of one request."""

    uid: str
    name: str  # its own submission, or a new name
    tenant: str  # the tenant of the request
    submission: str  # a submission of the request
    position: int = 0  # an offset; no record about that submission is older
    first: bool = False  # whether its submission is known to be the first of its uid
    leaves: bool = True  # False: it is not known whether its leaving matters, so it is not counted as left


class Readers:
    """The readers of one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._leaving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def reading(self, reader: Reader | None) -> AsyncIterator[None]:
        """Keep a reader while it reads. If the last reader leaves before its answer, its request is cancelled.

        A client that gets an error has not left: it knows how its request ended, or where to find it.

        Args:
            reader: the reader; None where readers are not counted. The first submission of a request is there from the
                start, any other writes a mark.

        Raises:
            LogError: the log does not take the mark.
        """
        if reader is None:
            yield
            return
        if not reader.first:
            await self._say(reader, present=True)
        try:
            yield
        except (ConnectionError, asyncio.CancelledError):
            if reader.leaves:
                self.left(reader)
            raise

    def left(self, reader: Reader) -> None:
        """Note that a reader is gone. A stopping worker leaves its requests to the others."""
        if not self._worker.draining:
            task = asyncio.create_task(self._leave(reader), name=f"left-{reader.uid}")
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Stop waiting for readers; requests that are not cancelled go on."""
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def _leave(self, reader: Reader) -> None:
        settings, worker = self._worker.settings, self._worker
        at, uid = chunks_of(worker.log, reader.uid), reader.uid
        try:
            left_at = await self._say(reader, present=False)
            await asyncio.sleep(settings.disconnect_grace_s)
            rid, position = reader.submission, reader.position
            if not reader.first:
                own = reader.name == reader.submission
                rid, begin = await origin(worker.tails, at, uid, position=position, submission=rid, own=own)
                position = min(begin, position)  # readers may have come and gone before the first attempt
            async with asyncio.timeout(settings.accept_timeout_s):
                if not await self._all_gone(at, uid, rid, position, left_at):
                    return
            answer = await write_cancelled(
                worker.log,
                worker.tails,
                at,
                uid,
                rid=rid,
                tenant=reader.tenant,
                position=position,
                timeout_s=settings.accept_timeout_s,
            )
            logger.info("request %s: it has no reader left; %s", uid, answer.terminal and answer.terminal.status)
        except (LogError, ApiError, TimeoutError) as error:
            logger.warning("request %s goes on unread: %s: %s", uid, type(error).__name__, error)

    async def _all_gone(self, at: Partition, uid: str, rid: str, position: int, left_at: int) -> bool:
        """Whether all readers are gone, and this one was the last to leave: else the last one does the check."""
        there, last = {rid: True}, -1
        for offset, mark in await marks(self._worker.tails, at, uid, position=position, kind=FrameKind.READER):
            there[mark.submission] = mark.present
            last = offset
        return not any(there.values()) and last == left_at

    async def _say(self, reader: Reader, *, present: bool) -> int:
        at = chunks_of(self._worker.log, reader.uid)
        mark = Frame(uid=reader.uid, rid=reader.name, kind=FrameKind.READER, submission=reader.name, present=present)
        value = frames.encode(mark, event_id=new_id("evt"), tenant=reader.tenant)
        try:
            async with asyncio.timeout(self._worker.settings.accept_timeout_s):
                return await self._worker.log.append(at.topic, at.partition, reader.uid.encode(), value)
        except TimeoutError:
            raise LogUnavailableError("a reader's mark was not confirmed in time") from None
