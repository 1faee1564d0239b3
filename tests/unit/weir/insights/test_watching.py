"""From records to insights: published once, whichever process dies and whatever the log does."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.weir.insights.helpers import LIMITS, SPANS, T0, metrics, signal, signals, tick
from tests.unit.weir.insights.test_shard import Recorded
from tests.unit.weir.log.memory_log import AWAY, MemoryLog
from weir import envelope, topics
from weir.envelope import Event, utc_iso
from weir.events.base import derived_id
from weir.events.publishing import Events
from weir.insights import watching as module
from weir.insights.rows import QualityRows
from weir.insights.swapping import GivenAwayError
from weir.insights.watching import WindowKeeper
from weir.log import retrying
from weir.log.log import LogError, LogRefusedError, Partition, Record
from weir.log.partitioner import partition_for

MODEL = next(f"m{n}" for n in range(99) if partition_for(f"acme:m{n}".encode(), 3) == 0)
INSIGHTS = Partition(topics.AI_INSIGHTS.name, partition_for(b"acme", 6))
METRICS, SIGNALS = topics.AGENT_METRICS.name, topics.AI_LEARNING_SIGNALS.name


class Stage:
    """A worker's watching, on a table with a changelog, and a log."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.log.now = T0
        self.table = Recorded()
        self.generation = 1
        self.durable = 0  # changes that a crash leaves at least
        self.offsets: Counter[str] = Counter()
        self.watching = self.restart()

    def restart(self) -> WindowKeeper:
        self.watching = WindowKeeper(
            log=self.log,
            events=Events(self.log),
            rows=QualityRows(self.table),
            spans=replace(SPANS, ahead_ms=1_000_000),
            limits=LIMITS,
            tenant="default",
            written=self._written,
        )
        return self.watching

    async def _written(self) -> None:
        await asyncio.sleep(0)
        self.durable = len(self.table.changes)

    def crash(self, keep: int) -> None:
        """kill -9: the last changes of the table are lost, unless the worker waited for them."""
        self.table.cut(max(keep, self.durable))
        self.restart()

    async def put(self, *events: Event, still_own: Callable[[], bool] = lambda: True) -> None:
        for event in events:
            topic = SIGNALS if event.event_type.startswith("signal") else METRICS
            await self.watching.take(record(event, topic, self.offsets[topic]), self.generation, still_own)
            self.offsets[topic] += 1

    def told(self) -> list[tuple[str, str]]:
        """Return the insights in ai-insights, by type and status."""
        events = [envelope.decode(value) for value in self.log.values(INSIGHTS)]
        assert len({event.event_id for event in events}) == len(events), "an insight is there twice"
        return [(event.data["insight_type"], event.data["status"]) for event in events]


def record(event: Event, topic: str, offset: int, value: bytes | None = None) -> Record:
    value = value or envelope.encode(event.event_id, event.event_type, event.tenant_id, event.data)
    return Record(topic, 0, offset, T0, b"", value, ())


def bad(at_s: float) -> list[Event]:
    return signals(20, -1.0, model=MODEL, given_at=utc_iso(T0 + at_s))


def good(at_s: float) -> list[Event]:
    return signals(20, 1.0, model=MODEL, given_at=utc_iso(T0 + at_s))


def closing(at_s: float) -> list[Event]:
    return [tick(at_s), tick(at_s, "signals")]


RAISED, CLEARED = ("quality_drop", "active"), ("quality_drop", "resolved")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(module, "RETRY_S", 0.001)
    monkeypatch.setattr(retrying, "PAUSE_S", 0.001)
    return Stage()


async def test_an_insight_is_an_event_of_its_tenant_under_an_id_of_its_own(stage: Stage) -> None:
    await stage.put(*good(1), *bad(11), *good(21), *closing(50))
    assert stage.told() == [RAISED, CLEARED]
    raised, cleared = (envelope.decode(value) for value in stage.log.values(INSIGHTS))
    assert raised.event_type == "insight.raised"
    assert raised.event_id == derived_id("insight", raised.data["insight_id"], "active")
    assert raised.tenant_id == cleared.tenant_id == "acme"
    assert {one.key for one in stage.log.records[INSIGHTS]} == {b"acme"}
    assert stage.watching.counts.raised == stage.watching.counts.cleared == {"quality_drop": 1}
    assert stage.watching.counts.closed == 3


async def test_the_table_says_that_a_window_is_judged_only_when_its_insight_is_in_the_log(stage: Stage) -> None:
    await stage.put(*bad(1), tick(20))
    stage.log.appending = asyncio.Event()
    task = asyncio.create_task(stage.put(tick(20, "signals")))
    await asyncio.sleep(0.01)
    assert QualityRows(stage.table).model(f"acme:{MODEL}") is None
    assert stage.durable == len(stage.table.changes)  # and all that led to it is in the changelog before
    stage.log.appending.set()
    await task
    row = QualityRows(stage.table).model(f"acme:{MODEL}")
    assert row is not None
    assert list(row.active) == ["quality_drop"]


