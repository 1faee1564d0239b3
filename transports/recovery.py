"""Table recovery that cannot hang, for both brokers: give Faust ``TableManager=transports.recovery.TableManager``.

Faust 0.15.3 (``faust/tables/recovery.py``) has one task that applies changelog records, ``_slurp_changelogs``, and one
that waits for it, ``_restart_recovery``. The first sets ``signal_recovery_end`` when the last record is in, and clears
it at the top of each of its loops. The second, between ``_set_recovery_started()`` and ``signal_recovery_end.wait()``,
awaits the start of the fetcher; and a task that waits on an event wakes one turn of the loop after it was set. When
the changelog is short, the event is set and cleared before anyone waits. It is set only while ``in_recovery``, which
is False from then on: the worker never gets ready.

Here the event stays set until the next recovery starts.
"""

import asyncio
from time import monotonic
from typing import Any

from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import Recovery as FaustRecovery
from faust.types import TP
from mode import Service

__all__ = ["Recovery", "TableManager"]

STALLED_S = 6.0  # a recovery that reads at all reads thousands of records in this time


class _RecoveryEnd(asyncio.Event):
    """Set once for each recovery, and cleared by the next one only."""

    def clear(self) -> None:
        """Ignored: ``_slurp_changelogs`` clears on every loop, and a lost wake-up hangs the worker."""

    def begin(self) -> None:
        """A new recovery starts."""
        super().clear()


class Recovery(FaustRecovery):
    """Faust's recovery with an end that cannot be missed."""

    _end: _RecoveryEnd | None = None
    _pushed_at = 0.0

    @property
    def signal_recovery_end(self) -> asyncio.Event:
        """Set when all active tables have been read."""
        return self._recovery_end()

    def _recovery_end(self) -> _RecoveryEnd:
        if self._end is None:
            self._end = _RecoveryEnd()
        return self._end

    def _set_recovery_started(self) -> None:
        self._recovery_end().begin()
        super()._set_recovery_started()

    # -- a recovery that reads nothing

    @Service.task
    async def _watch(self) -> None:
        """Push a recovery that needs records and gets none: seek again, and let them flow.

        Seen on a live Kafka, about once in twenty rebalances that came seconds after another one: the changelogs were
        assigned, and not one record of them was delivered, for ever. Reading a record twice is harmless, recovery
        passes over offsets it has seen.
        """
        while not self.should_stop:
            await self.sleep(STALLED_S / 4)
            if self.in_recovery and self.need_recovery() and self._stalled_s() > STALLED_S:
                await self._push()

    def _stalled_s(self) -> float:
        """Seconds since a changelog record was read, or else since the recovery started."""
        since = max([self._recovery_started_at or 0.0, self._pushed_at, *self._active_events_received_at.values()])
        return monotonic() - since

    async def _push(self) -> None:
        app: Any = self.app  # what follows is in no interface of Faust's
        consumer, generation = app.consumer, app.consumer_generation_id
        self._pushed_at = monotonic()
        self.log.warning(
            "table recovery got no record for %g s; reading on (flow %s, missing %s, active %s)",
            STALLED_S,
            "open" if consumer.flow_active else "stopped",
            sorted(f"{tp.topic}-{tp.partition}" for tp in self.active_tps if self._missing(tp)),
            sorted(f"{tp.topic}-{tp.partition}" for tp in consumer._active_partitions or ()),  # noqa: SLF001
        )
        try:
            async with asyncio.timeout(STALLED_S):
                await self._seek_offsets(consumer, self.active_tps, self.active_offsets, "active")
        except Exception as error:  # noqa: BLE001 - the next push may succeed
            self.log.warning("table recovery could not seek: %r", error)
            return
        if self.in_recovery and generation == app.consumer_generation_id:
            consumer.resume_partitions(self.active_tps)
            app.flow_control.resume()
            consumer.resume_flow()
            await app._fetcher.maybe_start()  # noqa: SLF001 - as Faust's own recovery does

    def _missing(self, tp: TP) -> bool:
        return (self.active_offsets[tp] or -1) < (self.active_highwaters[tp] or -1)


class TableManager(FaustTableManager):
    """Faust's table manager with `Recovery`."""

    @property
    def recovery(self) -> FaustRecovery:
        """The recovery service, made on first use."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
