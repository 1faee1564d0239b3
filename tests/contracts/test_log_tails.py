"""Tails on either broker: each record exactly once and in order, for thousands of readers, in all their states."""

import asyncio
import random
from collections import defaultdict

import pytest

from tests.contracts.logs import Log, append_many, offsets, values
from weir.log.log import LogClient, LogRefusedError, LogReplacedError, Partition
from weir.log.partitioner import partition_for
from weir.log.tails import Tail, TailLimits, Tails

SMALL = TailLimits(ring_records=50, queue_records=20, page_records=30)  # every state and seam, with a few records


async def take(tail: Tail, last: int) -> list[int]:
    """The offsets that a tail gives, until it has given ``last``."""
    taken: list[int] = []
    while not taken or taken[-1] < last:
        records = await tail.next(timeout=20)
        assert records, f"nothing came after {taken[-3:]}"
        taken += offsets(records)
    return taken


@pytest.mark.parametrize(("position", "first"), [(None, 100), (0, 0), (37, 37), (99, 99), (100, 100)])
async def test_a_tail_begins_where_it_is_told_and_goes_on_live(
    log: Log, client: LogClient, at: Partition, position: int | None, first: int
) -> None:
    await append_many(client, at, 100)
    tails = Tails(client, SMALL)
    await tails.start()
    async with tails.open(at, position) as tail:
        for writer in (client, await log.client()):
            await append_many(writer, at, 50)
        assert await take(tail, 199) == list(range(first, 200))
        assert tail.position == 200
        assert await tail.next(timeout=0) == []
    await tails.stop()


@pytest.mark.parametrize("position", [101, 2**40, 2**63 - 1])
async def test_a_position_that_the_log_has_not_reached_is_refused(
    client: LogClient, tails: Tails, at: Partition, position: int
) -> None:
    """A reader at that position would get no record, not even its own."""
    await append_many(client, at, 100)
    for key in (None, b"k"):
        with pytest.raises(LogReplacedError, match="ends at 100"):
            await tails.open(at, position, key).__aenter__()
    assert tails.readers == 0
    async with tails.open(at, 100, topic_id=await client.topic_id(at.topic)) as tail:
        await client.append(*at, b"k", b"v")
        assert offsets(await tail.look()) == [100]


async def test_the_id_of_a_topic_is_that_of_all_its_clients(log: Log, client: LogClient, at: Partition) -> None:
    assert await client.topic_id(at.topic) == await (await log.client()).topic_id(at.topic)
    with pytest.raises(LogRefusedError):
        await client.topic_id("no-such-topic")


async def test_a_tail_that_is_opened_while_others_write_gets_each_record_once(
    log: Log, client: LogClient, at: Partition
) -> None:
    tails = Tails(client, SMALL)
    await tails.start()
    keys = [b"a", b"b", b"c"]
    written: defaultdict[bytes | None, list[int]] = defaultdict(list)

    async def write(writer: LogClient, seed: int) -> None:
        chance = random.Random(seed)
        for number in range(60):
            key = keys[number % 3]
            written[key] += await append_many(writer, at, chance.randint(1, 20), key)
            await asyncio.sleep(chance.random() * 0.01)
        written[b"end"].append(await writer.append(*at, b"end", b""))

    async def read(seed: int) -> tuple[int, bytes | None, list[int]]:
        chance = random.Random(seed)
        await asyncio.sleep(chance.random() * 0.5)
        position = chance.randint(0, (await client.bounds(at)).end)
        key = chance.choice([*keys, None])
        got: list[int] = []
        async with tails.open(at, position, key) as tail:
            while not finished.is_set():
                got += offsets(await tail.next(timeout=0.1))
                if chance.random() < 0.1:
                    await asyncio.sleep(0.03)  # long enough to overflow the queue
            got += offsets(await tail.look())
        return position, key, got

    finished = asyncio.Event()
    readers = [asyncio.create_task(read(seed)) for seed in range(24)]
    async with asyncio.timeout(60):
        await asyncio.gather(write(client, 1), write(await log.client(), 2))
        finished.set()
        every = sorted(offset for some in written.values() for offset in some)
        assert every == list(range(len(every)))
        for position, key, got in await asyncio.gather(*readers):
            wanted = every if key is None else sorted(written[key])
            assert got == [offset for offset in wanted if offset >= position], (position, key)
    await tails.stop()


async def test_a_look_misses_no_record_that_was_acknowledged_to_any_client(
    log: Log, client: LogClient, tails: Tails, at: Partition
) -> None:
    other = await log.client()
    async with tails.open(at, 0, b"k") as tail:
        for number in range(40):
            offset = await (client, other)[number % 2].append(*at, b"k", b"%d" % number)
            assert offsets(await tail.look()) == [offset] == [number]


async def test_a_slow_reader_delays_no_other_and_loses_nothing(client: LogClient, at: Partition) -> None:
    tails = Tails(client, SMALL)
    await tails.start()
    async with tails.open(at, 0) as slow, tails.open(at, 0) as quick, tails.open(at, 0, b"key") as keyed:
        await append_many(client, at, 1000)
        last = await client.append(*at, b"key", b"v")
        assert await take(quick, last) == list(range(1001))
        assert await take(keyed, last) == [1000]
        assert slow.position == 0
        assert await take(slow, last) == list(range(1001))
        assert slow.caught_up
    await tails.stop()


async def test_three_thousand_tails_get_exactly_their_records(
    log: Log, client: LogClient, tails: Tails, at: Partition
) -> None:
    """Half of them before the first record, half from the start of the log while it grows."""
    places = {b"uid-%d" % number: Partition(at.topic, partition_for(b"uid-%d" % number, 6)) for number in range(3000)}
    assert len(set(places.values())) == 6
    opened = [tails.open(place, 0, key) for key, place in places.items()]
    early, late = opened[::2], opened[1::2]

    async def write(writer: LogClient, part: bytes) -> None:
        await asyncio.gather(*(writer.append(*place, key, key + part) for key, place in places.items()))

    async def read(tail: Tail) -> list[bytes | None]:
        got: list[bytes | None] = []
        while len(got) < 3:
            records = await tail.next(timeout=30)
            assert records, f"{tail.key!r} got {got}"
            got += values(records)
        return got + values(await tail.catch_up())

    async with asyncio.timeout(60):
        await asyncio.gather(*(tail.__aenter__() for tail in early))
        await write(client, b" one")
        await write(await log.client(), b" two")
        await asyncio.gather(write(client, b" three"), *(tail.__aenter__() for tail in late))
        for tail, got in zip(opened, await asyncio.gather(*map(read, opened)), strict=True):
            key = tail.key or b""
            assert got == [key + b" one", key + b" two", key + b" three"]
