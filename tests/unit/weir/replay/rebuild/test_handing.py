"""The command's side of a rebuild: which runs are done, when it gives up, and when it is cancelled."""

import asyncio
import random
from dataclasses import replace

import pytest

from tests.unit.weir.replay.rebuild.test_rebuilding import BAD, windows
from tests.unit.weir.replay.rebuild.world import FEEDBACK, METRICS, World, hurry, use
from weir import topics
from weir.insights import rebuilt_rows
from weir.insights.rows import QualityRows
from weir.insights.values import WindowRow
from weir.log.log import Partition
from weir.ranges.errors import CancelledRunError, UnfinishedError
from weir.ranges.when import Edge, Time
from weir.replay import waiting
from weir.replay.rebuild.feedback_run import FeedbackRun
from weir.replay.runs import Run


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(waiting, "WANTED_S", 0.0)


async def begun(world: World, *, emit: bool = False) -> Run:
    """A run that was written to the log, and killed before it did anything."""
    command = world.command()
    return await command.begin(await command.plan(Edge.EARLIEST, emit=emit, now=world.log.now), by="cli")


async def status(command: FeedbackRun, run: Run) -> str | None:
    ended = (await command._runs.find(run.id)).ended
    return None if ended is None else ended.status


async def test_a_wide_run_is_not_done_because_a_narrower_one_has_begun_later(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(random.Random(3))
    world.load(500)
    middle = world.log.now
    world.load(150)
    world.end(10)
    await world.owner.drain()
    use(monkeypatch, BAD)
    wide = await begun(world)
    await world.rebuild(Time(middle))
    command = world.command()
    report = await world.beside(command.do(*await command.find(wide.id)))
    assert report.taken == []
    assert windows(world.owner) == windows(await world.scratch())


async def test_a_run_whose_clock_is_behind_is_taken_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(random.Random(4))
    world.load(300)
    await world.owner.drain()
    await world.rebuild()
    use(monkeypatch, BAD)
    monkeypatch.setattr("weir.replay.runs.new_run_id", lambda: "20260101T000000Z-00000000")
    report = await world.rebuild()
    assert report.taken == []
    assert report.changed > 0
    assert world.owner.state() == (await world.scratch()).state()


async def test_a_run_that_is_resumed_while_its_first_event_is_on_its_way_is_taken_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(random.Random(5))
    world.load(200)
    await world.owner.drain()
    use(monkeypatch, BAD)
    run, command = await world.asked(), world.command()
    changes = world.owner.table.changes(0)
    before = len(changes)
    doing = asyncio.ensure_future(command.do(*await command.find(run.id)))
    at = Partition(METRICS, 0)
    while sum(b"quality.rebuilt" in (one.value or b"") for one in world.log.records[at]) < 2:
        await asyncio.sleep(0)
    await world.beside(doing)
    row = QualityRows(world.owner.table).rebuilt(0)
    assert (row.run, row.passed) == (run.id, -1)
    assert sum((one.key or b"").startswith(b"rebuilt/") for one in changes[before:]) == 2
    assert world.owner.state() == (await world.scratch()).state()


async def test_of_two_at_once_the_one_that_did_not_see_the_other_is_not_taken_for_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(random.Random(3))
    world.load(500)
    middle = world.log.now
    world.load(150)
    world.end(10)
    await world.owner.drain()
    use(monkeypatch, BAD)
    wide = await world.asked()
    narrow = await world.asked(Time(middle))
    await world.owner.drain()
    for run in (narrow, wide):
        command = world.command()
        await world.beside(command.do(*await command.find(run.id)))
    assert windows(world.owner) == windows(await world.scratch())


async def test_it_gives_up_as_soon_as_the_owner_has_passed_the_rows_over_whatever_else_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(random.Random(7))
    world.load(200)
    await world.owner.drain()
    use(monkeypatch, BAD)
    run = await begun(world)

    async def gone(*_: object) -> None: ...

    monkeypatch.setattr(rebuilt_rows, "load", gone)
    command = world.command(patience_s=60.0)
    with pytest.raises(UnfinishedError, match="skipped the rows: the rebuilt rows are gone"):
        await asyncio.wait_for(world.beside(command.do(*await command.find(run.id)), lambda: world.load(1)), 10)


async def test_it_gives_up_where_the_owner_knows_of_no_rebuild_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(random.Random(8))
    world.load(200)
    await world.owner.drain()
    use(monkeypatch, BAD)
    run = await begun(world)
    monkeypatch.setattr("weir.insights.watching._rebuilt", lambda _: None)
    command = world.command(patience_s=60.0)
    with pytest.raises(UnfinishedError, match="its version does not know rebuilds"):
        await asyncio.wait_for(world.beside(command.do(*await command.find(run.id)), lambda: world.load(1)), 10)


async def test_rows_that_a_swap_is_putting_in_are_no_sign_that_it_was_skipped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(random.Random(9))
    world.load(200)
    await world.owner.drain()
    use(monkeypatch, BAD)
    run = await world.asked()
    world.load(60)
    changes = world.owner.table.changes(0)
    before = len(changes)
    await world.owner.drain()
    at = QualityRows(world.owner.table).rebuilt(0).at
    full, said, behind = list(changes), [], 0
    for end in range(before, len(full) + 1):
        changes[:] = full[:end]
        try:
            await world.command(patience_s=0.0)._handing.windows_taken(run, 0, at)
        except UnfinishedError as error:
            said.append(str(error))
            last = full[end - 1]
            if last.key and last.value and last.key.startswith(b"window/"):
                behind += WindowRow.decode(last.value).offsets.get("metrics", -1) > at
    assert said
    assert not [text for text in said if "passed" in text]
    assert behind > 0


async def test_feedback_that_is_not_rescored_is_not_waited_for_because_other_rows_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(random.Random(10))
    world.load(100)
    await world.owner.drain()
    use(monkeypatch, BAD)
    monkeypatch.setattr(world.scorer, "drain", lambda: asyncio.sleep(0))
    run = await begun(world)

    def others() -> None:
        for number in range(6):
            world.log.put(Partition(FEEDBACK, number), b"another", b'{"uid": "another", "pieces": []}')

    command = world.command(patience_s=0.3)
    with pytest.raises(UnfinishedError, match="feedback has not been rescored"):
        await asyncio.wait_for(world.beside(command.do(*await command.find(run.id)), others), 10)


async def test_settings_that_are_not_the_workers_change_nothing_and_the_command_says_so() -> None:
    world = World(random.Random(11))
    world.load(300)
    world.end(30)
    await world.owner.drain()
    before = world.owner.state()
    command = world.command()
    other = command._judging.spans

    command._judging = replace(command._judging, spans=replace(other, size_ms=other.size_ms * 30))
    planned = await command.plan(Edge.EARLIEST, emit=False, now=world.log.now)
    with pytest.raises(UnfinishedError, match=r"other INSIGHT_\* settings"):
        await world.beside(command.do(await command.begin(planned, by="cli"), planned))
    assert world.owner.state() == before


async def test_a_run_that_was_cancelled_does_nothing_and_stays_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(random.Random(12))
    world.load(200)
    await world.owner.drain()
    before, signals, worth = world.owner.state(), world.signals(), world.scorer.worth()
    use(monkeypatch, BAD)
    run, command = await begun(world, emit=True), world.command()
    await command._runs.end(run, {}, status="cancelled")
    with pytest.raises(CancelledRunError, match="was cancelled"):
        await world.beside(command.do(*await command.find(run.id)))
    assert (world.owner.state(), world.signals(), world.scorer.worth()) == (before, signals, worth)
    assert await status(command, run) == "cancelled"


@pytest.mark.parametrize("where", ["while it waits for the owner", "before the feedback table", "at its very end"])
async def test_a_run_that_is_cancelled_meanwhile_stops_there(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(random.Random(13))
    world.load(200)
    await world.owner.drain()
    use(monkeypatch, BAD)
    run, command = await begun(world), world.command(patience_s=60.0)
    cancelled = False

    async def cancel() -> None:
        nonlocal cancelled
        if not cancelled:
            cancelled = True
            await command._runs.end(run, {}, status="cancelled")

    if where == "while it waits for the owner":
        task = asyncio.ensure_future(command.do(*await command.find(run.id)))
        at, before = Partition(METRICS, 0), len(world.log.records[Partition(METRICS, 0)])
        while len(world.log.records[at]) == before:
            await asyncio.sleep(0)
        await cancel()
        with pytest.raises(CancelledRunError):
            await asyncio.wait_for(task, 10)
    else:
        name, last = ("windows_taken", 2) if where == "before the feedback table" else ("feedback", 5)
        real = getattr(command._handing, name)

        async def then(*args: object) -> object:
            found = await real(*args)
            if last in args:
                await cancel()
            return found

        monkeypatch.setattr(command._handing, name, then)
        with pytest.raises(CancelledRunError):
            await world.beside(command.do(*await command.find(run.id)))
        told = [records for at, records in world.log.records.items() if at.topic == topics.AI_FEEDBACK.name]
        rescored = [one for records in told for one in records if b"feedback.rescored" in (one.value or b"")]
        assert bool(rescored) == (where == "at its very end")
    assert await status(command, run) == "cancelled"
