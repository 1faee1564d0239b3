"""The owner's side of a rebuild: requests that it takes, requests that it skips, and failures."""

import asyncio
import random
from typing import Any

import orjson
import pytest

from tests.unit.weir.replay.rebuild.test_rebuilding import BAD
from tests.unit.weir.replay.rebuild.world import JUDGING, METRICS, PARTITIONS, SIGNALS, World, hurry, use
from weir import timing
from weir.events import publishing
from weir.events.metrics import QualityRebuilt
from weir.feedback.scores import fingerprint
from weir.insights import partition, rebuilt_rows, swapping, watching
from weir.insights.rows import QualityRows, partition_key
from weir.insights.swapping import GivenAwayError
from weir.insights.values import PartitionRow, WindowKey, WindowRow
from weir.log import retrying
from weir.log.log import LogUnavailableError, Partition

RUN = "20261121T120000Z-0000ffff"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(watching, "RETRY_S", 0.0)
    monkeypatch.setattr(retrying, "PAUSE_S", 0.0)


async def busy(seed: int, steps: int = 300) -> World:
    world = World(random.Random(seed))
    world.load(steps)
    await world.owner.drain()
    return world


def told(world: World, number: int, **wrong: Any) -> QualityRebuilt:
    """Return a valid event, but for the wrong fields."""
    ends = {name: len(world.log.records[Partition(name, number)]) for name in (METRICS, SIGNALS)}
    fields = {"run": RUN, "first": 0, "end": 0, "count": 1, "metrics": ends[METRICS], "signals": ends[SIGNALS]}
    more = {"after": -1, "formula": fingerprint(JUDGING), "emit": False}
    return QualityRebuilt.model_construct(**{**fields, **more, **wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"run": "zzz"},
        {"count": 0},
        {"first": -1},
        {"metrics": 10**15},
        {"signals": 10**15},
        {"end": 10**15},
        {"metrics": -1},
        {"after": -2},
    ],
)
async def test_an_impossible_event_is_skipped_and_blocks_nothing(wrong: dict[str, Any]) -> None:
    world = await busy(1)
    before = world.owner.state()
    for number in PARTITIONS:
        world.append(publishing.encode(told(world, number, **wrong), "default"), number)
    await world.owner.drain()
    assert world.owner.state() == before
    assert world.owner.watching.counts.malformed == len(PARTITIONS)
    world.load(200)
    await world.owner.drain()
    assert world.owner.state() == (await world.scratch()).state()


@pytest.mark.parametrize("whose", ["another partition's", "another partition's own row", "no partition's row"])
async def test_rows_that_are_not_the_partitions_count_as_gone(whose: str) -> None:
    world = await busy(2)
    before = world.owner.state()
    name = next(name for name in QualityRows(world.owner.table).names() if partition.partition_of(name) == 1)
    rows: dict[bytes, bytes] = {partition_key(0): PartitionRow().encode()}
    if whose == "another partition's":
        forged = QualityRows(rows)
        forged.put_window(WindowKey(name, 0, 1000), WindowRow())
    elif whose == "another partition's own row":
        rows[partition_key(1)] = PartitionRow().encode()
    else:
        mine = next(name for name in QualityRows(world.owner.table).names() if partition.partition_of(name) == 0)
        rows = {}
        QualityRows(rows).put_window(WindowKey(mine, 0, 1000), WindowRow())
    written = await rebuilt_rows.write(world.log, 0, RUN, rows)
    given = {"first": written.first, "end": written.end, "count": written.rows}
    world.append(publishing.encode(told(world, 0, **given), "default"), 0)
    await world.owner.drain()
    assert world.owner.state() == before
    assert QualityRows(world.owner.table).rebuilt(0).why == "the rebuilt rows are gone"


async def test_rows_by_other_settings_are_skipped_and_the_reason_is_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await busy(3)
    await world.asked()
    use(monkeypatch, BAD)  # what the worker runs now is not what the command ran
    before = world.owner.state()
    await world.owner.drain()
    assert world.owner.state() == before
    assert "another formula, or other INSIGHT_* settings" in QualityRows(world.owner.table).rebuilt(0).why


async def test_rows_that_were_made_beside_another_rebuild_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await busy(4)
    use(monkeypatch, BAD)
    first = await world.asked()
    await world.asked()
    await world.owner.drain()
    row = QualityRows(world.owner.table).rebuilt(0)
    assert (row.run, row.why) == (first.id, "another run has rebuilt them meanwhile")
    assert row.at < row.passed


