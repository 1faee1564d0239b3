"""Promises of a log client on either broker: appended records are in the log, in order, whole, and for every client."""

import asyncio
import random
import time
from collections import defaultdict
from itertools import product

import pytest

from tests.contracts.logs import Log, append_many, new_name, new_topic, offsets, read_all, values
from weir.log.log import Headers, LogClient, LogError, LogRefusedError, LogUnavailableError, Partition, TopicSpec
from weir.log.partitioner import partition_for

# -- append


BYTES = [None, b"", b"text", bytes(range(256)), bytes(100_000)]
HEADERS: list[Headers] = [
    [("name", b"content")],
    [("twice", b"1"), ("other", b"2"), ("twice", b"3")],
    [("empty", b""), ("", b"no name"), ("binary", bytes(range(256))), ("größe", "größe".encode())],
]


async def test_records_come_back_whole(client: LogClient, at: Partition) -> None:
    """No key is not an empty key, and a tombstone is not an empty value."""
    written: list[tuple[bytes | None, bytes | None, Headers]]
    written = [(key, value, ()) for key, value in product(BYTES, BYTES)] + [(b"k", b"v", pairs) for pairs in HEADERS]
    before = time.time()
    offsets_given = [await client.append(*at, key, value, headers) for key, value, headers in written]
    found = await read_all(client, at)
    assert offsets_given == offsets(found) == list(range(len(written)))
    for record, (key, value, headers) in zip(found, written, strict=True):
        assert record[:2] == at
        assert (record.key, record.value, list(record.headers)) == (key, value, list(headers))
        assert before - 0.002 <= record.timestamp <= time.time(), "Kafka's clock has milliseconds"


async def test_each_append_is_given_its_own_offset(client: LogClient, at: Partition) -> None:
    assert await append_many(client, at, 3000) == list(range(3000))
    assert values(await read_all(client, at)) == [b"%d" % number for number in range(3000)]
    assert await client.bounds(at) == (0, 3000)


async def test_call_order_is_offset_order_in_each_partition_from_any_task(client: LogClient, at: Partition) -> None:
    called: defaultdict[int, list[tuple[bytes, bytes]]] = defaultdict(list)

    async def write(name: int) -> None:
        chance = random.Random(name)
        for number in range(300):
            key, value = b"%d" % chance.randrange(20), b"%d-%d" % (name, number) + b"." * chance.randrange(2000)
            partition = partition_for(key, 6)
            called[partition].append((key, value))
            appended = client.append(at.topic, partition, key, value)
            if chance.random() < 0.05:
                await appended
            elif chance.random() < 0.1:
                await asyncio.sleep(0)

    await asyncio.gather(*(write(name) for name in range(8)))
    assert len(called) > 3
    for partition, wanted in called.items():
        assert await client.append(at.topic, partition, b"", b"last") == len(wanted)
        found = [(record.key, record.value) for record in await read_all(client, Partition(at.topic, partition))]
        assert found == [*wanted, (b"", b"last")]


async def test_what_was_acknowledged_to_one_client_is_there_for_another(
    log: Log, client: LogClient, at: Partition
) -> None:
    other = await log.client()
    for number in range(30):
        offset = await client.append(*at, None, b"%d" % number)
        assert (await other.bounds(at)).end == offset + 1 == number + 1
        assert values(await other.read(at, offset)) == [b"%d" % number]


async def test_two_clients_that_append_at_once_lose_and_reorder_nothing(
    log: Log, client: LogClient, at: Partition
) -> None:
    other = await log.client()

    async def write(writer: LogClient, name: bytes) -> None:
        for _ in range(10):
            await append_many(writer, at, 50, name)

    await asyncio.gather(write(client, b"one"), write(other, b"two"))
    found = await read_all(client, at)
    assert offsets(found) == list(range(1000))
    for name in (b"one", b"two"):
        assert values([r for r in found if r.key == name]) == [b"%d" % number for number in range(50)] * 10


async def test_giving_an_append_up_disturbs_no_other(client: LogClient, at: Partition) -> None:
    """An abandoned append may be in the log or not."""
    first, second, third = (asyncio.ensure_future(client.append(*at, None, b"%d" % n)) for n in range(3))
    second.cancel()
    assert await first == 0
    last = await third
    assert values(await read_all(client, at)) in ([b"0", b"1", b"2"], [b"0", b"2"])
    assert values(await client.read(at, last)) == [b"2"]


# -- refusals


async def test_a_record_that_is_too_large_is_refused_at_once_and_alone(log: Log, client: LogClient) -> None:
    small = await log.client(max_request_size=100_000)
    at = await new_topic(small, 1)
    before, large, after = (
        small.append(*at, None, b"before"),
        small.append(*at, b"." * 50_000, b"." * 30_000, [("name", b"." * 30_000)]),
        small.append(*at, None, b"." * 99_000),
    )
    with pytest.raises(LogRefusedError, match="limit is 100000") as refused:
        await large
    assert "\n" not in str(refused.value)
    assert (await before, await after) == (0, 1)
    assert [len(value or b"") for value in values(await read_all(client, at))] == [6, 99_000]


async def test_a_record_of_several_megabytes_comes_through_every_way(log: Log, client: LogClient) -> None:
    large = await log.client(max_request_size=5 << 20)
    at = await new_topic(large, 1)
    delivered: list[bytes | None] = []
    await client.follow(at, 0, lambda records: delivered.extend(values(records)))
    value = random.Random(0).randbytes(4 << 20)
    assert await asyncio.gather(*(large.append(*at, None, part) for part in (b"a", value, b"b"))) == [0, 1, 2]
    assert values(await read_all(client, at)) == [b"a", value, b"b"]
    async with asyncio.timeout(60):
        while len(delivered) < 3:
            await asyncio.sleep(0.01)
    assert delivered == [b"a", value, b"b"]


