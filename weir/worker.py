"""What a worker lends its parts: the log and its tails, events, metrics, settings, and its place among the workers.

A part gets this record when it is made, and never the application: so calls run the way imports run. `app.build` makes
it.
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
    """The worker's place in its consumer group, as it is at this moment."""

    @property
    def rebalancing(self) -> bool:
        """Whether the group is giving out its partitions."""

    @property
    def settled(self) -> bool:
        """Whether it is known which partitions are this worker's: it has started, and the group is at rest."""

    @property
    def generation(self) -> int:
        """Of the consumer group: another one after each rebalance."""

    @property
    def draining(self) -> bool:
        """Whether the worker stops: it finishes what is in flight and takes nothing new."""

    def own_partitions(self, topic: str) -> set[int]:
        """Partitions of a topic that this worker owns now; none while the workers are sharing them out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker, or one command beside the workers, as its parts see it."""

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
        """Whether the worker stops: it finishes what is in flight and takes nothing new."""
        return self.membership.draining

    @property
    def rebalancing(self) -> bool:
        """Whether the group is giving out its partitions."""
        return self.membership.rebalancing

    def own_partitions(self, of: Topic = CHAT_REQUESTS) -> set[int]:
        """Partitions of a topic that this worker owns now; none while the workers are sharing them out."""
        return self.membership.own_partitions(of.name)
