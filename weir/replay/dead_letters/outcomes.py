"""Follows requests that were sent again to their ends in the log."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from weir import topics
from weir.chat.reading.delivery import IDLE
from weir.chat.reading.following import deliveries
from weir.errors import ApiError
from weir.log.log import LogClient, partition_of
from weir.log.tails import Tails
from weir.ranges.progress import Step
from weir.replay.waiting import WaitForWorkers

AT_ONCE: Final = 64  # requests whose ends are awaited at the same time
LOOK_S: Final = 0.2
OTHER: Final = "refused"  # its uid belongs to another request by now, or its answer cannot be read


class Sent(NamedTuple):
    """A request that was sent again."""

    uid: str
    submission: str  # its event id
    chunks_from: int  # no record of its answer is older
    chunks_topic_id: str = ""  # the id of the topic in which chunks_from is an offset


class Outcomes:
    """Follows requests to their ends.

    Args:
        tails: the tails by which the log is read.
        patience_s: how long to wait without any progress.
        step: gets each end.
        still_wanted: raises if the run was cancelled.
    """

    def __init__(
        self,
        log: LogClient,
        tails: Tails,
        *,
        patience_s: float,
        step: Step,
        still_wanted: Callable[[], Awaitable[None]],
    ) -> None:
        self.counts: Counter[str] = Counter()  # requests by how they ended
        self._log = log
        self._tails, self._patience_s, self._step = tails, patience_s, step
        self._waiting = WaitForWorkers(patience_s, still_wanted)

    async def follow(self, sent: Sequence[Sent]) -> None:
        """Wait for the ends of all requests.

        Raises:
            UnfinishedError: no request has ended for too long.
            CancelledRunError: the run was cancelled.
            LogError: the log cannot be read.
        """
        left = iter(sent)
        tasks = {asyncio.create_task(self._work(left)) for _ in range(min(AT_ONCE, len(sent)))}
        try:
            while tasks:
                done, tasks = await asyncio.wait(tasks, timeout=LOOK_S, return_when=asyncio.FIRST_EXCEPTION)
                for task in done:
                    task.result()
                if tasks:
                    await self._waiting.check(lambda: self._why(len(sent)))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _why(self, count: int) -> str:
        return (
            f"nothing has happened for {self._patience_s:g} s, and {count - self.counts.total()} "
            "requests have not ended: is a worker running?"
        )

    async def _work(self, left: Iterator[Sent]) -> None:
        for one in left:
            self.counts[await self._end_of(one)] += 1
            self._step.advance()

    async def _end_of(self, sent: Sent) -> str:
        at = partition_of(self._log, topics.CHAT_CHUNKS.name, sent.uid.encode())
        news = deliveries(
            self._tails,
            at,
            sent.uid,
            position=sent.chunks_from,
            topic_id=sent.chunks_topic_id,
            idle_s=self._patience_s,
            submission=sent.submission,
        )
        try:
            async with aclosing(news):
                async for delivery in news:
                    if delivery is not IDLE:
                        self._waiting.heard()
                    if delivery.terminal is not None:
                        return delivery.terminal.status.value
        except ApiError:
            self._waiting.heard()
        return OTHER
