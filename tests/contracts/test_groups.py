"""Finds the consumer groups that read a topic, from the brokers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer

from tests.contracts.logs import OnKafka, new_name
from weir.log.kafka.client import KafkaLog
from weir.log.kafka.groups import ConsumerGroup
from weir.log.log import TopicSpec

pytestmark = pytest.mark.kafka


@pytest.fixture
async def log(kafka_bootstrap: str) -> AsyncIterator[KafkaLog]:
    log = OnKafka(kafka_bootstrap).make(prefix="g.")
    await log.start()
    yield log
    await log.stop()


@asynccontextmanager
async def consumer(bootstrap: str, group: str, *topics: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A member of a group that has its partitions."""
    member = AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, group_id=group, session_timeout_ms=6000)
    await member.start()
    try:
        async with asyncio.timeout(60):
            while not member.assignment():
                await asyncio.sleep(0.02)
        yield member
    finally:
        await member.stop()


async def topics_of(log: KafkaLog, count: int) -> list[str]:
    names = [new_name() for _ in range(count)]
    await log.create_topics([TopicSpec(name=name, partitions=2) for name in names], replication=1)
    return names


async def test_all_groups_that_read_it_are_told_with_all_that_they_read(log: KafkaLog, kafka_bootstrap: str) -> None:
    """Several groups in one answer: aiokafka's own request garbles all but the first."""
    one, other = await topics_of(log, 2)
    group = new_name()
    async with (
        consumer(kafka_bootstrap, f"{group}-a", f"g.{one}"),
        consumer(kafka_bootstrap, f"{group}-b", f"g.{one}", f"g.{other}"),
        consumer(kafka_bootstrap, f"{group}-c", f"g.{other}"),
    ):
        assert sorted(await log.groups_reading(one)) == [
            ConsumerGroup(f"{group}-a", frozenset({f"g.{one}"})),
            ConsumerGroup(f"{group}-b", frozenset({f"g.{one}", f"g.{other}"})),
        ]
        assert {found.id for found in await log.groups_reading(other)} == {f"{group}-b", f"{group}-c"}


async def test_a_group_that_has_only_offsets_reads_nothing(log: KafkaLog, kafka_bootstrap: str) -> None:
    (topic,) = await topics_of(log, 1)
    async with consumer(kafka_bootstrap, new_name(), f"g.{topic}") as member:
        await member.commit(dict.fromkeys(member.assignment(), 0))
        assert len(await log.groups_reading(topic)) == 1
    assert await log.groups_reading(topic) == []
