"""The parts of a worker that its components share: the log and its tails, events, metrics, settings, its membership.

A component gets this record when it is made, and never the application: so calls run the way imports run. `app.build`
makes it.
"""

from dataclasses import dataclass
from typing import Protocol

from weir.events.publishing import Events
from weir.llm.prices import Prices
from weir.log.log import LogClient
from weir.log.tails import Tails
from weir.settings import Settings
from weir.telemetry.worker_metrics import Metrics
from weir.topics import CHAT_REQUESTS, Topic


class Membership(Protocol):
    """The worker's membership in its consumer group, at this moment."""

    @property
    def rebalancing(self) -> bool:
        """Whether the group is reassigning its partitions."""

    @property
    def settled(self) -> bool:
        """Whether the partitions of this worker are known: it has started, and the group is at rest."""

    @property
    def generation(self) -> int:
        """The generation of the consumer group: another one after each rebalance."""

    @property
    def draining(self) -> bool:
        """Whether the worker stops: it finishes the requests in flight and takes no new ones."""

    def own_partitions(self, topic: str) -> set[int]:
        """Partitions of a topic that this worker owns now; none during a rebalance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker, or one command beside the workers, as its components see it."""

    name: str  # host:port, as other workers reach it
    settings: Settings
    log: LogClient
    tails: Tails
    events: Events
    metrics: Metrics
    prices: Prices
    membership: Membership

    @property
    def draining(self) -> bool:
        """Whether the worker stops: it finishes the requests in flight and takes no new ones."""
        return self.membership.draining

    @property
    def rebalancing(self) -> bool:
        """Whether the group is reassigning its partitions."""
        return self.membership.rebalancing

    def own_partitions(self, of: Topic = CHAT_REQUESTS) -> set[int]:
        """Partitions of a topic that this worker owns now; none during a rebalance."""
        return self.membership.own_partitions(of.name)
