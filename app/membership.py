"""A worker's place among the others: whether it has partitions, and whether its topics are its group's alone.

Two installations with the same topics and different groups would each work through all requests: every request would be
answered twice, and each would write dead letters for requests that the other one has answered. So a worker looks for
workers of other groups before it joins its own, and again after it has joined: of two that start at the same time, the
one whose group's name comes last gives up. It looks more than once, as the other one may have looked before it, and
join after it.
"""

import asyncio
import logging
import time
from typing import Final, Protocol

from weir import topics
from weir.log.kafka.groups import ConsumerGroup
from weir.log.log import LogError, LogRefusedError
from weir.settings import Settings

logger = logging.getLogger(__name__)

LOOK_S: Final = 1.0  # between two checks of the worker's partitions
OTHERS_S: Final = (0.0, 10.0, 60.0)  # checks for other groups, since this worker has joined; a start takes less
# every worker subscribes to this topic, behind its group's name, and no other reader does
MARK: Final = "-terminals-changelog"


class Groups(Protocol):
    """The questions about consumer groups: ``weir.log.kafka.client.KafkaLog`` answers them."""

    async def groups_reading(self, topic: str, *, besides: str = "") -> list[ConsumerGroup]:
        """Return the consumer groups, except one, with a member that is subscribed to a topic."""


class Neighbours:
    """Looks for workers of other groups on the same topics. Does nothing without Kafka."""

    def __init__(self, groups: Groups | None, settings: Settings) -> None:
        self._groups, self._settings = groups, settings

    async def check(self, *, joined: bool = False) -> None:
        """Look once.

        Args:
            joined: whether this worker is in its group already. Two groups may have come at the same time then, and see
                each other: the one whose name comes first stays.

        Raises:
            LogRefusedError: there are such workers; one line names the group and the remedy.
        """
        if self._groups is None:
            return
        try:
            reading = await self._groups.groups_reading(topics.CHAT_REQUESTS.name, besides=self._settings.group)
        except LogError as error:
            logger.warning("it is not known whether another consumer group works on the same topics: %s", error)
            return
        own = self._settings.group
        for group in reading:
            if group.id + MARK in group.topics and not (joined and own < group.id):
                raise LogRefusedError(_foreign(group.id, self._settings))


def _foreign(group: str, settings: Settings) -> str:
    topic = settings.topic_prefix + topics.CHAT_REQUESTS.name
    return (
        f"workers of the consumer group {group} process the requests of topic {topic}, and this worker's group is "
        f"{settings.group}: each would answer all of them. For more workers of that installation set the same "
        "KAFKA_CONSUMER_GROUP and KAFKA_TOPIC_PREFIX; for another installation another KAFKA_TOPIC_PREFIX"
    )


class Member(Protocol):
    """A worker in its group, as far as the watch needs it."""

    @property
    def settings(self) -> Settings:
        """The worker's settings."""

    @property
    def rebalancing(self) -> bool:
        """Whether the group is giving out its partitions."""

    @property
    def rebalancing_count(self) -> int:
        """The number of rebalances so far."""

    def own_partitions(self) -> set[int]:
        """Partitions of chat-requests that this worker owns now."""


class PartitionWatch:
    """Watches the partitions of one worker."""

    def __init__(self, app: Member, neighbours: Neighbours) -> None:
        self._app, self._neighbours = app, neighbours
        self._idle = False  # whether the last log line was that there are no partitions

    def joined(self) -> bool:
        """Whether the group has given out its partitions, to this worker or to others."""
        app = self._app
        return not app.rebalancing and app.rebalancing_count > 0

    def idle(self) -> bool:
        """Whether all partitions are with other workers."""
        return self.joined() and not self._app.own_partitions()

    async def watch(self) -> None:
        """Log when this worker has no partitions, and when it has some again, until cancelled.

        Raises:
            LogRefusedError: another group works on the same topics.
        """
        while not self.joined():  # noqa: ASYNC110 -- Faust has a flag, and no event
            await asyncio.sleep(LOOK_S)
        joined_at, looks = time.monotonic(), list(OTHERS_S)
        while True:
            if looks and time.monotonic() - joined_at >= looks[0]:
                del looks[0]
                await self._neighbours.check(joined=True)
            if self.joined() and self.idle() != self._idle:
                self._idle = not self._idle
                self._tell()
            await asyncio.sleep(LOOK_S)

    def _tell(self) -> None:
        count, name = self._app.settings.chat_partitions, topics.CHAT_REQUESTS.name
        if self._idle:
            logger.warning(
                "this worker has none of the %d partitions of %s, for other workers have them all: it serves clients, "
                "and generates no answers until one of those stops. CHAT_PARTITIONS bounds the workers that generate",
                count, name,
            )  # fmt: skip
        else:
            logger.info("this worker has %d of %d partitions again", len(self._app.own_partitions()), count)
