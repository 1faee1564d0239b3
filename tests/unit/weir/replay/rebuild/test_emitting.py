"""What a rebuild publishes about the past: once, beside any other publisher, and again where the formula goes back."""

import random
from collections import Counter

import pytest

from tests.unit.weir.replay.rebuild.test_rebuilding import BAD
from tests.unit.weir.replay.rebuild.world import World, hurry, use
from weir.log.log import LogUnavailableError
from weir.ranges.when import Edge
from weir.replay.rebuild.feedback_run import FeedbackRun


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


def last(world: World) -> dict[str, tuple[float, float]]:
    """Return the value of each piece of feedback for a reader of the signals."""
    told = [one.data for one in world.signals() if one.event_type == "signal.recorded"]
    return {one["feedback_id"]: (one["score"], one["weight"]) for one in told}


@pytest.mark.parametrize("seed", range(8))
async def test_an_owner_that_is_behind_and_the_command_tell_an_insight_once(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(random.Random(seed))
    world.load(500)
    for _ in range(300):
        await world.owner.step()
    use(monkeypatch, BAD)
    report = await world.rebuild(emit=True)
    await world.owner.drain()
    assert report.emitted_insights > 0
    assert set(Counter(one.event_id for one in world.insights()).values()) == {1}


async def test_signals_are_told_again_only_where_their_numbers_are_others_than_were_told_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(random.Random(3))
    world.load(500)
    await world.owner.drain()
    original = last(world)
    with monkeypatch.context() as patch:
        use(patch, BAD)
        first = await world.rebuild(emit=True)
        assert last(world) == world.today() != original
        assert (await world.rebuild(emit=True)).emitted_signals == 0
    back = await world.rebuild(emit=True)
    assert last(world) == original
    assert back.emitted_signals == first.emitted_signals > 0
    assert (await world.rebuild(emit=True)).emitted_signals == 0


async def test_a_resumed_run_publishes_the_rest_of_the_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(random.Random(5))
    world.load(500)
    await world.owner.drain()
    use(monkeypatch, BAD)
    command = world.command()
    planned = await command.plan(Edge.EARLIEST, emit=True, now=world.log.now)
    run = await command.begin(planned, by="cli")
    told = len(world.signals())
    appends = 0

    def fail(at: object, _: object) -> LogUnavailableError | None:
        nonlocal appends
        appends += getattr(at, "topic", "") == "ai-learning-signals"
        return LogUnavailableError("no broker") if appends > 10 else None

    with monkeypatch.context() as patch:
        patch.setattr(world.log, "fail_append", fail)
        with pytest.raises(LogUnavailableError):
            await command.do(run, planned)
    assert len(world.signals()) == told + 10
    again: FeedbackRun = world.command()
    await world.beside(again.do(*await again.find(run.id)))
    anew = [one.data["feedback_id"] for one in world.signals() if one.data.get("rebuilt")]
    assert len(anew) == len(set(anew)) > 10
    assert last(world) == world.today()