async def test_an_insight_that_a_crash_has_left_in_the_log_is_found_and_not_told_again(stage: Stage) -> None:
    await stage.put(*bad(1), tick(20))
    before = len(stage.table.changes)
    last = tick(20, "signals")
    await stage.put(last)
    stage.crash(before)
    assert QualityRows(stage.table).model(f"acme:{MODEL}") is None
    stage.log.now = T0 + 5
    for other in range(1000):  # others' insights behind it
        stage.log.put(INSIGHTS, b"acme", envelope.encode(f"evt-other-{other}", "insight.raised", "acme", {}))
    stage.offsets[SIGNALS] -= 1
    await stage.put(last)
    events = [envelope.decode(value).event_id for value in stage.log.values(INSIGHTS)]
    assert len(set(events)) == len(events) == 1001
    assert stage.watching.counts.found == 1
    row = QualityRows(stage.table).model(f"acme:{MODEL}")
    assert row is not None
    assert list(row.active) == ["quality_drop"]


async def test_an_append_that_fails_in_doubt_is_looked_for_before_it_is_tried_again(stage: Stage) -> None:
    failures = [True, True, False]

    def fail(at: Partition, value: bytes | None) -> LogError | None:
        if at == INSIGHTS and failures.pop(0):
            stage.log.put(at, b"acme", value)  # it is there all the same
            return AWAY
        return None

    stage.log.fail_append = fail
    await stage.put(*bad(1), *closing(20))
    assert stage.told() == [RAISED]
    assert failures == [True, False]


async def test_while_the_log_is_away_nothing_is_judged_and_nothing_is_lost(stage: Stage) -> None:
    await stage.put(*bad(1), tick(20))
    stage.log.broken = AWAY
    task = asyncio.create_task(stage.put(tick(20, "signals")))
    await asyncio.sleep(0.02)
    assert not task.done()
    stage.log.broken = None
    await task
    assert stage.told() == [RAISED]


@pytest.mark.parametrize("reading", [True, False], ids=["not even read", "not written"])
async def test_an_insight_that_the_log_refuses_is_told_and_holds_up_no_window(
    stage: Stage, caplog: pytest.LogCaptureFixture, *, reading: bool
) -> None:
    """An ACL is missing: a retry every second does not help, and the windows after it are judged."""
    refusal = LogRefusedError("cannot append to ai-insights-1: the Kafka user may not, an ACL is missing")
    if reading:
        stage.log.refused.add(INSIGHTS.topic)
    stage.log.fail_append = lambda at, _: refusal if at == INSIGHTS else None
    await stage.put(*bad(1), *closing(20))
    assert stage.told() == []
    assert stage.watching.counts.refused == 1
    assert "an insight of acme is not in the log" in caplog.text
    assert "an ACL is missing" in caplog.text
    assert "waiting for the log" not in caplog.text
    stage.log.fail_append = lambda *_: None  # it is granted
    stage.log.refused.clear()
    await stage.put(*good(41), *closing(70))
    assert stage.told() == [CLEARED]


async def test_a_worker_that_loses_the_partition_meanwhile_writes_nothing_more(stage: Stage) -> None:
    await stage.put(*bad(1), tick(20))
    owned = [True]
    stage.log.appending = asyncio.Event()
    task = asyncio.create_task(stage.put(tick(20, "signals"), still_own=lambda: owned[0]))
    await asyncio.sleep(0.01)
    owned[0] = False
    changes = len(stage.table.changes)
    stage.log.appending.set()
    with pytest.raises(GivenAwayError):
        await task
    with pytest.raises(GivenAwayError):
        await stage.put(metrics(60, model=MODEL), still_own=lambda: False)
    assert len(stage.table.changes) == changes
    stage.generation = 2  # the next owner
    await stage.put(tick(20, "signals"))
    assert stage.told() == [RAISED]


async def test_changes_of_another_owner_are_read_again_when_the_partition_comes_back(stage: Stage) -> None:
    await stage.put(*bad(1))
    other = Stage()
    other.log = stage.log
    other.table = stage.table
    other.generation = 2
    other.restart()
    other.offsets = stage.offsets.copy()
    await other.put(*closing(20))
    stage.generation, stage.offsets = 3, other.offsets
    await stage.put(*closing(50), *bad(3))
    assert stage.told() == [RAISED, CLEARED]
    row = QualityRows(stage.table).model(f"acme:{MODEL}")
    assert row is not None
    assert row.late == 20


