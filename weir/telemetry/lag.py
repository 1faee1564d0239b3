"""How far the consumer group is behind in the partitions of this worker.

The broker is asked at each scrape, and never waited for longer than `WAIT_S`: a broker that is away costs a
scrape that much once, and what was known last is told until it is back, with the time when it was known.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from typing import Protocol

from faust.types import TP

from weir.telemetry.collectors import Values

logger = logging.getLogger(__name__)

ASK_S = 5.0  # for all that is asked at once
WAIT_S = 0.5  # a scrape's part of it
FRESH_S = 0.5  # what is not older is told again


class Group(Protocol):
    """What is asked of the consumer: ``weir.log.settlement.Settlement`` in a driver's consumer."""

    def assignment(self) -> set[TP]:
        """Its partitions."""

    def committed(self, tp: TP) -> int | None:
        """The offset that the group has committed; None before the first."""

    def settled(self, tp: TP) -> bool:
        """Whether all that was delivered of a partition is acknowledged."""

    async def position(self, tp: TP) -> int | None:
        """The offset that is read next."""

    async def highwaters(self, *tps: TP) -> Mapping[TP, int]:
        """The ends of partitions, asked of the broker."""

    async def earliest_offsets(self, *tps: TP) -> Mapping[TP, int]:
        """Their starts."""


class Lag:
    """The lag of one worker's partitions, in records."""

    def __init__(self, labels: Mapping[str, str]) -> None:
        """Tells only of these topics: the group commits no offsets of changelogs.

        Args:
            labels: by the name that a topic has on the brokers.
        """
        self._labels = dict(labels)
        self._lag: dict[TP, int] = {}
        self._asking: asyncio.Task[None] | None = None
        self._asked_at = -FRESH_S  # monotonic
        self._answers = True  # whether the broker did when it was last asked
        self.known_at = 0.0  # seconds since the epoch

    async def refresh(self, group: Group) -> None:
        """Ask the broker, unless that is being done; waits a moment for its answer. Never raises.

        Not to be called while partitions are shared out: what is committed in new ones is not known before the end.
        """
        if self._asking is None or self._asking.done():
            if time.monotonic() - self._asked_at < FRESH_S:
                return
            self._asking = asyncio.create_task(self._ask(group), name="consumer lag")
        done, _ = await asyncio.wait({self._asking}, timeout=WAIT_S if self._answers else 0)
        if not done:
            self._answers = False  # until it does, no scrape waits again

    def values(self, owned: Collection[TP]) -> Values:
        """By topic and partition, of what is owned now and known."""
        return {(self._labels[tp.topic], str(tp.partition)): lag for tp, lag in self._lag.items() if tp in owned}

    async def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self, group: Group) -> None:
        tps = [tp for tp in group.assignment() if tp.topic in self._labels]
        try:
            async with asyncio.timeout(ASK_S):
                ends = await group.highwaters(*tps) if tps else {}
                fresh = [tp for tp in tps if group.committed(tp) is None]
                starts = await group.earliest_offsets(*fresh) if fresh else {}
                lag = {tp: await _lag_of(group, tp, end, starts.get(tp, 0)) for tp, end in ends.items()}
        except Exception as error:  # noqa: BLE001 -- whatever a broker that is away makes its client raise
            self._answers = False
            logger.debug("the consumer lag is not known: %r", error)
        else:
            self._answers = True
            self._lag = lag
            self.known_at = time.time()
        self._asked_at = time.monotonic()


async def _lag_of(group: Group, tp: TP, end: int, start: int) -> int:
    """What is not committed; 0 where that is only the control records that end a client's transactions.

    They have offsets and are never delivered, so nothing is committed behind them before the next record.
    """
    lag = max(0, end - (group.committed(tp) or start))
    if lag and group.settled(tp) and (await group.position(tp) or 0) >= end:
        return 0
    return lag
