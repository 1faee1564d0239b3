"""A rebuild by another formula equals a run from scratch with that formula, windows included, while requests go on."""

import asyncio
import random

import pytest

from tests.unit.weir.insights.helpers import SPANS
from tests.unit.weir.replay.rebuild.world import (
    METRICS,
    MODELS,
    PARTITIONS,
    SIGNALS,
    Owner,
    World,
    hurry,
    random_formula,
    use,
)
from weir import topics
from weir.envelope import Json
from weir.events.feedback import FeedbackType
from weir.insights.rows import QualityRows
from weir.insights.values import WindowKey
from weir.log.log import Partition
from weir.ranges.errors import UnfinishedError, UsageError
from weir.ranges.when import Edge, Time

BAD = {FeedbackType.THUMBS_UP: -0.5, FeedbackType.RATING: -1.0, FeedbackType.THUMBS_DOWN: 0.25}


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.mark.parametrize("seed", range(25))
async def test_a_rebuild_by_another_formula_is_a_run_from_scratch_with_it(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    world = World(dice)
    world.load(600)
    for _ in range(dice.choice((0, 900, 10_000))):  # the worker keeps up, or is far behind
        await world.owner.step()
    use(monkeypatch, random_formula(dice))
    world.load(100)
    command = world.command()
    planned = await command.plan(Edge.EARLIEST, emit=False, now=world.log.now)
    report = await world.beside(
        command.do(await command.begin(planned, by="cli"), planned),
        lambda: world.load(1) if dice.random() < 0.2 else None,
    )
    world.load(100)
    await world.owner.drain()
    assert world.owner.state() == (await world.scratch()).state()
    world.end(60)
    await world.owner.drain()
    assert world.owner.state() == (await world.scratch()).state()
    assert report.windows >= report.changed > 10
    assert world.scorer.worth() == world.today()


async def test_without_emit_nothing_is_told_of_the_past_and_with_it_everything_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(random.Random(3))
    world.load(700)
    await world.owner.drain()
    insights, signals = world.insights(), world.signals()
    use(monkeypatch, BAD)
    silent = await world.rebuild()
    assert (world.insights(), world.signals()) == (insights, signals)
    assert silent.more
    assert silent.less

    emitted = await world.rebuild(emit=True)
    more = [one for one in world.insights() if one not in insights]
    assert {one.data["rebuilt"] for one in more} == {emitted.run}
    assert len(more) == emitted.emitted_insights >= len(silent.more)
    ids = [event.event_id for event in world.insights()]
    assert len(set(ids)) == len(ids)
    rows = QualityRows(world.owner.table)
    active = {one["insight_id"] for name in rows.names() if (row := rows.model(name)) for one in row.active.values()}
    raised = {one.data["insight_id"] for one in world.insights() if one.event_type == "insight.raised"}
    cleared = {one.data["insight_id"] for one in world.insights() if one.event_type == "insight.cleared"}
    assert active <= raised
    assert raised - cleared <= active
    anew = [event for event in world.signals() if event.data.get("rebuilt")]
    assert len({event.data["feedback_id"] for event in anew}) == len(anew) == emitted.emitted_signals
    today = world.today()
    assert {event.data["feedback_id"]: event.data["score"] for event in anew} == {
        event.data["feedback_id"]: today[event.data["feedback_id"]].score
        for event in signals
        if event.event_type == "signal.recorded"
        and (event.data["score"], event.data["weight"]) != today[event.data["feedback_id"]]
    }
    await world.owner.drain()
    assert world.owner.state() == (await world.scratch()).state()

    again = await world.rebuild(emit=True)
    assert (again.changed, again.rows, again.emitted_insights) == (0, 0, 0)


async def test_a_look_writes_nothing_and_reports_what_the_run_then_does(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(random.Random(4))
    world.load(500)
    await world.owner.drain()
    use(monkeypatch, BAD)
    command = world.command()
    before = {at: len(records) for at, records in world.log.records.items()}
    look = await command.look(await command.plan(Edge.EARLIEST, emit=False, now=world.log.now))
    assert {at: len(records) for at, records in world.log.records.items()} == before
    report = await world.rebuild()
    assert {**look.as_json(), "run": report.run} == report.as_json()
    assert report.changed > 0
    assert report.rows > 0
    assert "mean" in report.as_text()


@pytest.mark.parametrize("seed", range(6))
async def test_since_the_middle_of_history_what_was_before_stays_and_the_rest_is_of_today(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(random.Random(seed))
    world.load(400)
    middle = world.log.now
    world.load(400)
    world.end(30)
    await world.owner.drain()
    before = windows(world.owner)
    use(monkeypatch, BAD)
    report = await world.rebuild(Time(middle))
    after, scratch = windows(world.owner), windows(await world.scratch())
    assert report.from_ms >= middle * 1000
    assert after.keys() == scratch.keys()
    for span, figures in after.items():
        assert figures == (before if span.start_ms < report.from_ms else scratch)[span]
    assert report.signals.changed > 0


async def test_what_retention_has_taken_is_kept_as_the_live_table_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(random.Random(5))
    world.load(400)
    middle = world.log.now
    world.load(150)
    await world.owner.drain()
    for number in PARTITIONS:
        for topic in (METRICS, SIGNALS):
            at = Partition(topic, number)
            world.log.starts[at] = await world.log.offset_at(at, middle - 60)
    before = windows(world.owner)
    use(monkeypatch, BAD)
    await world.rebuild()
    after, scratch = windows(world.owner), windows(await world.scratch())
    assert after.keys() == scratch.keys()
    whole_ms = (middle + SPANS.size_ms / 1000) * 1000
    assert all(figures == before[span] for span, figures in after.items() if span.end_ms <= (middle - 10) * 1000)
    assert all(figures == scratch[span] for span, figures in after.items() if span.start_ms >= whole_ms)


@pytest.mark.parametrize("seed", range(6))
async def test_since_the_middle_again_by_the_same_formula_changes_nothing(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(random.Random(seed))
    world.load(500)
    middle = world.log.now
    world.load(150)
    world.end(10)
    await world.owner.drain()
    use(monkeypatch, BAD)
    await world.rebuild()
    before = without_apart(world.owner.state())
    report = await world.rebuild(Time(middle))
    assert without_apart(world.owner.state()) == before
    assert report.changed == 0


@pytest.mark.parametrize("left", [0, 1])
async def test_open_windows_stay_open_where_retention_has_emptied_a_topic(
    left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(random.Random(5))
    world.load(400)
    world.end(60)
    await world.owner.drain()
    for number in PARTITIONS:
        at = Partition(SIGNALS, number)
        if left:
            world.tick(number)
        world.log.starts[at] = len(world.log.records[at]) - left
    for _ in range(40):
        world.log.now += 0.05
        world.request(*world.dice.choice(MODELS))
    await world.owner.drain()
    before, late = open_windows(world.owner), world.owner.watching.counts.late
    assert before
    use(monkeypatch, BAD)
    await world.rebuild()
    assert open_windows(world.owner) == before
    for _ in range(40):
        world.request(*world.dice.choice(MODELS), status="completed")
    await world.owner.drain()
    assert world.owner.watching.counts.late == late
    assert all(
        QualityRows(world.owner.table).partition(number).closed_ms < world.log.now * 1000 for number in PARTITIONS
    )


@pytest.mark.parametrize("seed", range(12))
async def test_an_owner_that_is_killed_between_any_two_writes_comes_to_the_same(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(seed)
    world = World(dice)
    world.load(500)
    await world.owner.drain()
    use(monkeypatch, BAD)
    command = world.command()
    planned = await command.plan(Edge.EARLIEST, emit=False, now=world.log.now)
    run = await command.begin(planned, by="cli")
    asking = asyncio.create_task(command.do(run, planned))
    number = 0
    at = Partition(METRICS, number)
    before = len(world.log.records[at])
    while len(world.log.records[at]) == before:
        await asyncio.sleep(0)
    asking.cancel()
    world.load(20)
    position, keep = dict(world.owner.position), len(world.owner.table.changes(number))
    insights = len(world.insights())
    await world.owner.drain()
    assert QualityRows(world.owner.table).rebuilt(number).run == run.id
    told = len(world.insights())
    for _ in range(8):
        changes = len(world.owner.table.changes(number))
        world.owner.table.cut(number, dice.randrange(keep, changes + 1))
        world.owner.restart()
        world.owner.position = dict(position)  # nothing of it was committed
        for _ in range(dice.randrange(30)):
            await world.owner.step()
    await world.owner.drain()
    assert len(world.insights()) == told >= insights
    await world.beside(command.do(*await command.find(run.id)))
    assert world.owner.state() == (await world.scratch()).state()
    assert world.scorer.worth() == {name: tuple(worth) for name, worth in world.today().items()}


async def test_an_owner_that_is_away_leaves_a_run_that_can_be_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(random.Random(6))
    world.load(200)
    await world.owner.drain()
    use(monkeypatch, BAD)
    command = world.command(patience_s=0.05)
    planned = await command.plan(Edge.EARLIEST, emit=False, now=world.log.now)
    run = await command.begin(planned, by="cli")
    with pytest.raises(UnfinishedError, match=f"--resume {run.id}"):
        await command.do(run, planned)
    await world.owner.drain()
    with monkeypatch.context() as patch:
        use(patch, {FeedbackType.ESCALATION: 0.0})
        with pytest.raises(UsageError, match="another formula"):
            await command.find(run.id)
    report = await world.beside(world.command().do(*await command.find(run.id)))
    assert report.taken == [0]
    assert world.owner.state() == (await world.scratch()).state()


async def test_rows_that_are_gone_leave_the_windows_as_they_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(random.Random(7))
    world.load(200)
    await world.owner.drain()
    use(monkeypatch, BAD)
    command = world.command(patience_s=0.05)
    planned = await command.plan(Edge.EARLIEST, emit=False, now=world.log.now)
    with pytest.raises(UnfinishedError):
        await command.do(await command.begin(planned, by="cli"), planned)
    for at in [at for at in world.log.records if at.topic == topics.CHAT_REBUILDS.name]:
        world.log.starts[at] = 5
    before = world.owner.state()
    await world.owner.drain()
    assert world.owner.state() == before
    assert "the rebuilt rows are gone" in caplog.text


def windows(owner: Owner) -> dict[WindowKey, list[int | list[int]]]:
    """The figures of closed windows."""
    rows = QualityRows(owner.table)
    return {span: row.window.flat() for span, _, closed in rows.windows() if closed and (row := rows.window(span))}


def without_apart(state: Json) -> Json:
    """Return the state without late or early records: those are counted from the first record that is read."""
    return {name: row[:3] + row[5:] if len(row) == 6 else row for name, row in state.items()}


def open_windows(owner: Owner) -> dict[WindowKey, list[int | list[int]]]:
    rows = QualityRows(owner.table)
    return {span: row.window.flat() for span, _, closed in rows.windows() if not closed and (row := rows.window(span))}
