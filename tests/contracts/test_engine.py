"""The engine's promises on either broker: Faust with Weir's drivers, in whole workers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.engines import LIMIT_S, Embedded, Kafka, Stage, Worker, numbers
from tests.contracts.logs import until
from weir.log.partitioner import partition_for

pytestmark = [
    # Warnings of Faust 0.15.3 and its dependencies on Python 3.11; none is about Weir's code.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    stage: Stage
    if request.param == "embedded":
        stage = Embedded(str(tmp_path / "log.db"), tmp_path)
    else:
        stage = Kafka(request.getfixturevalue("kafka_bootstrap"), tmp_path)
    await stage.open()
    yield stage
    await stage.close()


# -- records of an agent


async def test_the_records_of_a_key_come_in_the_order_in_which_they_were_written(stage: Stage) -> None:
    async with Worker(stage).running() as worker:
        written = [(b"key %d" % (number % 7), value) for number, value in enumerate(numbers(0, 350))]
        at = {key: partition_for(key, 2) for key, _ in written}
        assert set(at.values()) == {0, 1}
        await asyncio.gather(*(stage.log.append(stage.topic, at[key], key, value) for key, value in written))
        await worker.receive(350)
        got = {key: [event.value for event in worker.events if event.key == key] for key in at}
        assert got == {key: [value for other, value in written if other == key] for key in at}


async def test_an_agent_sees_headers_and_tombstones_and_records_without_a_key(stage: Stage) -> None:
    async with Worker(stage).running() as worker:
        await stage.log.append(stage.topic, 0, b"k", b"v", [("h", b"\xff"), ("i", b"")])
        await stage.log.append(stage.topic, 0, b"k", None)
        await stage.log.append(stage.topic, 0, None, b"w")
        await worker.receive(3)
        assert [(event.key, event.value) for event in worker.events] == [(b"k", b"v"), (b"k", None), (None, b"w")]
        assert worker.events[0].headers == {"h": b"\xff", "i": b""}
        assert not worker.events[1].headers


async def test_a_worker_whose_streams_are_full_goes_on_when_they_drain(stage: Stage) -> None:
    async with Worker(stage).running() as worker:
        worker.gate.clear()
        written = numbers(0, 1000)
        await stage.write(*written)
        await until(lambda: worker.app.consumer._buffered_partitions, within_s=LIMIT_S)
        await asyncio.sleep(1.2)  # longer than any fetch: nothing is under way any more
        assert len(worker.events) == 1
        worker.gate.set()
        assert await worker.receive(1000) == written
        worker.ack(*written)
        await stage.commits(1000)


# -- commits


async def test_after_a_crash_exactly_everything_from_the_lowest_unacknowledged_on_comes_again(stage: Stage) -> None:
    await stage.write(*numbers(0, 12))
    async with stage.process() as worker:
        assert await worker.receive_until(b"11") == numbers(0, 12)
        worker.ack(b"11", b"7", b"1", b"5", b"0", b"2")
        await stage.commits(3)
        await worker.kill()
    await stage.write(b"last")
    async with stage.process() as worker:
        assert await worker.receive_until(b"last") == [*numbers(3, 12), b"last"]


async def test_the_commit_follows_the_lowest_unacknowledged_offset_in_whatever_order_work_ends(stage: Stage) -> None:
    async with Worker(stage).running() as worker:
        await stage.write(*numbers(0, 8))
        await worker.receive(8)
        worker.ack(b"7", b"3", b"1")
        await worker.app.consumer.commit()
        assert await stage.committed() is None
        worker.ack(b"0")
        await stage.commits(2)
        worker.ack(b"4", b"5", b"6")
        await worker.app.consumer.commit()
        assert await stage.committed() == 2
        worker.ack(b"2")
        await stage.commits(8)


async def test_what_was_acknowledged_just_before_the_stop_is_committed(stage: Stage) -> None:
    await stage.write(*numbers(0, 4))
    async with Worker(stage, broker_commit_interval=60.0).running() as worker:
        await worker.receive(4)
        worker.ack(b"0", b"1")
    assert await stage.committed() == 2


# -- rebalances


async def test_a_rebalance_before_the_first_commit_loses_nothing(stage: Stage) -> None:
    """The agent is busy with the first message; the others wait in a queue, which Faust clears."""
    await stage.write(*numbers(0, 20))
    worker = Worker(stage)
    worker.gate.clear()
    async with worker.running():
        await worker.receive(1)
        generation = worker.app.consumer_generation_id
        await stage.rebalance(worker)
        await worker.rebalanced(generation)
        worker.gate.set()
        await until(lambda: set(worker.values) == set(numbers(0, 20)), within_s=LIMIT_S)


async def test_rebalances_while_messages_flow_lose_nothing(stage: Stage) -> None:
    async with Worker(stage, acks=True).running() as worker:
        for number in range(2000):
            await stage.write(b"%d" % number)
            if number % 500 == 250:
                await stage.rebalance(worker)
        await stage.commits(2000)
        assert set(worker.values) == set(numbers(0, 2000))


async def test_an_acknowledgement_of_an_older_generation_settles_nothing(stage: Stage) -> None:
    async with Worker(stage).running() as worker:
        await stage.write(b"a")
        await worker.receive(1)
        await stage.rebalance(worker)
        await worker.receive(2)
        before, after = worker.events
        before.ack()
        await worker.app.consumer.commit()
        assert await stage.committed() is None
        after.ack()
        await stage.commits(1)


# -- tables


@pytest.mark.parametrize("late", [False, True], ids=["", "late"])
async def test_tables_come_back_from_their_changelog(stage: Stage, *, late: bool) -> None:
    """Also when they are read before recovery waits for that (see `weir.log.recovery`)."""
    async with Worker(stage, writes=True, acks=True).running() as worker:
        for number, key in enumerate(numbers(0, 30)):
            await stage.write(b"old", b"value " + key, partition=number % 2, key=key)
        await stage.write(None, partition=1, key=b"7")
        await worker.receive(61)
        await stage.commits(30)
        await stage.commits(31, partition=1)
    worker = Worker(stage, "again")  # the store is in memory: each start reads the changelog
    if late:
        worker.wait_late()
    async with worker.running():
        assert worker.state == {key: b"value " + key for key in numbers(0, 30) if key != b"7"}
        assert worker.values == []


async def test_tables_come_back_from_a_compacted_changelog(stage: Stage) -> None:
    await stage.make_compacting()
    async with Worker(stage, writes=True, acks=True).running() as worker:
        for value in (b"old", b"older", b"new"):
            for number, key in enumerate(numbers(0, 20)):
                await stage.write(value, partition=number % 2, key=key)
            await asyncio.sleep(0.2)  # Kafka compacts segments that are full; these are after 0.1 s
        await stage.write(None, partition=1, key=b"7")
        await worker.receive(61)
        await stage.commits(30)
        await asyncio.sleep(0.2)
        await stage.write(b"new", partition=1, key=b"9")
        await stage.commits(32, partition=1)
    async with asyncio.timeout(LIMIT_S):
        while b"old" in {record.value for record in await stage.changes(0) + await stage.changes(1)}:
            await stage.compact()
            await asyncio.sleep(0.1)
    async with Worker(stage, "again").running() as worker:
        assert worker.state == {key: b"new" for key in numbers(0, 20) if key != b"7"}


async def test_a_table_change_that_cannot_be_written_stops_the_worker_before_it_commits(stage: Stage) -> None:
    worker = Worker(stage, writes=True, acks=True)
    async with worker.running():
        await stage.write(b"small", key=b"a")
        await stage.commits(1)
        worker.gate.clear()
        await stage.write(bytes(500_000), key=b"b")
        await worker.receive(2)
        await stage.refuse_changes(worker)
        worker.gate.set()
        await until(lambda: worker.app.crashed, within_s=LIMIT_S)
    assert await stage.committed() == 1
    async with Worker(stage, "again").running() as worker:
        assert worker.state == {b"a": b"small"}
        assert await worker.receive(1) == [bytes(500_000)]
