"""Table recovery that cannot hang, for both brokers: give Faust ``TableManager=weir.log.recovery.TableManager``.

How Faust 0.15.3 recovers (``faust/tables/recovery.py``): at each rebalance one task, ``_restart_recovery``, asks for
the ends of the changelogs, seeks their starts, lets messages flow, and waits for another task, ``_slurp_changelogs``,
which applies the records. Then it seeks the streams' committed offsets and lets them flow. Four things can go wrong:

*The end is missed.* ``_slurp_changelogs`` sets ``signal_recovery_end`` when the last record is in, and clears it at the
top of each of its loops. ``_restart_recovery`` awaits the start of the fetcher before it waits for the event; and a
task that waits for an event wakes one turn of the loop after it was set. When the changelog is short, the event is set
and cleared before a task waits, and it is set only once. Here it stays set until the next recovery starts.

*A step takes longer than ``broker_request_timeout``.* Faust takes that for the end of the service: the task returns,
and no rebalance will ever start it again. Here the recovery starts again.

*A rebalance comes in the middle.* Faust notices it when the next partitions are assigned. Until then the recovery of
those that were just revoked goes on: it lets messages flow in the middle of the rebalance, and reports the worker as
ready. Here the revocation ends the recovery.

*The records do not come*, for whatever reason. The known reason is repaired (`weir.log.kafka.repairs`); for any other,
the recovery starts again, and logs that it does.
"""

import asyncio
from time import monotonic
from typing import Any

from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import RebalanceAgain, ServiceStopped
from faust.tables.recovery import Recovery as FaustRecovery
from faust.types import TP
from mode import Service

from weir.log.changelogs import read_back
from weir.log.log import LogClient, LogError

__all__ = ["Recovery", "TableManager"]

READERS = 4  # partitions of changelogs that are read back at the same time
STALLED_S = 6.0  # a recovery that makes progress reads thousands of records in this time


class _RecoveryEnd(asyncio.Event):
    """Set once for each recovery, and cleared by the next one only."""

    def clear(self) -> None:
        """Do nothing: ``_slurp_changelogs`` clears on every loop, and a lost wake-up hangs the worker."""

    def begin(self) -> None:
        """Clear the event: a new recovery starts."""
        super().clear()


class Recovery(FaustRecovery):
    """Faust's recovery with an end that cannot be missed, and a restart where it stalls."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._end = _RecoveryEnd()
        self._revoked = asyncio.Event()  # set from a revocation until partitions are assigned again
        self._reading_since: float | None = None  # since when Faust has been reading records one by one
        self._reading_back = False  # whether changelogs are being read in pages

    @property
    def signal_recovery_end(self) -> asyncio.Event:
        """The event that is set when all active tables have been read."""
        return self._end

    def _set_recovery_started(self) -> None:
        self._end.begin()
        super()._set_recovery_started()

    # -- rebalances

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """End the recovery that runs, if any."""
        self._reading_since = None
        self._revoked.set()
        super().on_partitions_revoked(revoked)

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        """Start the recovery of the assigned partitions, unless another rebalance has overtaken this one."""
        await super().on_rebalance(assigned, revoked, newly_assigned, generation_id)
        if self.signal_recovery_start.is_set():
            self._revoked.clear()

    async def _wait(self, coro: Any, timeout: Any = None) -> None:  # noqa: ASYNC109
        step = asyncio.ensure_future(coro)
        over: list[Any] = [self.signal_recovery_start, self._revoked]  # mode knows only its own events by type
        try:
            while True:
                waited = await self.wait_first(asyncio.shield(step), *over, timeout=timeout)
                if self.should_stop:
                    raise ServiceStopped
                if self._revoked.is_set() or self.signal_recovery_start.is_set():
                    raise RebalanceAgain
                if waited.done:
                    return
                if not self._reading_back:  # reading in pages takes as long as the table is large
                    self._start_anew(f"a step took longer than {timeout:g} s")
                    raise RebalanceAgain
        finally:
            step.cancel()

    # -- restarts

    def _start_anew(self, reason: str) -> None:
        self.log.warning("table recovery starts anew: %s", reason)
        self._reading_since = None
        self.app.consumer.stop_flow()
        self.signal_recovery_start.set()

    # -- reading

    async def _build_offsets(self, consumer: Any, tps: set[TP], destination: Any, title: str) -> None:
        """Find out where to read on, and read most of it in pages if the app has a log client.

        Faust reads the rest, if any: changes that were written meanwhile.
        """
        await super()._build_offsets(consumer, tps, destination, title)
        log: LogClient | None = getattr(self.app, "log_client", None)
        if log is None or title != "active":
            return
        own_name = getattr(self.app, "own_name", str)  # without the prefix that topics have on the brokers
        turns = asyncio.Semaphore(READERS)

        async def read(tp: TP) -> None:
            async with turns:
                after, last = destination[tp], self.active_highwaters[tp]
                if None not in {after, last} and last > after:
                    place = own_name(tp.topic)
                    table = self.tp_to_table[tp]
                    destination[tp] = await read_back(log, table, tp, after=after, last=last, topic=place)

        self._reading_back = True
        try:
            ends = await asyncio.gather(*(read(tp) for tp in tps), return_exceptions=True)
        finally:
            self._reading_back = False
        for error in ends:
            if isinstance(error, LogError):
                self.log.warning("table changes are read one by one, for the log failed: %s", error)
            elif error is not None:
                raise error

    async def _seek_offsets(self, consumer: Any, tps: set[TP], offsets: Any, title: str) -> None:
        if any(offsets[tp] is None for tp in tps):
            raise RebalanceAgain  # other partitions have been assigned since the offsets were asked for
        await super()._seek_offsets(consumer, tps, offsets, title)
        if title == "active":
            self._reading_since = monotonic()

    @Service.task
    async def _watch(self) -> None:
        while not self.should_stop:
            await self.sleep(STALLED_S / 4)
            if self.in_recovery and self.need_recovery() and self._stalled_s() > STALLED_S:
                missing = sorted(tp for tp, count in self.active_remaining().items() if count > 0)
                names = ", ".join(f"{topic}-{partition}" for topic, partition in missing)
                self._start_anew(f"no record for {STALLED_S:g} s, missing {names}")

    def _stalled_s(self) -> float:
        """Seconds since the last changelog record was read, or since reading could have begun."""
        if self._reading_since is None:
            return 0.0
        return monotonic() - max([self._reading_since, *self._active_events_received_at.values()])


class TableManager(FaustTableManager):
    """Faust's table manager with `Recovery`."""

    @property
    def recovery(self) -> FaustRecovery:
        """The recovery service, made on first use."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
