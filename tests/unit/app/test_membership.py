"""Workers of two groups on the same topics: whichever starts when, one of them gives up."""

import asyncio

import pytest

from app import membership
from app.membership import MARK, Neighbours, PartitionWatch
from weir.log.kafka.groups import ConsumerGroup
from weir.log.log import LogRefusedError
from weir.settings import Settings

WAIT_S = 10.0


class Brokers:
    """The consumer groups on the brokers, as they are joined."""

    def __init__(self) -> None:
        self.joined: list[str] = []
        self.looks = 0

    async def groups_reading(self, topic: str, *, besides: str = "") -> list[ConsumerGroup]:
        self.looks += 1
        return [ConsumerGroup(name, frozenset({topic, name + MARK})) for name in self.joined if name != besides]


class Worker:
    """A worker, as far as the watch of its partitions needs it."""

    rebalancing, rebalancing_count = False, 1

    def __init__(self, brokers: Brokers, group: str) -> None:
        self.settings = Settings(kafka_consumer_group=group)
        self.neighbours = Neighbours(brokers, self.settings)
        self.watch = PartitionWatch(self, self.neighbours).watch

    def own_partitions(self) -> set[int]:
        return {0}


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "LOOK_S", 0.01)
    monkeypatch.setattr(membership, "OTHERS_S", (0.0, 0.1, 0.3))


@pytest.mark.parametrize("late", ["a", "z"])
async def test_one_of_two_gives_up_also_if_the_other_joins_after_it_has_looked(late: str) -> None:
    """The late worker has looked before the early one joined, and saw no other group."""
    brokers = Brokers()
    early = Worker(brokers, "m")
    await early.neighbours.check()
    other = Worker(brokers, late)
    await other.neighbours.check()
    brokers.joined.append("m")
    watching = [asyncio.create_task(early.watch())]
    await asyncio.sleep(0.02)
    assert brokers.looks == 3
    brokers.joined.append(late)
    watching.append(asyncio.create_task(other.watch()))
    done, rest = await asyncio.wait(watching, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    assert done == {watching[late == "z"]}
    with pytest.raises(LogRefusedError, match="process the requests of topic"):
        done.pop().result()
    for one in rest:
        one.cancel()


async def test_a_worker_looks_a_few_times_and_no_more() -> None:
    brokers = Brokers()
    worker = Worker(brokers, "m")
    watching = asyncio.create_task(worker.watch())
    async with asyncio.timeout(WAIT_S):
        while brokers.looks < 3:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert brokers.looks == 3
    watching.cancel()
