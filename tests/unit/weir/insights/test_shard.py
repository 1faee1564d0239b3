"""Windows of one partition: once, in any order, closed by event time, and the same after a crash."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.weir.insights.helpers import LIMITS, SPANS, T0, metrics, requests, seen, signal, signals, tick
from weir.envelope import Event, Json
from weir.insights.closing import Insight
from weir.insights.counts import Counts
from weir.insights.durations import Durations
from weir.insights.event_ids import PAGE
from weir.insights.reading import RecordSource
from weir.insights.rows import QualityRows
from weir.insights.shard import Shard
from weir.insights.values import ModelRow, Seen, WindowKey

NAME = "acme:m"
METRICS, SIGNALS = RecordSource.METRICS, RecordSource.SIGNALS


class Partition:
    """A partition with its two topics, and a worker that closes what is due after each record."""

    def __init__(self, spans: Durations = SPANS) -> None:
        self.spans = spans
        self.table: dict[bytes, bytes] = {}
        self.rows = QualityRows(self.table)
        self.counts = Counts()
        self.ends: Counter[RecordSource] = Counter()
        self.told: list[Insight] = []
        self.shard = self.restart()

    def restart(self) -> Shard:
        own: dict[str, list[Seen]] = {}
        for name, window in self.rows.scan(lambda _: True):
            own.setdefault(name, []).extend([window] if window else ())
        self.shard = Shard(self.rows, 0, own, spans=self.spans, limits=LIMITS, counts=self.counts)
        return self.shard

    def put(
        self, *events: Event, source: RecordSource | None = None, offset: int | None = None, logged_s: float = 0
    ) -> None:
        for event in events:
            of = source or (SIGNALS if event.event_type.startswith("signal") else METRICS)
            at = self.ends[of] if offset is None else offset
            self.ends[of] = max(self.ends[of], at + 1)
            self.shard.fold(of, at, int((T0 + logged_s) * 1000), seen(event))
            self.close()

    def tick(self, at_s: float) -> None:
        """Give both topics the time."""
        self.put(tick(at_s), tick(at_s, "signals"), logged_s=at_s)

    def close(self) -> None:
        for name in self.shard.due():
            while (closing := self.shard.closing(name, 0)) is not None:
                self.told += closing.insights
                self.shard.settle(closing, closing.insights)
        self.shard.note()

    def windows(self, *, closed: bool = True) -> dict[tuple[str, int], Json]:
        """Return the figures by name and start, in seconds after ``T0``."""
        found = {}
        for span, _, is_closed in self.rows.windows():
            row = self.rows.window(span)
            assert row is not None
            if is_closed == closed:
                found[span.name, span.start_ms // 1000 - T0] = row.window.figures()
        return found

    def completed(self, *, closed: bool = True) -> dict[int, int]:
        return {start: one["requests"]["completed"] for (_, start), one in self.windows(closed=closed).items()}

    def model(self, name: str = NAME) -> ModelRow:
        return self.rows.model(name) or ModelRow()


# -- time


def test_windows_close_when_both_topics_have_come_past_their_end_and_the_lateness() -> None:
    partition = Partition()
    partition.put(metrics(1), metrics(9.999), metrics(10), metrics(13))
    assert partition.completed() == {}  # the signals may be far behind
    partition.put(signal(12.999))
    assert partition.completed() == {}
    partition.put(signal(13))
    assert partition.completed() == {0: 2}
    assert partition.completed(closed=False) == {10: 2}


def test_a_window_waits_for_what_comes_late_and_what_comes_later_is_counted_only() -> None:
    partition = Partition()
    partition.put(metrics(1), metrics(12), signal(40), metrics(5))
    partition.put(metrics(13), metrics(9), metrics(3))
    assert partition.completed() == {0: 2}
    assert (partition.model().late, partition.counts.late) == (2, 2)


def test_a_tick_closes_windows_where_nothing_else_comes() -> None:
    partition = Partition()
    partition.put(metrics(1))
    partition.tick(12.9)
    assert partition.completed() == {}
    partition.tick(13)
    assert partition.completed() == {0: 1}


def test_the_clock_asks_for_ticks_of_the_topics_that_hold_up_a_window_and_of_no_other() -> None:
    partition = Partition()

    def now(seconds: float) -> int:
        return int((T0 + seconds) * 1000)

    assert partition.shard.behind(now(1e6)) == []
    partition.put(metrics(1))
    assert partition.shard.behind(now(12.9)) == []
    assert partition.shard.behind(now(13)) == [METRICS, SIGNALS]
    partition.put(metrics(14))
    assert partition.shard.behind(now(14)) == [SIGNALS]
    partition.tick(23.5)
    assert partition.shard.behind(now(1e6)) == []


@pytest.mark.parametrize("event", [metrics(61), metrics(1e9), tick(61), tick(1e9), signal(70)])
def test_what_lies_far_ahead_of_its_time_in_the_log_closes_nothing_and_is_counted(event: Event) -> None:
    partition = Partition()
    partition.put(metrics(1), signal(1))
    before = partition.shard.watermark_ms
    partition.put(event)
    assert partition.shard.watermark_ms == before
    assert partition.completed(closed=False) == {0: 1}
    assert partition.counts.ahead == 1
    assert partition.model().ahead == (0 if event.event_type.endswith("tick") else 1)


def test_the_watermark_does_not_go_back_when_the_lateness_becomes_longer() -> None:
    partition = Partition()
    partition.put(metrics(1), metrics(20), signal(20))
    partition.spans = replace(SPANS, lateness_ms=15_000)
    partition.restart()
    partition.put(metrics(2), metrics(2, model="other"))
    assert partition.completed() == {0: 1}
    assert (partition.model().late, partition.model("acme:other").late) == (1, 1)


def test_windows_of_another_length_close_at_their_own_end() -> None:
    partition = Partition()
    partition.put(metrics(1), signal(1))
    partition.spans = replace(SPANS, size_ms=4_000)
    partition.restart()
    partition.put(metrics(2), metrics(5))
    partition.tick(30)
    assert sorted(partition.windows()) == [(NAME, 0), (NAME, 4)]
    assert partition.completed()[4] == 1


# -- once


def test_what_is_delivered_again_is_folded_once() -> None:
    partition = Partition()
    events = [metrics(1), metrics(2), signal(1)]
    partition.put(*events)
    partition.restart()
    for offset, event in ((0, events[0]), (1, events[1])):
        partition.put(event, offset=offset)
    partition.put(events[2], offset=0)
    assert partition.windows(closed=False)[NAME, 0]["signals"] == 1
    assert partition.completed(closed=False) == {0: 2}
    assert partition.counts.redelivered == 3


def test_what_is_published_again_is_folded_once_however_many_there_are() -> None:
    partition = Partition()
    events = [metrics(index / 100) for index in range(PAGE * 3 + 5)]
    partition.put(*events)
    partition.put(*random.Random(1).sample(events, 150))
    partition.restart()
    partition.put(*events)
    assert partition.completed(closed=False) == {0: len(events)}
    assert partition.counts.repeated == 150 + len(events)
    assert sum(key.startswith(b"ids/") for key in partition.table) == 3
    partition.tick(13)
    assert not any(key.startswith(b"ids/") for key in partition.table)
    assert partition.completed() == {0: len(events)}


def test_an_id_that_comes_with_another_time_is_known_as_long_as_its_window_is_open() -> None:
    partition = Partition()
    event = metrics(9)
    partition.put(event, event._replace(data=metrics(11).data))
    assert partition.completed(closed=False) == {0: 1}


def test_late_and_early_records_are_counted_once_when_they_are_delivered_again() -> None:
    partition = Partition()
    late, ahead = metrics(1), metrics(1e6)
    partition.put(metrics(20), signal(20), late, ahead)
    for offset, event in ((1, late), (2, ahead)):
        partition.put(event, offset=offset)
    assert (partition.model().late, partition.model().ahead) == (1, 1)


def test_a_record_of_a_closed_window_that_is_delivered_again_is_not_late_nor_is_a_repeated_one() -> None:
    partition = Partition()
    event = metrics(1)
    partition.put(event, event, metrics(20), signal(20))
    for offset in (0, 1):
        partition.put(event, offset=offset)
    assert partition.model().late == 0


@pytest.mark.parametrize("seed", range(20))
def test_the_same_events_give_the_same_windows_whatever_their_order_and_however_often_they_come(seed: int) -> None:
    dice = random.Random(seed)

    def story(order: random.Random) -> dict[tuple[str, int], Json]:
        """Each event may come a lateness after younger ones, the topics are read in any order, and some repeat."""
        partition = Partition()
        queues = {of: [e for e in all_events if e.event_type.startswith(of[:6])] for of in RecordSource}
        for of in RecordSource:
            queues[of] += order.sample(queues[of], 60)
            queues[of].sort(key=lambda event: -seen(event).at_ms - order.uniform(0, SPANS.lateness_ms - 1))
        while any(queues.values()):
            of = order.choice([one for one in RecordSource if queues[one]])
            for _ in range(min(len(queues[of]), order.randrange(1, 60))):
                partition.put(queues[of].pop(), logged_s=200)
            if order.random() < 0.1:
                partition.restart()
        partition.tick(80)
        assert partition.counts.repeated + partition.counts.late >= 120
        return partition.windows()

    all_events = [
        make(dice.uniform(0, 59), model=dice.choice("abc"), **more)
        for _ in range(400)
        for make, more in ((metrics, {"cost_usd": dice.random(), "latency_ms": dice.uniform(1, 9e3)}), (signal, {}))
    ]
    expected = story(random.Random(0))
    assert len(expected) == 18
    assert sum(one["requests"]["completed"] + one["signals"] for one in expected.values()) == 800
    assert story(dice) == expected


# -- judged


def bad(at_s: float) -> list[Event]:
    return signals(20, -1.0, given_at=signal(at_s).data["given_at"])


def good(at_s: float) -> list[Event]:
    return signals(20, 1.0, given_at=signal(at_s).data["given_at"])


def told(partition: Partition) -> list[tuple[str, str]]:
    return [(str(one.insight_type), str(one.status)) for one in partition.told]


def test_one_insight_is_raised_and_one_cleared_under_the_same_id() -> None:
    partition = Partition()
    partition.put(*good(1), *bad(11), *bad(21), *good(31))
    partition.tick(60)
    assert told(partition) == [("quality_drop", "active"), ("quality_drop", "resolved")]
    raised, cleared = partition.told
    assert raised.insight_id == cleared.insight_id
    assert (raised.value, raised.previous, raised.count, raised.unit) == (-1.0, 1.0, 20, "score")
    assert raised.window_start == signal(10).data["given_at"]
    assert cleared.window_start == signal(30).data["given_at"]
    assert partition.model().active == {}
    (over,) = partition.rows.over(NAME)
    assert (over["status"], over["raised"]["status"]) == ("resolved", "active")


def test_a_breach_of_a_model_without_requests_is_over_after_a_silence() -> None:
    partition = Partition()
    partition.put(*bad(1))
    partition.tick(42.9)
    assert told(partition) == [("quality_drop", "active")]
    assert partition.shard.behind(int((T0 + 43) * 1000)) == [METRICS, SIGNALS]
    partition.tick(43)  # three windows after the end of the last one, and the lateness
    assert told(partition)[1:] == [("quality_drop", "resolved")]
    assert "there was no request to it for 3 windows" in partition.told[1].description
    partition.put(*bad(51))
    partition.tick(70)
    assert told(partition)[2:] == [("quality_drop", "active")]
    assert partition.told[2].insight_id != partition.told[0].insight_id


def test_windows_with_too_little_data_are_no_silence() -> None:
    partition = Partition()
    partition.put(*bad(1))
    for window in range(1, 9):
        partition.put(metrics(window * 10 + 1), logged_s=window * 10)
        partition.tick(window * 10 + 5)
    assert told(partition) == [("quality_drop", "active")]


def test_only_the_last_windows_are_kept_and_a_model_that_is_gone_is_forgotten() -> None:
    partition = Partition()
    for window in range(10):
        partition.put(metrics(window * 10), logged_s=window * 10)
        partition.tick(window * 10 + 13)
    assert sorted(partition.completed()) == [40, 50, 60, 70, 80, 90]
    assert [one.start_ms // 1000 - T0 for one in partition.model().kept] == [40, 50, 60, 70, 80, 90]
    partition.tick(162.9)
    assert partition.completed() != {}
    partition.tick(163)
    assert list(partition.table) == [b"partition/0"]


def test_insights_that_are_over_are_shown_for_a_while_after_the_windows_are_gone() -> None:
    partition = Partition()
    partition.put(*bad(1))
    partition.tick(43)
    partition.tick(120)
    assert partition.windows() == {}
    assert len(partition.rows.over(NAME)) == 1
    partition.tick(700)
    assert list(partition.table) == [b"partition/0"]


# -- after a crash


@pytest.mark.parametrize("seed", range(30))
def test_a_crash_after_any_table_change_changes_nothing(seed: int) -> None:
    """The changelog keeps any beginning of what was written; later records are delivered again."""
    dice = random.Random(seed)
    events: list[Event] = []
    for window in range(8):
        make = bad if 3 <= window < 6 else good
        events += [*make(window * 10 + 2), *requests(6, ended_at=metrics(window * 10 + 4).data["ended_at"])]
    late = [metrics(1), metrics(2)]
    log = [*events, *late, tick(100), tick(100, "signals")]
    plain = Partition(replace(SPANS, ahead_ms=1_000_000))
    plain.put(*log)

    partition = Partition(replace(SPANS, ahead_ms=1_000_000))
    partition.table = Recorded()
    partition.rows = QualityRows(partition.table)
    partition.restart()
    position, written = 0, {0: 0}  # how much was written before each record
    while position < len(log):
        event, offsets = log[position], Counter(_source(one) for one in log[:position])
        partition.put(event, offset=offsets[_source(event)])
        position += 1
        written[position] = len(partition.table.changes)
        if dice.random() < 0.02:
            committed = dice.randrange(max(0, position - 30), position + 1)
            partition.table.cut(dice.randrange(written[committed], len(partition.table.changes) + 1))
            partition.restart()
            position = committed
    assert dict(partition.table) == plain.table
    assert {(one.insight_id, one.status, one.value) for one in partition.told} == {
        (one.insight_id, one.status, one.value) for one in plain.told
    }


def test_a_crash_between_what_is_over_and_what_is_not_wrong_any_more_shows_it_once() -> None:
    partition = Partition()
    partition.table = Recorded()
    partition.rows = QualityRows(partition.table)
    partition.restart()
    partition.put(*bad(1), *good(11), tick(23))
    partition.put(tick(23, "signals"), offset=40)
    changes = [key.partition(b"/")[0] for key, _ in partition.table.changes]
    partition.table.cut(changes.index(b"over") + 1)
    partition.restart()
    assert list(partition.model().active) == ["quality_drop"]
    partition.put(tick(23, "signals"), offset=40)
    assert partition.model().active == {}
    assert len(partition.rows.over(NAME)) == 1


class Recorded(dict[bytes, bytes]):
    """A table with its changelog."""

    def __init__(self) -> None:
        super().__init__()
        self.changes: list[tuple[bytes, bytes | None]] = []

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.changes.append((key, value))
        super().__setitem__(key, value)

    def pop(self, key: bytes, default: Any = None) -> Any:
        if key in self:
            self.changes.append((key, None))
        return super().pop(key, default)

    def cut(self, keep: int) -> None:
        """Lose the last changes, and read the others again."""
        del self.changes[keep:]
        self.clear()
        for key, value in self.changes:
            if value is None:
                super().pop(key, None)
            else:
                super().__setitem__(key, value)


def _source(event: Event) -> RecordSource:
    return SIGNALS if event.event_type.startswith("signal") else METRICS


def test_what_a_former_owner_has_left_behind_in_memory_is_not_judged_again() -> None:
    partition = Partition()
    partition.put(*bad(1))
    ghost = dict(partition.table)  # as this worker wrote it; then another one went on, and its tombstones are compacted
    partition.tick(500)
    partition.table.update(ghost)
    partition.restart()
    partition.tick(501)
    assert told(partition) == [("quality_drop", "active"), ("quality_drop", "resolved")]
    assert partition.rows.window(WindowKey(NAME, T0 * 1000, T0 * 1000 + 10_000)) is None
