"""Creating topics: what is missing is created, what exists is checked, and two workers may do it at the same time."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidReplicationFactorError,
    LeaderNotAvailableError,
    NoError,
    TopicAlreadyExistsError,
    for_code,
)

from transports.log import Kept, LogRefusedError, OtherPartitionsError, TopicSpec, check_specs

__all__ = ["create_topics", "retentions"]

_SETTLE_S = 0.05
_RETENTION = "retention.ms"


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
        OtherPartitionsError: an existing topic has another number of partitions.
        LogRefusedError: too few brokers, or a spec that is none.
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


async def retentions(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> Kept:
    """How long topics keep their records; one whose configuration may not be read is left out.

    Raises:
        KafkaError: the cluster cannot be asked.
    """
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic, configs={_RETENTION: None}) for topic in topics]
    found: dict[str, float | None] = {}
    for answer in await admin.describe_configs(asked):
        for code, _, _, topic, entries in answer.resources:
            for name, value, *_ in entries if for_code(code) is NoError else ():
                if name == _RETENTION and value is not None:
                    found[topic] = None if int(value) < 0 else int(value) / 1000
    return found


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
            raise OtherPartitionsError(topic.name, found[topic.name], topic.partitions)


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
        _RETENTION: "-1" if spec.retention_s is None else str(int(spec.retention_s * 1000)),
        "max.message.bytes": str(max_record_bytes),
    }
    return NewTopic(spec.name, spec.partitions, replication, topic_configs=config)