async def test_a_swap_that_fails_is_tried_again_and_at_last_given_up_so_that_records_are_folded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = await busy(5)
    use(monkeypatch, BAD)
    await world.asked()
    tries = 0

    def fail(key: bytes) -> None:
        nonlocal tries
        tries += 1
        if key.startswith(b"model/"):
            raise RuntimeError("a defect")

    world.owner.rows.before_put = fail
    await world.owner.drain()
    world.owner.rows.before_put = lambda _: None
    row = QualityRows(world.owner.table).rebuilt(0)
    assert tries >= watching.DEFECTS_MAX
    assert (row.swapping, row.run, row.why) == ("", "", "a defect: see the worker's log")
    assert "RuntimeError: a defect" in caplog.text
    folded = world.owner.watching.counts.folded.total()
    world.load(100)
    await world.owner.drain()
    assert world.owner.watching.counts.folded.total() > folded + 50
    await world.rebuild()
    assert world.owner.state() == (await world.scratch()).state()


async def test_a_defect_that_passes_leaves_the_rebuilt_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await busy(6)
    use(monkeypatch, BAD)
    run = await world.asked()
    tries = 0

    def fail(_: bytes) -> None:
        nonlocal tries
        tries += 1
        if tries == 3:
            raise RuntimeError("once")

    world.owner.rows.before_put = fail
    await world.owner.drain()
    row = QualityRows(world.owner.table).rebuilt(0)
    assert (row.run, row.swapping, row.passed) == (run.id, "", -1)


async def test_the_log_may_fail_at_any_time_of_a_swap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swapping, "ROWS_AT_ONCE", 1)
    world = await busy(7)
    use(monkeypatch, BAD)
    run = await world.asked()
    waits = 0

    async def written() -> None:
        nonlocal waits
        waits += 1
        if waits % 2:
            raise LogUnavailableError("no broker")

    world.owner.written = written
    world.owner.restart()
    await world.owner.drain()
    assert waits > 6
    row = QualityRows(world.owner.table).rebuilt(0)
    assert (row.run, row.swapping, row.passed) == (run.id, "", -1)
    await world.beside(world.command().do(*await world.command().find(run.id)))
    assert world.owner.state() == (await world.scratch()).state()


async def test_changes_of_a_swap_wait_for_the_log_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swapping, "ROWS_AT_ONCE", 5)
    world = await busy(8)
    use(monkeypatch, BAD)
    await world.asked()
    at, pending, most = 0, 0, 0
    changes = world.owner.table.changes(0)

    async def written() -> None:
        nonlocal at, pending, most
        pending, at = len(changes) - at, len(changes)
        most = max(most, pending)

    world.owner.written = written
    world.owner.restart()
    at = len(changes)
    await world.owner.drain()
    assert QualityRows(world.owner.table).rebuilt(0).at >= 0
    assert most <= 5 + 2  # and the row of what was rebuilt, and the partition's


async def test_a_partition_may_be_given_away_at_any_time_of_a_swap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(swapping, "ROWS_AT_ONCE", 7)
    found = [await _given_away(seed, monkeypatch) for seed in range(6)]
    assert all(given_away for given_away, _ in found)
    assert any(marked for _, marked in found)  # in the middle of the rows


async def _given_away(seed: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Return how often the partition was given away, and how often while rows were being put in."""
    dice = random.Random(seed)
    world = await busy(seed)
    use(monkeypatch, BAD)
    run = await world.asked()
    world.load(60)
    given_away, marked = 0, 0
    world.owner.owns = lambda: dice.random() < 0.97
    for _ in range(3000):
        try:
            if not await world.owner.step():
                break
        except GivenAwayError:  # the record comes again, to the next owner
            given_away += 1
            marked += bool(QualityRows(world.owner.table).rebuilt(0).swapping)
            world.owner.restart()
    world.owner.owns = lambda: True
    await world.owner.drain()
    row = QualityRows(world.owner.table).rebuilt(0)
    assert (row.run, row.swapping) == (run.id, "")
    await world.beside(world.command().do(*await world.command().find(run.id)))
    assert world.owner.state() == (await world.scratch()).state()
    return given_away, marked


async def test_others_get_turns_while_the_rows_of_a_partition_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "TURN_S", 0.0)
    rows, turns = QualityRows({}), 0
    for number in range(100):
        rows.put_window(WindowKey(f"acme:m{number}", 0, 1000), WindowRow())
    looking = asyncio.ensure_future(partition.raw(rows, 0))
    while not looking.done():
        turns += 1
        await asyncio.sleep(0)
    assert 0 < len(await looking) < 100
    assert turns >= 100


async def test_the_row_that_tells_of_a_rebuild_is_one_that_other_versions_pass_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await busy(9)
    use(monkeypatch, BAD)
    await world.rebuild()
    for number in PARTITIONS:
        newest, closed_ms = orjson.loads(world.owner.table[partition_key(number)])
        assert (set(newest), closed_ms > 0) == ({"metrics", "signals"}, True)
    more = orjson.dumps([{"metrics": 1}, 2, "of a later version"])
    assert PartitionRow.decode(more) == PartitionRow({"metrics": 1}, 2)