async def test_what_does_not_fit_into_memory_is_refused_at_once(log: Log) -> None:
    client = await log.client(max_waiting_bytes=4 << 20)
    at = await new_topic(client, 1)
    appended = [client.append(*at, None, bytes(500_000)) for _ in range(40)]
    with pytest.raises(LogUnavailableError, match="does not keep up"):
        await appended[-1]
    assert await appended[0] == 0
    await asyncio.gather(*appended, return_exceptions=True)
    assert await client.append(*at, None, b"later") == (await client.bounds(at)).end - 1


@pytest.mark.parametrize("partition", [6, -1])
async def test_an_unknown_partition_is_refused_and_disturbs_no_other(
    client: LogClient, at: Partition, partition: int
) -> None:
    nowhere = Partition(at.topic, partition)
    refused, fine = client.append(*nowhere, None, b"v"), client.append(*at, None, b"v")
    assert await fine == 0
    with pytest.raises(LogRefusedError):
        await refused
    await everything_is_refused(client, nowhere)


async def test_an_unknown_topic_is_refused(client: LogClient) -> None:
    nowhere = Partition("no-such-topic", 0)
    with pytest.raises(LogRefusedError, match="no topic no-such-topic"):
        client.partitions(nowhere.topic)
    with pytest.raises(LogRefusedError):
        await client.append(*nowhere, None, b"v")
    await everything_is_refused(client, nowhere)


async def everything_is_refused(client: LogClient, at: Partition) -> None:
    with pytest.raises(LogRefusedError):
        await client.bounds(at)
    with pytest.raises(LogRefusedError):
        await client.read(at, 0)
    with pytest.raises(LogRefusedError):
        await client.offset_at(at, 0.0)
    with pytest.raises(LogRefusedError):
        await client.follow(at, 0, lambda _: None)


async def test_a_compacted_topic_takes_no_record_without_a_key(client: LogClient) -> None:
    name = new_name()
    await client.create_topics([TopicSpec(name=name, partitions=1, compacted=True)], replication=1)
    assert await client.append(name, 0, b"key", b"v") == 0
    with pytest.raises(LogError):
        await client.append(name, 0, None, b"v")
    assert await client.append(name, 0, b"", b"v") == 1


# -- read


async def test_an_empty_partition_is_empty(client: LogClient, at: Partition) -> None:
    assert await client.bounds(at) == (0, 0)
    assert await client.read(at, 0) == []
    assert await client.read(at, 7) == []
    assert await client.offset_at(at, 0.0) == 0


@pytest.mark.parametrize("limit", [1, 7, 500, 5000])
async def test_pages_follow_on_each_other(client: LogClient, at: Partition, limit: int) -> None:
    await append_many(client, at, 200)
    assert offsets(await read_all(client, at, limit=limit)) == list(range(200))
    assert len(await client.read(at, 0, limit=limit)) == min(limit, 200)


async def test_a_position_may_lie_outside_the_log(log: Log, client: LogClient, at: Partition) -> None:
    await append_many(client, at, 20)
    assert offsets(await client.read(at, -5)) == list(range(20))
    assert offsets(await client.read(at, 18)) == [18, 19]
    assert await client.read(at, 20) == []
    assert await client.read(at, 1000) == []
    await log.cut(at, 12)
    assert await client.bounds(at) == (12, 20)
    assert offsets(await client.read(at, 3)) == list(range(12, 20))
    await log.cut(at, 20)
    assert await client.bounds(at) == (20, 20)
    assert await client.read(at, 3) == []
    assert await client.append(*at, None, b"next") == 20


async def test_a_time_is_found(log: Log, client: LogClient, at: Partition) -> None:
    for _ in range(5):
        await client.append(*at, None, b"v")
        await asyncio.sleep(0.005)
    records = await client.read(at, 0)
    assert await client.offset_at(at, 0.0) == 0
    for record in records:
        assert await client.offset_at(at, record.timestamp) == record.offset
    assert await client.offset_at(at, records[-1].timestamp + 60) == 5
    await log.cut(at, 3)
    assert await client.offset_at(at, 0.0) == 3
    assert await client.offset_at(at, records[1].timestamp) == 3
    assert await client.offset_at(at, records[4].timestamp) == 4


# -- life


async def test_before_start_and_after_stop_it_is_unavailable(log: Log, client: LogClient, at: Partition) -> None:
    other = log.make()

    async def refuses() -> None:
        with pytest.raises(LogUnavailableError):
            await other.bounds(at)
        with pytest.raises(LogUnavailableError):
            await other.append(*at, None, b"v")
        with pytest.raises(LogUnavailableError):
            await other.follow(at, 0, lambda _: None)
        await other.unfollow(at)

    await refuses()
    await other.stop()
    for _ in range(2):
        await other.start()
        await other.start()  # it is already
        end = (await client.bounds(at)).end
        assert await other.append(*at, None, b"v") == end
        await other.stop()
        await refuses()


async def test_stop_flushes_what_was_appended(log: Log, client: LogClient, at: Partition) -> None:
    other = await log.client()
    appended = [other.append(*at, None, b"%d" % number) for number in range(2000)]
    await other.stop()
    assert await client.bounds(at) == (0, 2000)
    assert await asyncio.gather(*appended) == list(range(2000))
    assert values(await read_all(client, at)) == [b"%d" % number for number in range(2000)]