async def test_what_is_remembered_beside_the_rows_is_forgotten_when_another_owner_may_have_changed_them(
    stage: Stage,
) -> None:
    await stage.put(metrics(1, model=MODEL))
    other, twice = Stage(), metrics(2, model=MODEL)
    other.table, other.generation, other.offsets = stage.table, 2, stage.offsets.copy()
    other.restart()
    await other.put(twice)
    stage.generation, stage.offsets = 3, other.offsets
    await stage.put(twice)
    assert stage.watching.counts.repeated == 1


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (b"{", "not JSON"),
        (envelope.encode("e", "metrics.recorded", "acme", {"model": MODEL}), "`data.uid`"),
        (envelope.encode("e", "metrics.recorded", "acme", metrics(model=MODEL, ended_at="x").data), "`data.ended_at`"),
        (envelope.encode("e", "signal.recorded", "acme", signal(model=MODEL, weight=7.0).data), "`data.weight`"),
        (envelope.encode("e", "metrics.recorded", "other", metrics(model="another").data), "`key`"),
    ],
)
async def test_a_malformed_record_is_skipped_and_its_field_is_named(
    stage: Stage, caplog: pytest.LogCaptureFixture, value: bytes, told: str
) -> None:
    await stage.watching.take(record(metrics(), METRICS, 0, value), 1, lambda: True)
    assert told in caplog.text
    assert (stage.watching.counts.malformed, stage.table) == (1, {})
    await stage.put(metrics(1, model=MODEL))
    assert stage.watching.counts.folded == {"metrics": 1}


async def test_feedback_is_not_counted_twice_for_what_its_quality_event_says(stage: Stage) -> None:
    data = {"model": MODEL, "uid": "u", "score": 1.0, "feedback_id": "f", "feedback_type": "thumbs_up"}
    await stage.put(metrics()._replace(event_type="metrics.quality", data=data))
    assert stage.table == {}


async def test_the_clock_writes_a_tick_to_each_topic_once_and_the_window_closes(stage: Stage) -> None:
    await stage.put(*bad(1))
    await stage.watching.tick({0, 1}, 1, T0 + 5.0)
    assert not stage.log.records
    await stage.watching.tick({0, 1}, 1, T0 + 13.0)
    await stage.watching.tick({0, 1}, 1, T0 + 20.0)
    written = [record for at in (METRICS, SIGNALS) for record in stage.log.records[Partition(at, 0)]]
    assert [(one.topic, envelope.decode(one.value).event_type) for one in written] == [
        (METRICS, "metrics.tick"),
        (SIGNALS, "signals.tick"),
    ]
    for one in written:
        await stage.watching.take(one._replace(offset=1000), 1, lambda: True)
    assert stage.told() == [RAISED]
    await stage.watching.tick({0, 1}, 1, T0 + 21.0)
    assert stage.watching.ticks_written == 2


async def test_a_tick_that_cannot_be_written_is_written_at_the_next_look(stage: Stage) -> None:
    await stage.put(*bad(1))
    stage.log.broken = AWAY
    await stage.watching.tick({0}, 1, T0 + 13.0)
    stage.log.broken = None
    await stage.watching.tick({0}, 1, T0 + 14.0)
    assert stage.watching.ticks_written == 2


@pytest.mark.parametrize("seed", range(20))
async def test_a_worker_that_is_killed_at_any_await_tells_each_insight_once(stage: Stage, seed: int) -> None:
    """The topics come in another order after each crash, and the last records before it may be read again."""
    dice = random.Random(seed)
    log: dict[str, list[Event]] = {METRICS: [], SIGNALS: []}
    for window in range(8):
        log[SIGNALS] += (bad if 3 <= window < 6 else good)(window * 10 + 2)
        log[METRICS] += [metrics(window * 10 + 4, model=MODEL) for _ in range(6)]
    log[METRICS].append(tick(100))
    log[SIGNALS].append(tick(100, "signals"))
    position = {METRICS: 0, SIGNALS: 0}
    marks = [(dict(position), 0)]  # of which any may be what was committed

    while any(position[topic] < len(log[topic]) for topic in log):
        topic = dice.choice([topic for topic in log if position[topic] < len(log[topic])])
        taking = stage.watching.take(record(log[topic][position[topic]], topic, position[topic]), 1, lambda: True)
        task = asyncio.create_task(taking)
        for _ in range(dice.choice([1000] * 10 + list(range(1, 8)))):
            if task.done():
                break
            await asyncio.sleep(0)
        if task.done():
            await task
            position[topic] += 1
            marks.append((dict(position), len(stage.table.changes)))
            if dice.random() > 0.02:
                continue
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        committed, written = dice.choice(marks[-25:])
        stage.crash(dice.randrange(written, len(stage.table.changes) + 1))
        position = dict(committed)
        marks = [(committed, len(stage.table.changes))]

    assert stage.told() == [RAISED, CLEARED]
    rows = QualityRows(stage.table)
    windows = [rows.window(span) for span, _, _ in rows.windows()]
    assert sorted(row.window.signals for row in windows if row) == [20] * 6
    assert sorted(row.window.completed for row in windows if row) == [6] * 6
