"""The consumer lag, and a broker that is away."""

import asyncio
import time
from collections.abc import Mapping

from faust.types import TP

from weir.telemetry import lag
from weir.telemetry.lag import Lag

MINE, NEW, CHANGELOG = TP("t", 0), TP("t", 1), TP("weir-x-changelog", 0)


class FakeGroup:
    """A consumer with two partitions of a topic and one of a changelog."""

    def __init__(self) -> None:
        self.owned = {MINE, NEW, CHANGELOG}
        self.done: dict[TP, int] = {MINE: 60}
        self.away: Exception | None = None
        self.hangs = False
        self.asked = 0
        self.unsettled: set[TP] = set()
        self.positions: dict[TP, int | None] = {}

    def assignment(self) -> set[TP]:
        return self.owned

    def committed(self, tp: TP) -> int | None:
        return self.done.get(tp)

    def settled(self, tp: TP) -> bool:
        return tp not in self.unsettled

    async def position(self, tp: TP) -> int | None:
        return self.positions.get(tp)

    async def highwaters(self, *tps: TP) -> Mapping[TP, int]:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.away is not None:
            raise self.away
        return dict.fromkeys(tps, 100)

    async def earliest_offsets(self, *tps: TP) -> Mapping[TP, int]:
        return dict.fromkeys(tps, 90)


async def test_the_lag_is_what_is_not_committed_of_what_the_log_still_has() -> None:
    one, group = Lag({"t": "t"}), FakeGroup()
    await one.refresh(group)
    assert one.values(group.owned) == {("t", "0"): 40, ("t", "1"): 10}
    assert one.known_at > time.time() - 60


async def test_what_was_read_to_its_end_and_settled_is_no_lag() -> None:
    """The last offsets may be those of control records, which are never delivered."""
    one, group = Lag({"t": "t"}), FakeGroup()
    group.positions = {MINE: 100, NEW: 99}
    await one.refresh(group)
    assert one.values(group.owned) == {("t", "0"): 0, ("t", "1"): 10}
    two, group.unsettled = Lag({"t": "t"}), {MINE}
    await two.refresh(group)
    assert two.values(group.owned) == {("t", "0"): 40, ("t", "1"): 10}


async def test_a_partition_that_went_to_another_worker_is_reported_by_that_worker() -> None:
    one, group = Lag({"t": "t"}), FakeGroup()
    await one.refresh(group)
    group.owned.discard(MINE)
    assert one.values(group.owned) == {("t", "1"): 10}


async def test_two_calls_at_once_ask_the_broker_once() -> None:
    one, group = Lag({"t": "t"}), FakeGroup()
    await asyncio.gather(one.refresh(group), one.refresh(group))
    await one.refresh(group)
    assert group.asked == 1


async def test_while_the_broker_is_away_the_last_answer_is_told_and_its_time() -> None:
    one, group = Lag({"t": "t"}), FakeGroup()
    await one.refresh(group)
    known_at = one.known_at
    await asyncio.sleep(lag.FRESH_S)
    group.away = ConnectionError("away")
    await one.refresh(group)
    assert one.values(group.owned) == {("t", "0"): 40, ("t", "1"): 10}
    assert one.known_at == known_at


async def test_a_broker_that_does_not_answer_holds_a_scrape_for_a_moment_and_the_next_one_not_at_all() -> None:
    one, group = Lag({"t": "t"}), FakeGroup()
    group.hangs = True
    began = time.monotonic()
    await one.refresh(group)
    assert lag.WAIT_S <= time.monotonic() - began < lag.ASK_S
    assert one.values(group.owned) == {}
    began = time.monotonic()
    await one.refresh(group)
    assert time.monotonic() - began < lag.WAIT_S
    assert group.asked == 1
    await one.close()
