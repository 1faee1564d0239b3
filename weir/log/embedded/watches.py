"""Callbacks for partitions that grow, each called in the event loop that registered it."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable

from weir.log.embedded.writer import call_in


class GrowthWatch:
    """The callback of one watcher of partitions, and its event loop."""

    def __init__(self, on_growth: Callable[[], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.on_growth = on_growth
        self.called = False  # a call is on its way already


class Watches:
    """The watches of one log file, by the numbers of their partitions. The caller holds the file's lock."""

    def __init__(self) -> None:
        self._by_id: defaultdict[int, set[GrowthWatch]] = defaultdict(set)

    def add(self, ids: Iterable[int], watch: GrowthWatch) -> None:
        """Call ``watch`` from now on when any of the partitions grows."""
        for id_ in ids:
            self._by_id[id_].add(watch)

    def discard(self, watch: GrowthWatch) -> None:
        """Call ``watch`` no more, even if a call is on its way."""
        watch.on_growth = _nothing
        for watches in self._by_id.values():
            watches.discard(watch)

    def call(self, ids: Iterable[int]) -> None:
        """Call the watches of partitions that have grown. Called for each transaction, by the thread that knows it."""
        for watch in {watch for id_ in ids for watch in self._by_id[id_]}:
            if not watch.called:
                watch.called = True
                call_in(watch.loop, _call, watch)


def _call(watch: GrowthWatch) -> None:
    watch.called = False
    watch.on_growth()


def _nothing() -> None:
    pass
