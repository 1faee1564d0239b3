"""One request as its generator sees it: its frames folded as they come out of the log."""

import time
from collections.abc import Awaitable

from weir.chat import fold
from weir.chat.decoding import decode
from weir.chat.fold import Answer
from weir.log.log import LogError, LogReplacedError, LogUnavailableError, Record
from weir.log.tails import Tail


class View:
    """Folds the records of a tail of one uid. ``answer`` is the state now."""

    def __init__(self, tail: Tail, rid: str) -> None:
        self._tail = tail
        self.answer = Answer(rid=rid)
        self.position = -1  # the last offset folded
        self.begun_at: float | None = None  # when the answer that counts now was begun: seconds since the epoch
        self.said_bytes = 0  # size of the records that hold it
        self._heard = time.monotonic()

    @property
    def silent_s(self) -> float:
        """Seconds since a counting record was read, or since reading was not at the log's end."""
        return time.monotonic() - self._heard

    async def look(self) -> None:
        """Fold what is in the log, as far as the live feed has come.

        That may be a moment behind the log's end, and is enough: a mark that was decided on it is void if anything
        else had landed.
        """
        async for records in self._tail.pages():
            self._fold(records)
        self._heard = time.monotonic()

    async def wait(self, timeout: float) -> bool:  # noqa: ASYNC109 -- a poll, not a scope
        """Fold the next records; wait for at most ``timeout`` seconds. Return whether any came.

        Raises:
            LogError: the log cannot be read, or its tails were stopped.
        """
        records = await self._tail.next(timeout=timeout)
        if self._tail.closed:
            raise LogUnavailableError("the tails were stopped")
        self._fold(records)
        if not self._tail.caught_up:
            # Silence is judged at the log's end only: behind it, this worker's reading is late.
            self._heard = time.monotonic()
        return bool(records)

    async def land(self, landing: Awaitable[int], within_s: float) -> None:
        """Wait until a record is in the log, and fold everything up to it.

        Raises:
            LogReplacedError: the record landed before records that were read already.
            LogError: it is not sure that the record is in the log, or it cannot be read back within ``within_s``.
        """
        read, at = self.position, self._tail.at
        offset = await landing
        if offset <= read:
            raise LogReplacedError(
                f"{at.topic}-{at.partition} was read up to {read} and has its next record at {offset}"
            )
        await self.read_up_to(offset, within_s)

    async def read_up_to(self, offset: int, within_s: float) -> None:
        """Fold everything up to a record that was confirmed.

        Raises:
            LogError: the record cannot be read back within ``within_s``.
        """
        at, deadline = self._tail.at, time.monotonic() + within_s
        while self.position < offset:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LogError(f"the mark at offset {offset} of {at.topic} {at.partition} cannot be read back")
            await self.wait(left)

    async def listen(self, seconds: float) -> None:
        """Fold what comes within ``seconds``, and then everything up to the end that the log itself reports.

        While the log is away, all workers are silent and none is dead: the time that it takes to answer is not counted.

        Raises:
            LogError: the log does not answer, or its tails were stopped.
        """
        await self.wait(seconds)
        asked_at = time.monotonic()
        self._fold(await self._tail.look())
        answered_at = time.monotonic()
        self._heard = min(answered_at, self._heard + answered_at - asked_at)

    def _fold(self, records: list[Record]) -> None:
        for record in records:
            self.position = record.offset
            frame = decode(record)
            if frame is None:
                continue
            folded = fold.fold(self.answer, record.offset, frame)
            ends = folded.answer.terminal is not None and self.answer.terminal is None
            if folded.answer.restarts > self.answer.restarts or folded.answer.attempts > self.answer.attempts == 0:
                self.begun_at, self.said_bytes = record.timestamp, 0
            elif folded.chunks:
                self.said_bytes += len(record.value or b"")
            self.answer = folded.answer._replace(ended_at=record.timestamp) if ends else folded.answer
            if folded.counts:
                self._heard = time.monotonic()
