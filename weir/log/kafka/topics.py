"""Creates missing topics and checks existing ones; two workers may do it at the same time."""

from collections.abc import Collection, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidReplicationFactorError,
    LeaderNotAvailableError,
    NoError,
    TopicAlreadyExistsError,
    for_code,
)

from weir.log.log import LogUnavailableError, OtherPartitionsError, Retentions, TopicSpec, check_specs
from weir.timing import retry

__all__ = ["create_topics", "retentions"]

SETTLE_S: Final = 5.0  # how long to wait for leaders of new topics, and for an election under way
_PAUSE_S: Final = 0.05
_RETENTION: Final = "retention.ms"
SAFE_COPIES: Final = 3  # so many copies can lose one and still take writes that must reach two


class _Topic:
    """A topic as the brokers describe it."""

    def __init__(self, name: str, partitions: Sequence[Mapping[str, Any]]) -> None:
        self.partitions = len(partitions)
        self.nodes = {node for partition in partitions for node in partition["replicas"]}
        leaderless = [one for one in partitions if for_code(one["error_code"]) is LeaderNotAvailableError]
        self.led = bool(partitions) and not leaderless
        which = _numbers({one["partition"] for one in leaderless})
        where = _numbers({node for one in leaderless for node in one["replicas"]})
        self.trouble = (
            f"topic {name} has no leader for partition {which}; the copies are on broker {where}: is it down?"
        )


def _numbers(nodes: Collection[int]) -> str:
    return ", ".join(map(str, sorted(nodes)))


async def create_topics(
    admin: AIOKafkaAdminClient, topics: Sequence[TopicSpec], replication: int, max_record_bytes: int
) -> None:
    """Create the missing topics. Returns when every topic has a leader for each partition.

    Args:
        admin: started.
        topics: the topics that must exist.
        replication: copies of each partition of a new topic.
        max_record_bytes: the largest record that a new topic takes; a broker's own default is 1 MB.

    Raises:
        OtherPartitionsError: an existing topic has another number of partitions.
        LogRefusedError: a spec that no broker can create.
        LogUnavailableError: too few brokers are up, or a partition has no leader.
        KafkaError: the cluster cannot be asked, or refuses.
    """
    check_specs(topics)
    existing = await _topics(admin)
    ready = [topic for topic in topics if topic.name in existing and existing[topic.name].partitions]
    _compare(ready, existing)  # before anything is created
    missing = list({topic.name: topic for topic in topics if topic.name not in existing}.values())
    if missing:
        await _create(admin, missing, replication, max_record_bytes, existing.values())
    await _check(admin, topics)


async def _create(
    admin: AIOKafkaAdminClient,
    missing: Sequence[TopicSpec],
    replication: int,
    max_record_bytes: int,
    existing: Collection[_Topic],
) -> None:
    cluster = await admin.describe_cluster()
    up = {broker["node_id"] for broker in cluster["brokers"]}
    too_few = _too_few(up, set().union(*(topic.nodes for topic in existing)), replication, missing[0].name)
    if len(up) < replication:
        raise too_few
    if admin._client.cluster.controller is None:  # noqa: SLF001 -- aiokafka would not notice that there is none
        raise LogUnavailableError("Kafka has no controller")
    response = await admin.create_topics([_new_topic(topic, replication, max_record_bytes) for topic in missing])
    for name, code, *reason in response.topic_errors:
        kind = for_code(code)
        if kind is InvalidReplicationFactorError:
            raise too_few
        if kind not in (NoError, TopicAlreadyExistsError):  # another worker created it first: it is checked below
            raise kind(f"topic {name}: {reason[0] if reason and reason[0] else kind.__name__}")


async def retentions(admin: AIOKafkaAdminClient, topics: Sequence[str]) -> Retentions:
    """How long topics keep their records; a topic whose configuration may not be read is left out.

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
    """Wait a moment for the topics to exist with all their leaders, and compare their partitions."""

    async def settled() -> Mapping[str, _Topic]:
        found = await _topics(admin)
        lacking = next((topic.name for topic in topics if topic.name not in found), None)
        leaderless = next(
            (found[topic.name] for topic in topics if topic.name in found and not found[topic.name].led), None
        )
        if lacking is not None or leaderless is not None:
            raise LogUnavailableError(leaderless.trouble if leaderless else f"Kafka does not show topic {lacking} yet")
        return found

    _compare(topics, await retry(settled, LogUnavailableError, pauses_s=repeat(_PAUSE_S), limit_s=SETTLE_S))


def _compare(topics: Sequence[TopicSpec], found: Mapping[str, _Topic]) -> None:
    for topic in topics:
        if (partitions := found[topic.name].partitions) != topic.partitions:
            raise OtherPartitionsError(topic.name, partitions, topic.partitions)


async def _topics(admin: AIOKafkaAdminClient) -> Mapping[str, _Topic]:
    """The topics of the cluster, by name."""
    return {topic["topic"]: _Topic(topic["topic"], topic["partitions"]) for topic in await admin.describe_topics()}


def _too_few(up: set[int], known: set[int], replication: int, topic: str) -> LogUnavailableError:
    """The error for too few brokers for the copies of a topic; known brokers may be down."""
    need = f"Kafka has {len(up)} broker(s), but replication {replication} was asked for topic {topic}"
    if down := sorted(known - up):
        nodes = ", ".join(map(str, down))
        return LogUnavailableError(f"{need}: broker {nodes} is down, and the topic is created when it is back")
    return LogUnavailableError(f"{need}: start more brokers, or set KAFKA_REPLICATION_FACTOR to what it has")


def _new_topic(spec: TopicSpec, replication: int, max_record_bytes: int) -> NewTopic:
    policies = ["compact"] * spec.compacted + ["delete"] * (spec.retention_s is not None or not spec.compacted)
    config: dict[str, Any] = {
        "cleanup.policy": ",".join(policies),
        _RETENTION: "-1" if spec.retention_s is None else str(int(spec.retention_s * 1000)),
        "max.message.bytes": str(max_record_bytes),
    }
    if replication >= SAFE_COPIES:  # else records that only one broker has confirmed are lost with it
        config["min.insync.replicas"] = "2"
    return NewTopic(spec.name, spec.partitions, replication, topic_configs=config)
