"""The application object: Faust's App, its place in the consumer group, and a stop that finishes its work.

`app.build` makes it, and the parts that its agents and views call; ``faust -A app worker`` finds it in
``app/__init__.py``. Agents and the web server are found by Faust's autodiscovery in the modules listed here.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any, cast

import faust
from faust.types import EventT, StreamT
from faust.types.transports import ProducerT, TransportT
from mode import ServiceT

from app.engine import faust_settings
from app.faust_worker import FaustWorker
from app.outside import Held, Outside
from weir import topics
from weir.chat.dead_letters import write_unreadable
from weir.log.kafka.batches import UnreadableBatch
from weir.log.kafka.driver import Transport
from weir.log.log import LogClient, LogError, LogUnavailableError, Partition
from weir.log.membership import GroupMembership
from weir.settings import Settings
from weir.telemetry.monitor import FaustMonitor
from weir.topics import Topic
from weir.version import read_version

# Modules, not packages: Faust swallows the import error of a broken submodule of a package.
MODULES = (
    "agents.chat",
    "agents.states",
    "agents.deliveries",
    "agents.feedback",
    "agents.retries",
    "agents.insights",
    "web.server",
    "app.commands.compact",
    "app.commands.export",
    "app.commands.replay",
    "app.commands.replay_requests",
    "app.commands.replay_dead_letters",
    "app.commands.replay_feedback",
    "app.commands.replay_table",
    "app.commands.version",
)

TABLES_S = 10.0  # for table changes to get into the log, where a part waits for that


class Weir(faust.App):
    """The Faust application of one worker.

    Args:
        settings: the worker's settings.
        held: the parts that start before Faust's own, and stop after them.
    """

    def __init__(self, settings: Settings, held: Held) -> None:
        self.settings = settings
        self.version = read_version(os.environ)
        self.worker_name = f"{settings.restapi_advertised_host}:{settings.restapi_port}"
        self._held = held
        self._existing: frozenset[str] = frozenset()  # topics that Faust needs and that exist already
        self._drains: list[Callable[[float], Awaitable[None]]] = []
        self._closing: list[Callable[[], Awaitable[None]]] = []
        super().__init__(settings.group, **faust_settings(settings, worker=FaustWorker, modules=MODULES))
        self.monitor = FaustMonitor(held.metrics)
        self.membership = GroupMembership(self, settings.topic_prefix)

    @property
    def log_client(self) -> LogClient:
        """The log outside the consumer group, through which tables are read back in pages (`weir.log.recovery`)."""
        return self._held.log

    # -- topics and ownership

    def own_name(self, topic: str) -> str:
        """Return a topic's name without the prefix, from its name on the brokers, which Faust uses."""
        return topic.removeprefix(self.settings.topic_prefix)

    def changelogs(self) -> Iterator[tuple[str, int]]:
        """Iterate over the changelogs of the tables: name and number of partitions."""
        for table in self.tables.values():
            topic = cast("faust.Table[bytes, bytes]", table).changelog_topic
            yield self.own_name(topic.get_topic_name()), int(topic.partitions or 0)

    def topics_exist(self, names: Collection[str]) -> None:
        """Take the names of topics that Faust needs and must not create, as the brokers know them."""
        self._existing = frozenset(names)

    def source(self, topic: Topic, *more: Topic) -> Any:
        """Return a Faust topic that delivers raw bytes: a record that cannot be decoded must not stop the stream.

        Several are one stream; with the same number of partitions, one worker owns a partition in all of them.
        """
        return self.topic(
            *(self.settings.topic_prefix + one.name for one in (topic, *more)),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            partitions=topic.partitions_by(self.settings),
        )

    def own_partitions(self) -> set[int]:
        """Partitions of chat-requests that this worker owns now."""
        return self.membership.own_partitions(topics.CHAT_REQUESTS.name)

    async def tables_written(self) -> None:
        """Wait until all table changes so far are in the log.

        Raises:
            LogUnavailableError: they are not in the log within ``TABLES_S``.
        """
        producer: Any = self.producer  # Faust's type lacks the methods of Weir's buffers
        if not await producer.buffer.written(TABLES_S):
            raise LogUnavailableError("table changes are not in the log yet")

    # -- start and stop

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """Return the services outside Faust, which start first, and so stop last."""
        services = list(super().on_init_dependencies())
        if self.client_only or self.producer_only:
            return services
        return [Outside(self, self._held, beacon=self.beacon, loop=self.loop), *services]

    def _new_transport(self) -> TransportT:
        """Return Faust's transport; on Kafka one that reports unreadable records, and creates no topic that exists."""
        if not self.settings.on_kafka:
            return super()._new_transport()
        return Transport(
            self.conf.broker_consumer,
            self,
            unreadable=self._dead_letter_unreadable,
            is_made=lambda topic: topic in self._existing,
        )

    async def _dead_letter_unreadable(self, batch: UnreadableBatch) -> None:
        at = Partition(self.own_name(batch.at.topic), batch.at.partition)
        await write_unreadable(self._held.log, replace(batch, at=at), tenant=self.settings.default_tenant)

    async def maybe_start_producer(self) -> ProducerT:
        """Start the producer; a command that does not reach Kafka (``faust -A app send``) ends with one line."""
        if self.settings.on_kafka and not self.producer.started:
            try:
                await self._held.log.start()
            except LogError as error:
                raise SystemExit(f"weir: {error}") from None
            await self._held.log.stop()
        return cast("ProducerT", await super().maybe_start_producer())

    def give_up(self, reason: LogError) -> None:
        """Stop, and end with an error. Faust's ``crash`` does the same and logs a traceback, which says no more."""
        worker: Any = self.beacon.root
        worker.data._crash(reason)  # noqa: SLF001

    def on_drain(self, drain: Callable[[float], Awaitable[None]]) -> Callable[[float], Awaitable[None]]:
        """Register a part with work in flight; on a stop, it gets the seconds that it has left to finish it."""
        self._drains.append(drain)
        return drain

    def on_stopped(self, close: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Register a part to be closed when nothing is in flight any more."""
        self._closing.append(close)
        return close

    async def close(self) -> None:
        """Close what was registered. Never raises."""
        results = await asyncio.gather(*(close() for close in self._closing), return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                self.log.error("while closing: %r", result)

    async def stop(self) -> None:
        """Take no new work, finish what is in flight within the drain time, then stop."""
        if not self.membership.draining:
            self.membership.draining = True
            self.log.info("draining: finishing what is in flight, at most %g s", self.settings.drain_s)
            if self.settings.on_kafka and self.started:
                # The other workers take the new requests, and follow what is in flight here.
                await cast("Any", self.consumer).leave()
            results = await asyncio.gather(*(d(self.settings.drain_s) for d in self._drains), return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    self.log.error("while draining: %r", result)
        await super().stop()


def unacknowledged(stream: StreamT[Any]) -> "AsyncIterator[EventT[Any]]":
    """Return a stream's events, to be acknowledged by hand: Faust's own loop acknowledges cancelled events as well."""
    return cast("AsyncIterator[EventT[Any]]", cast("faust.Stream[Any]", stream).noack().events())
