"""Installations with prefixes of their own share a cluster: each sees its topics without the prefix."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
from aiokafka.admin import NewPartitions

from tests.contracts.logs import OnKafka, new_name, until
from weir.log.kafka.client import KafkaLog
from weir.log.log import LogRefusedError, OtherPartitionsError, Partition, Record, TopicSpec, partition_of

pytestmark = pytest.mark.kafka
PREFIXES = ("", "a.", "chat-")  # the last one is also how names of topics begin


@pytest.fixture
async def logs(kafka_bootstrap: str) -> AsyncIterator[dict[str, KafkaLog]]:
    broker = OnKafka(kafka_bootstrap)
    found = {prefix: broker.make(prefix=prefix) for prefix in PREFIXES}
    for log in found.values():
        await log.start()
    yield found
    for log in found.values():
        await log.stop()


async def create(logs: dict[str, KafkaLog], partitions: int = 2) -> str:
    """Create a topic of the same name in each installation."""
    name = f"chat-{new_name()}"
    for log in logs.values():
        spec = TopicSpec(name=name, partitions=partitions, retention_s=3600.0)
        assert await log.create_topics([spec], replication=1) == {name: 3600.0}
    return name


async def test_each_installation_reads_its_own_records_in_every_way_and_under_the_bare_name(
    logs: dict[str, KafkaLog],
) -> None:
    name = await create(logs)
    at = Partition(name, 1)
    for prefix, log in logs.items():
        heard: list[Record] = []
        await log.follow(at, 0, heard.extend)
        assert await log.append(*at, b"k", prefix.encode(), [("h", b"v")]) == 0
        (record,) = await log.read(at, 0)
        assert (record.topic, record.partition, record.value) == (name, 1, prefix.encode())
        assert await log.bounds(at) == (0, 1)
        assert await log.offset_at(at, record.timestamp) == 0
        await until(partial(bool, heard))
        assert heard == [record]
        await log.unfollow(at)
        assert log.partitions(name) == 2
        assert partition_of(log, name, b"k").topic == name


async def test_on_the_brokers_the_names_differ(logs: dict[str, KafkaLog]) -> None:
    name = await create(logs)
    bare = logs[""]
    for prefix in PREFIXES:
        await bare.bounds(Partition(prefix + name, 0))  # which a log client without a prefix sees


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_what_an_operator_reads_has_the_name_on_the_brokers(logs: dict[str, KafkaLog], prefix: str) -> None:
    log, missing = logs[prefix], new_name()
    with pytest.raises(LogRefusedError, match=f"no topic {prefix}{missing}"):
        log.partitions(missing)
    with pytest.raises(LogRefusedError, match=f"{prefix}{missing}-0"):
        await log.bounds(Partition(missing, 0))
    with pytest.raises(LogRefusedError, match=f"{prefix}{missing}"):
        await log.append(missing, 0, None, b"v")


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_another_number_of_partitions_is_told_under_the_bare_name(logs: dict[str, KafkaLog], prefix: str) -> None:
    name = await create(logs)
    with pytest.raises(OtherPartitionsError) as caught:
        await logs[prefix].create_topics([TopicSpec(name=name, partitions=3)], replication=1)
    assert (caught.value.topic, caught.value.found, caught.value.expected) == (name, 2, 3)


async def test_partitions_that_are_added_while_a_client_runs_move_no_keys(
    logs: dict[str, KafkaLog], kafka_bootstrap: str
) -> None:
    name, log = await create(logs), logs["a."]
    async with OnKafka(kafka_bootstrap).admin() as admin:
        await admin.create_partitions({f"a.{name}": NewPartitions(total_count=4)})
    other = OnKafka(kafka_bootstrap).make(prefix="a.")
    await other.start()
    try:
        assert other.partitions(name) == 4  # as last heard: it has not checked the topic
    finally:
        await other.stop()
    asker = log._started(log._asker)
    await asker.refresh()
    assert asker.partitions(name) == 4
    assert log.partitions(name) == 2
