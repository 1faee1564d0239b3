"""A worker's place in its consumer group, as Faust has it at this moment."""

from collections.abc import Iterable
from typing import Any, Protocol


class FaustApp(Protocol):
    """The parts of ``faust.App`` that show the state of the group."""

    started: bool
    rebalancing: bool
    consumer_generation_id: int
    consumer: Any


class GroupMembership:
    """The partitions that this worker owns, and whether it stops.

    Args:
        app: the Faust app.
        prefix: the prefix of the topics' names on the brokers.
    """

    def __init__(self, app: Any, prefix: str = "") -> None:
        self._app: FaustApp = app
        self._prefix = prefix
        self.draining = False

    @property
    def rebalancing(self) -> bool:
        """Whether the group is reassigning its partitions."""
        return self._app.rebalancing

    @property
    def settled(self) -> bool:
        """Whether the partitions of this worker are known: it has started, and the group is at rest."""
        return self._app.started and not self._app.rebalancing

    @property
    def generation(self) -> int:
        """The generation of the consumer group: another one after each rebalance."""
        return self._app.consumer_generation_id

    def own_partitions(self, topic: str) -> set[int]:
        """Partitions of a topic that this worker owns now; none during a rebalance."""
        if not self.settled:
            return set()
        name = self._prefix + topic
        assigned: Iterable[Any] = self._app.consumer.assignment()
        return {tp.partition for tp in assigned if tp.topic == name}
