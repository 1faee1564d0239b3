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

from faust.tables.manager import TableManager as FaustTableManager
from faust.tables.recovery import Recovery as FaustRecovery

__all__ = ["Recovery", "TableManager"]


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


class TableManager(FaustTableManager):
    """Faust's table manager with `Recovery`."""

    @property
    def recovery(self) -> FaustRecovery:
        """The recovery service, made on first use."""
        if self._recovery is None:
            self._recovery = Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
