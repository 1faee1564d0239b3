"""Promises of ``follow`` on either broker: each record from a position on, once, in order, until ``unfollow``."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.contracts.logs import Collected, Log, append_many, offsets, until, values
from weir.log.log import LogClient, LogRefusedError, Partition, Record


async def test_a_feed_delivers_what_was_there_and_what_comes_until_it_is_stopped(
    client: LogClient, at: Partition
) -> None:
    await append_many(client, at, 1500)
    collected = Collected()
    await client.follow(at, 40, collected)
    await append_many(client, at, 1500)
    await collected.reach(at, 2999)
    assert collected.offsets(at) == list(range(40, 3000))
    assert values(collected.records[at.partition])[-1500:] == [b"%d" % number for number in range(1500)]

    await client.unfollow(at)
    await client.unfollow(at)  # the feed has ended already
    unheard = await client.append(*at, None, b"unheard")
    again = Collected()
    await client.follow(at, unheard + 1, again)
    heard = await client.append(*at, None, b"heard")
    await again.reach(at, heard)
    assert again.offsets(at) == [heard]
    assert collected.offsets(at)[-1] == 2999


async def test_a_feed_can_be_stopped_by_its_follower(client: LogClient, at: Partition) -> None:
    await append_many(client, at, 2000)
    delivered: list[int] = []
    stopping: list[asyncio.Task[None]] = []

    def deliver(records: Sequence[Record], /) -> None:
        delivered.extend(offsets(records))
        stopping.append(asyncio.create_task(client.unfollow(at)))

    await client.follow(at, 0, deliver)
    await until(lambda: stopping and stopping[0].done())
    known = len(delivered)
    assert delivered == list(range(known))
    await client.append(*at, None, b"unheard")
    other = Collected()  # when this one has records, the first one would have them, too
    await client.follow(at, 2000, other)
    await other.reach(at, 2000)
    assert len(delivered) == known


async def test_a_feed_has_one_follower_in_a_client_and_one_in_each_other(
    log: Log, client: LogClient, at: Partition
) -> None:
    first, second, other = Collected(), Collected(), await log.client()
    await client.follow(at, 0, first)
    with pytest.raises(LogRefusedError, match="followed already"):
        await client.follow(at, 0, second)
    await other.follow(at, 0, second)
    await append_many(client, at, 10)
    for collected in (first, second):
        await collected.reach(at, 9)
        assert collected.offsets(at) == list(range(10))


@pytest.mark.parametrize(("position", "first"), [(-3, 4), (0, 4), (4, 4), (7, 7), (10, 10), (15, 15)])
async def test_a_feed_may_begin_outside_the_log(
    log: Log, client: LogClient, at: Partition, position: int, first: int
) -> None:
    """A position before the start is the start; records below a position behind the end are not delivered."""
    await append_many(client, at, 10)
    await log.cut(at, 4)
    collected = Collected()
    await client.follow(at, position, collected)
    for _ in range(10):
        await client.append(*at, None, b"v")
    await collected.reach(at, 19)
    assert collected.offsets(at) == list(range(first, 20))


async def test_following_more_partitions_under_way_loses_nothing(client: LogClient, at: Partition) -> None:
    collected = Collected()

    async def write(partition: int) -> None:
        for number in range(300):
            assert await client.append(at.topic, partition, b"k", b"%d" % number) == number

    writers = [asyncio.create_task(write(partition)) for partition in range(6)]
    for partition in range(6):
        await client.follow(Partition(at.topic, partition), 0, collected)
        await asyncio.sleep(0.02)
    await asyncio.gather(*writers)
    for partition in range(6):
        await collected.reach(Partition(at.topic, partition), 299)
        assert collected.offsets(Partition(at.topic, partition)) == list(range(300))


async def test_a_follower_that_raises_is_logged_and_costs_no_other_follower_a_record(
    client: LogClient, at: Partition, caplog: pytest.LogCaptureFixture
) -> None:
    other = Partition(at.topic, 0)
    got: list[int] = []

    def deliver(records: Sequence[Record], /) -> None:
        got.extend(offsets(records))
        if got[-1] < 3:
            raise ValueError("a bug")

    collected = Collected()
    await client.follow(at, 0, deliver)
    await client.follow(other, 0, collected)
    for number in range(5):
        assert await client.append(*at, None, b"v") == number
        await collected.reach(other, await client.append(*other, None, b"v"))
        await until(lambda: len(got) > number)  # noqa: B023  # it is over when the number changes
    assert got == [0, 1, 2, 3, 4]
    assert caplog.text.count("ValueError: a bug") == 3
