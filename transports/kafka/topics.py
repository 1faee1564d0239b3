"""Creating topics: what is missing is created, what exists is checked, and two workers may do it at the same time."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    InvalidReplicationFactorError,
    LeaderNotAvailableError,
    NoError,
    TopicAlreadyExistsError,
    for_code,
)

from transports.log import LogRefusedError, TopicSpec, check_specs

__all__ = ["create_topics"]

_SETTLE_S = 0.05


async def create_topics(
    admin: AIOKafkaAdminClient, topics: Sequence[TopicSpec], replication: int, max_record_bytes: int
) -> None:
    """Create what is missing. Returns when every topic has a leader for each partition.

    Args:
        admin: started.
        topics: what there must be.
        replication: copies of each partition of a new topic.
        max_record_bytes: the largest record that a new topic takes; a broker's own default is 1 MB.

    Raises:
        LogRefusedError: too few brokers, an existing topic with another number of partitions, or a spec that is none.
        KafkaError: the cluster cannot be asked, or refuses.
    """
    check_specs(topics)
    existing = await _partitions(admin)
    _compare([topic for topic in topics if existing.get(topic.name)], existing)  # before anything is created
    missing = list({topic.name: topic for topic in topics if topic.name not in existing}.values())
    if missing:
        brokers = len((await admin.describe_cluster())["brokers"])
        if brokers < replication:
            raise _too_few(brokers, replication)
        response = await admin.create_topics([_new_topic(topic, replication, max_record_bytes) for topic in missing])
        for name, code, *reason in response.topic_errors:
            kind = for_code(code)
            if kind is InvalidReplicationFactorError:
                raise _too_few(brokers, replication)
            if kind not in (NoError, TopicAlreadyExistsError):  # another worker was quicker: it is checked below
                raise kind(f"topic {name}: {reason[0] if reason and reason[0] else kind.__name__}")
    await _check(admin, topics)


async def _check(admin: AIOKafkaAdminClient, topics: Sequence[TopicSpec]) -> None:
    """Wait until the topics are there, and compare their partitions. The caller limits the time."""
    while True:
        found = await _partitions(admin)
        if all(found.get(topic.name) for topic in topics):
            break
        await asyncio.sleep(_SETTLE_S)
    _compare(topics, found)


def _compare(topics: Sequence[TopicSpec], found: Mapping[str, int]) -> None:
    for topic in topics:
        if found[topic.name] != topic.partitions:
            raise LogRefusedError(
                f"topic {topic.name} has {found[topic.name]} partitions, but {topic.partitions} are expected: "
                "the number is fixed, because keys are shared out by it; move the topic away, or use another cluster"
            )


async def _partitions(admin: AIOKafkaAdminClient) -> Mapping[str, int]:
    """Partitions by topic; 0 for a topic that is not ready yet."""
    found: dict[str, int] = {}
    for topic in await admin.describe_topics():
        ready = all(
            for_code(partition["error_code"]) is not LeaderNotAvailableError for partition in topic["partitions"]
        )
        found[topic["topic"]] = len(topic["partitions"]) if ready else 0
    return found


def _too_few(brokers: int, replication: int) -> LogRefusedError:
    return LogRefusedError(
        f"Kafka has {brokers} broker(s), but replication {replication} was asked for: "
        "set KAFKA_REPLICATION_FACTOR to what it has"
    )


def _new_topic(spec: TopicSpec, replication: int, max_record_bytes: int) -> NewTopic:
    policies = ["compact"] * spec.compacted + ["delete"] * (spec.retention_s is not None or not spec.compacted)
    config: dict[str, Any] = {
        "cleanup.policy": ",".join(policies),
        "retention.ms": "-1" if spec.retention_s is None else str(int(spec.retention_s * 1000)),
        "max.message.bytes": str(max_record_bytes),
    }
    return NewTopic(spec.name, spec.partitions, replication, topic_configs=config)
