"""Topics are created once, as their spec says, by the first client that comes, and are never changed afterwards."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.contracts.logs import Log, new_name
from weir.log.log import LogClient, LogRefusedError, Partition, TopicSpec


@pytest.mark.parametrize("retention_s", [None, 3600.0, 0.5])
@pytest.mark.parametrize("compacted", [False, True])
async def test_a_topic_has_what_its_spec_says(
    log: Log, client: LogClient, retention_s: float | None, compacted: bool
) -> None:
    spec = TopicSpec(name=new_name(), partitions=3, retention_s=retention_s, compacted=compacted)
    await client.create_topics([spec], replication=1)
    assert client.partitions(spec.name) == 3
    assert await log.settings(spec.name) == (retention_s, compacted)
    assert [await client.append(spec.name, partition, b"k", b"v") for partition in range(3)] == [0, 0, 0]


async def test_a_topic_that_exists_keeps_its_records_and_on_kafka_its_retention(log: Log, client: LogClient) -> None:
    name = new_name()
    await client.create_topics([TopicSpec(name=name, partitions=2, retention_s=3600.0)], replication=1)
    await client.append(name, 0, None, b"v")
    for again in (client, await log.client()):
        specs = [TopicSpec(name=name, partitions=2, retention_s=7.0, compacted=True)]
        kept = await again.create_topics(specs, replication=1)
        assert kept == {name: 3600.0 if log.operated else 7.0}
        assert again.partitions(name) == 2
        assert await log.settings(name) == (kept[name], False)
        assert await again.bounds(Partition(name, 0)) == (0, 1)


async def test_clients_that_start_together_create_a_topic_once(log: Log) -> None:
    clients = [await log.client() for _ in range(4)]
    specs = [TopicSpec(name=new_name(), partitions=2) for _ in range(5)]
    await asyncio.gather(*(client.create_topics(specs, replication=1) for client in clients))
    assert {client.partitions(spec.name) for client in clients for spec in specs} == {2}
    ends = await asyncio.gather(*(client.append(specs[0].name, 0, None, b"v") for client in clients))
    assert sorted(ends) == [0, 1, 2, 3]


async def test_a_topic_that_another_client_created_later_can_be_used(log: Log, client: LogClient) -> None:
    """Any call may come first; `partitions` cannot wait, so on Kafka it may know the topic only after another call."""
    ways: list[Callable[[Partition], Awaitable[object]]] = [
        client.bounds,
        lambda at: client.append(*at, None, b"v"),
        lambda at: client.read(at, 0),
        lambda at: client.offset_at(at, 0.0),
        lambda at: client.follow(at, 0, lambda _: None),
    ]
    other = await log.client()
    for way in ways:
        at = Partition(new_name(), 0)
        await other.create_topics([TopicSpec(name=at.topic, partitions=1)], replication=1)
        await way(at)
        assert await client.bounds(at) == await other.bounds(at)
        assert client.partitions(at.topic) == 1


async def test_another_number_of_partitions_is_refused_and_nothing_is_created(client: LogClient) -> None:
    name, new = new_name(), new_name()
    await client.create_topics([TopicSpec(name=name, partitions=6)], replication=1)
    specs = [TopicSpec(name=new, partitions=1), TopicSpec(name=name, partitions=8)]
    with pytest.raises(LogRefusedError, match=rf"{name} .*6 partitions.*8"):
        await client.create_topics(specs, replication=1)
    with pytest.raises(LogRefusedError):
        client.partitions(new)
    with pytest.raises(LogRefusedError):
        await client.bounds(Partition(new, 0))
    assert client.partitions(name) == 6


async def test_a_name_that_is_none_is_refused_and_nothing_is_created(client: LogClient) -> None:
    new = new_name()
    for name in ("", ".", "..", "with space", "slash/ed", "größe", "a" * 250, "new\nline"):
        specs = [TopicSpec(name=new, partitions=1), TopicSpec(name=name, partitions=1)]
        with pytest.raises(LogRefusedError, match="not a valid topic name") as refused:
            await client.create_topics(specs, replication=1)
        assert "\n" not in str(refused.value)
    with pytest.raises(LogRefusedError):
        await client.bounds(Partition(new, 0))


async def test_a_topic_without_partitions_is_refused(client: LogClient) -> None:
    name = new_name()
    for partitions in (0, -1):
        with pytest.raises(LogRefusedError, match=f"{name} needs at least one partition"):
            await client.create_topics([TopicSpec(name=name, partitions=partitions)], replication=1)
    with pytest.raises(LogRefusedError):
        await client.bounds(Partition(name, 0))


async def test_names_may_have_dots_dashes_and_249_characters(client: LogClient) -> None:
    name = f"{new_name()}.with-dashes_and.dots".ljust(249, "x")
    await client.create_topics([TopicSpec(name=name, partitions=1)], replication=1)
    assert await client.append(name, 0, None, b"v") == 0


async def test_a_topic_that_is_named_twice_is_created_once(client: LogClient) -> None:
    name = new_name()
    await client.create_topics([TopicSpec(name=name, partitions=2)] * 2, replication=1)
    assert client.partitions(name) == 2
