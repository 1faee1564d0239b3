"""Runs are found by their id, with their parameters and results."""

import pytest

from tests.unit.weir.log.memory_log import MemoryLog
from weir.events.publishing import Events
from weir.events.replays import ReplayCompared
from weir.log.log import Partition
from weir.ranges.errors import UsageError
from weir.ranges.offset_ranges import OffsetRange
from weir.replay.runs import Run, RunKind, Runs, new_run_id, started_s
from weir.topics import CHAT_CHUNKS, CHAT_REPLAYS, CHAT_REQUESTS

SPAN = OffsetRange(Partition(CHAT_REQUESTS.name, 2), 10, 20)
CHUNKS = Partition(CHAT_CHUNKS.name, 3)


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.put(CHUNKS, b"k", b"something")
    return log


@pytest.fixture
def events(log: MemoryLog) -> Events:
    return Events(log)


@pytest.fixture
def runs(log: MemoryLog, events: Events) -> Runs:
    return Runs(log, events, tenant="default")


async def begun(runs: Runs) -> Run:
    return await runs.begin(RunKind.REQUESTS, {"model": "m"}, [SPAN], watched=[CHAT_CHUNKS.name], by="cli")


def compared(run: Run, uid: str) -> ReplayCompared:
    return ReplayCompared(run=run.id, uid=uid, replay_of="a", original={}, replay={}, identical=False)


async def test_a_run_is_found_as_it_was_begun(runs: Runs, log: MemoryLog) -> None:
    log.now = started_s(new_run_id())
    run = await begun(runs)
    assert await runs.find(run.id) == run
    assert list(run.spans) == [SPAN]
    assert run.end_of(CHUNKS) == 1
    await runs.end(run, {"selected": 3})
    over = await runs.find(run.id)
    assert over.ended is not None
    assert over.ended.summary == {"selected": 3}
    assert [one.id for one in await runs.recent(0)] == [run.id]


async def test_records_of_others_do_not_hide_a_run(runs: Runs, log: MemoryLog) -> None:
    log.now = started_s(new_run_id())
    for number in range(6):
        log.put(Partition(CHAT_REPLAYS.name, number), b"noise", b"not JSON")
    first, second = await begun(runs), await begun(runs)
    assert (await runs.find(second.id)).id == second.id
    assert {run.id for run in await runs.recent(0)} == {first.id, second.id}


async def test_a_result_that_was_told_twice_is_one(runs: Runs, events: Events, log: MemoryLog) -> None:
    log.now = started_s(new_run_id())
    run, other = await begun(runs), await begun(runs)
    for event_id, uid in (("evt-1", "a"), ("evt-2", "b"), ("evt-1", "a")):
        await events.publish(compared(run, uid), "default", event_id=event_id)
    await events.publish(compared(other, "c"), "default", event_id="evt-3")
    assert [event.data["uid"] for event in await runs.results(run.id, ReplayCompared)] == ["a", "b"]


@pytest.mark.parametrize("name", ["", "run", "20261121T120000Z-3F2A91C4", "20261321T120000Z-3f2a91c4"])
async def test_what_is_no_id_is_refused(runs: Runs, name: str) -> None:
    with pytest.raises(UsageError, match="is not the id of a run"):
        await runs.find(name)


async def test_a_run_that_is_not_there_is_told(runs: Runs) -> None:
    with pytest.raises(UsageError, match="there is no run"):
        await runs.find(new_run_id())
