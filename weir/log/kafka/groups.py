"""Finds the consumer groups that read a topic now, and the other topics that their members subscribe to.

Kafka keeps no list of a topic's readers: each broker lists the groups that it coordinates, and a description of a group
holds the subscriptions of its members, in the bytes that its assignors exchange. A group that is just being rebalanced
shows none, so it is asked again for a moment. A group without members has only offsets, and reads nothing.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from aiokafka.errors import NoError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest_v2

__all__ = ["ConsumerGroup", "groups_reading"]

SETTLE_S: Final = 5.0  # how long to wait for groups in a rebalance
LOOK_S: Final = 0.25
AT_ONCE: Final = 100  # groups of one request
_CONSUMER: Final = "consumer"  # the protocol type of consumer groups
_REBALANCING: Final = frozenset({"PreparingRebalance", "CompletingRebalance"})


class ConsumerGroup(NamedTuple):
    """A consumer group with members."""

    id: str
    topics: frozenset[str]  # the topics that its members subscribe to, as the brokers name them


class _DescribeGroups:
    """A DescribeGroups request; aiokafka's own asks in version 3 and reads version 2: all but the first are garbled."""

    def __init__(self, groups: Sequence[str]) -> None:
        self._groups = list(groups)

    def prepare(self, versions: object) -> Any:  # aiokafka's connection calls it
        del versions
        return DescribeGroupsRequest_v2(self._groups)


async def groups_reading(admin: AIOKafkaAdminClient, topic: str, besides: str = "") -> list[ConsumerGroup]:
    """The consumer groups with a member that subscribes to a topic, of those that the Kafka user may describe.

    Args:
        admin: started.
        topic: as the brokers name it.
        besides: a group to leave out, which may be in the middle of a rebalance.

    Raises:
        KafkaError: the cluster cannot be asked, or refuses.
    """
    found: list[ConsumerGroup] = []
    cluster = await admin.describe_cluster()
    for broker in cluster["brokers"]:
        node = broker["node_id"]
        listed = [
            name for name, kind in await admin.list_consumer_groups([node]) if kind == _CONSUMER and name != besides
        ]
        found += await _described(admin, node, listed)
    return [group for group in found if topic in group.topics]


async def _described(admin: AIOKafkaAdminClient, node: int, groups: Sequence[str]) -> list[ConsumerGroup]:
    """Describe groups that one broker coordinates; groups that stay in a rebalance for long are left out."""
    found: list[ConsumerGroup] = []
    until = asyncio.get_running_loop().time() + SETTLE_S
    while groups:
        unsettled: list[str] = []
        for start in range(0, len(groups), AT_ONCE):
            request = _DescribeGroups(groups[start : start + AT_ONCE])
            answer = await admin._client.send(node, request)  # noqa: SLF001 - aiokafka has no public method for it
            for code, name, state, _, _, members in answer.groups:
                if for_code(code) is not NoError:
                    continue  # another broker coordinates it by now, or the Kafka user may not describe it
                if state in _REBALANCING:
                    unsettled.append(name)
                elif members:
                    found.append(ConsumerGroup(name, frozenset(_subscriptions(members))))
        if asyncio.get_running_loop().time() > until:
            break
        groups = unsettled
        if groups:
            await asyncio.sleep(LOOK_S)
    return found


def _subscriptions(members: Iterable[Sequence[Any]]) -> Iterator[str]:
    for _, _, _, metadata, _ in members:
        try:
            yield from ConsumerProtocolMemberMetadata.decode(metadata).subscription
        except (ValueError, TypeError):  # a member of another protocol, with a format of its own
            continue
