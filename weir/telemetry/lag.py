"""Measures how far the consumer group is behind in the partitions of this worker.

The broker is asked at each scrape, and never waited for longer than `WAIT_S`: a broker that is away delays one scrape
by that much, and the last known lag is reported until it is back, with the time when it was known.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from typing import Protocol

from faust.types import TP

from weir.telemetry.collectors import Values

logger = logging.getLogger(__name__)

ASK_S = 5.0  # for all questions of one refresh
WAIT_S = 0.5  # how long a scrape waits for the answers
FRESH_S = 0.5  # a lag that is not older is reported again


class LagConsumer(Protocol):
    """The methods of the consumer that are needed: ``weir.log.settlement.Settlement`` in a driver's consumer."""

    def assignment(self) -> set[TP]:
        """The partitions of the group on this worker."""

    def committed(self, tp: TP) -> int | None:
        """The offset that the group has committed; None before the first."""

    def settled(self, tp: TP) -> bool:
        """Whether every delivered record of a partition is acknowledged."""

    async def position(self, tp: TP) -> int | None:
        """The offset that is read next."""

    async def highwaters(self, *tps: TP) -> Mapping[TP, int]:
        """The ends of partitions, asked of the broker."""

    async def earliest_offsets(self, *tps: TP) -> Mapping[TP, int]:
        """The starts of partitions, asked of the broker."""


class Lag:
    """The lag of one worker's partitions, in records."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        """Measures only these topics: the group commits no offsets of changelogs.

        Args:
            labels: the label of each topic, by its name on the brokers.
        """
        self._labels = dict(labels)
        self._lag: dict[TP, int] = {}
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = -FRESH_S  # monotonic
        self._answers = True  # whether the broker answered when it was last asked
        self.known_at = 0.0  # seconds since the epoch

    async def refresh(self, group: LagConsumer) -> None:
        """Ask the broker, unless a question is under way; waits a moment for its answer. Never raises.

        Not to be called during a rebalance: the committed offsets of new partitions are not known before its end.
        """
        if self._asking is None or self._asking.done():
            if time.monotonic() - self._asked_at < FRESH_S:
                return
            self._asking = asyncio.create_task(self._ask(group), name="consumer lag")
        done, _ = await asyncio.wait({self._asking}, timeout=WAIT_S if self._answers else 0)
        if not done:
            self._answers = False  # until the broker answers, no scrape waits again

    def values(self, owned: Collection[TP]) -> Values:
        """The lag by topic and partition, of the partitions that are owned now and have a known lag."""
        return {(self._labels[tp.topic], str(tp.partition)): lag for tp, lag in self._lag.items() if tp in owned}

    async def close(self) -> None:
        """Stop asking the broker."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self, group: LagConsumer) -> None:
        tps = [tp for tp in group.assignment() if tp.topic in self._labels]
        try:
            async with asyncio.timeout(ASK_S):
                ends = await group.highwaters(*tps) if tps else {}
                fresh = [tp for tp in tps if group.committed(tp) is None]
                starts = await group.earliest_offsets(*fresh) if fresh else {}
                lag = {tp: await _lag_of(group, tp, end, starts.get(tp, 0)) for tp, end in ends.items()}
        except Exception as error:  # noqa: BLE001 - any error that the client of a broker that is away may raise
            self._answers = False
            logger.debug("the consumer lag is not known: %r", error)
        else:
            self._answers = True
            self._lag = lag
            self.known_at = time.time()
        self._asked_at = time.monotonic()


async def _lag_of(group: LagConsumer, tp: TP, end: int, start: int) -> int:
    """The number of uncommitted records; 0 if only the control records at the end of a client's transaction are left.

    Control records have offsets and are never delivered, so no offset behind them is committed before the next record.
    """
    lag = max(0, end - (group.committed(tp) or start))
    if lag and group.settled(tp) and (await group.position(tp) or 0) >= end:
        return 0
    return lag
