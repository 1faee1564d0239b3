"""The application object: Faust's App, plus the log outside the consumer group, and a stop that finishes what it began.

``Weir`` is built in ``app/__init__.py`` from the environment, which is what ``faust -A app worker`` finds. Agents,
tables and the web server are found by Faust's autodiscovery in the modules listed here.
"""

import asyncio
import gc
import logging
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import faust
from faust.app.base import SCAN_IGNORE
from faust.cli.base import DEFAULT_LOGLEVEL
from faust.exceptions import ImproperlyConfigured
from faust.types import EventT, StreamT
from faust.types.transports import ProducerT
from mode import Service, ServiceT

from app import startup
from app.engine import consumer_groups, faust_settings, log_client
from app.gauges import Readings
from app.membership import Membership, Neighbours
from weir import topics
from weir.chat.accept import Door
from weir.chat.audit import CANCEL, Audit, Caller
from weir.chat.dead_letters import bury_unreadable
from weir.chat.requests import ChatRequest
from weir.chat.thinking import Teller
from weir.chat.traces import Traces
from weir.envelope import Json
from weir.errors import UnavailableError
from weir.events.ingress import Ingress
from weir.events.publishing import Events
from weir.events.redaction import Redactor, without_credentials
from weir.feedback.prompts import Prompts
from weir.llm.calls import Timeouts
from weir.llm.prices import load_prices
from weir.llm.upstream import Upstream
from weir.log.kafka.batches import Unreadable
from weir.log.log import LogClient, LogError, LogUnavailableError, Partition, TopicSpec
from weir.log.tails import TailLimits, Tails
from weir.settings import Settings
from weir.telemetry import logs
from weir.telemetry.metrics import Metrics
from weir.telemetry.monitor import Watching
from weir.telemetry.observed import Observed
from weir.telemetry.tracing import tracing
from weir.timing import endless, retry
from weir.topics import Topic
from weir.version import read_version

# Modules, not packages: Faust swallows the import error of a broken submodule of a package.
MODULES = (
    "tables.terminals",
    "tables.requests",
    "tables.quality",
    "tables.feedback",
    "tables.prompts",
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

EXTRAS = (".otel",)  # modules of this package that import what only an extra installs
GARBAGE_OBJECTS = 50_000  # new objects between two searches for reference cycles
TABLES_S = 10.0  # for table changes to get into the log, where somebody waits for that
EVENTS_S = 5.0  # for the last events to get into the log
CONNECT_PAUSES_S = (0.5, 1.0, 2.0, 4.0)  # between two tries to reach the broker at start; then the last one again


class Outside(Service):
    """What a worker holds outside Faust: the log client, its tails, the LLM. Starts first, stops last."""

    def __init__(self, app: "Weir", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._app = app

    async def on_start(self) -> None:
        """Connect, create the topics, and look for other groups that read them."""
        app = self._app
        tracing.start(os.environ, worker=app.worker_name, upstream_url=app.settings.openai_url)
        if app.settings.on_kafka:
            transport: Any = app.transport  # Faust's type lacks what our driver has
            transport.unreadable = self._bury_unreadable
        deadline = time.monotonic() + app.settings.kafka_start_wait_s
        await self._until_up(app.log_client.start, deadline)
        await self._until_up(self._make_topics, deadline)
        self._tell_limits()
        await app.neighbours.check()
        await app.tails.start()
        self.add_future(self._watch_membership())
        self.add_future(app.metrics.sample_loop(asyncio.sleep))
        _collect_garbage_less()

    async def _bury_unreadable(self, batch: Unreadable) -> None:
        app = self._app
        at = Partition(app.own_name(batch.at.topic), batch.at.partition)
        await bury_unreadable(app.log_client, replace(batch, at=at), tenant=app.settings.default_tenant)

    async def _watch_membership(self) -> None:
        try:
            await self._app.membership.watch()
        except LogError as error:
            self._app.give_up(error)

    def _tell_limits(self) -> None:
        """Warn of topics that take less than a whole request, or one large chunk of an answer."""
        for topic in (topics.CHAT_REQUESTS.name, topics.CHAT_CHUNKS.name):
            if (limit := self._app.log_client.record_max_bytes(topic)) < self._app.settings.request_max_bytes:
                self.log.warning(
                    "%s takes records of %d bytes (max.message.bytes), less than REQUEST_MAX_BYTES=%d: what is larger "
                    "is refused", topic, limit, self._app.settings.request_max_bytes,
                )  # fmt: skip

    async def _make_topics(self) -> None:
        """Weir's, and on Kafka those that Faust needs, too: it would make them in a way that a lost broker ends."""
        app = self._app
        own = [
            TopicSpec(name=f"{app.own_name(app.settings.group)}-__assignor-__leader", partitions=1),
            *(TopicSpec(name=name, partitions=count, compacted=True) for name, count in app.changelogs()),
        ]
        kept = await startup.make_topics(app.log_client, app.settings, own if app.settings.on_kafka else ())
        startup.check_retention(kept, app.settings)
        startup.check_partitions(app.log_client, app.changelogs(), app.settings)
        if app.settings.on_kafka:
            transport: Any = app.transport  # Faust's type lacks what our driver has
            transport.declared = frozenset(app.settings.topic_prefix + spec.name for spec in own)

    async def _until_up(self, doing: Callable[[], Awaitable[None]], deadline: float) -> None:
        """Brokers and workers are often started together, and brokers restart: what is not there yet is waited for."""
        await retry(
            doing,
            LogUnavailableError,
            pauses_s=endless(CONNECT_PAUSES_S) if self._app.settings.on_kafka else (),
            limit_s=deadline - time.monotonic(),
            tell=lambda failure: self.log.warning("waiting for the log: %s", failure.error),
            sleep=self.sleep,
        )

    async def on_shutdown(self) -> None:
        """Let go of the log and the LLM."""
        await self._app.readings.close()
        await self._app.events.drain(EVENTS_S)
        await self._app.close()
        await self._app.upstream.close()
        await self._app.tails.stop()
        await self._app.log_client.stop()
        await tracing.stop()


class Worker(faust.Worker):
    """Faust's worker, at LOG_LEVEL unless ``--loglevel`` asks for something else than Faust's own default."""

    def __init__(self, app: "Weir", *services: ServiceT, loglevel: str | int | None = None, **kwargs: Any) -> None:
        self.weir = app
        if loglevel in {None, DEFAULT_LOGLEVEL}:
            loglevel = app.settings.log_level.upper()
        super().__init__(app, *services, loglevel=loglevel, **kwargs)

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        """Tell our own progress, and of the engine's only what an operator must act on."""
        super().on_setup_root_logger(logger, level)
        logs.set_up(logger, level)

    async def start(self) -> None:
        """Start; a worker that cannot start says why in one line, and ends."""
        try:
            _make_folder(Path(self.weir.conf.datadir), self.weir.settings.weir_data_dir)
            await super().start()
        except (ImproperlyConfigured, LogError) as error:
            raise SystemExit(f"weir: {error}") from None

    def stop_and_shutdown(self) -> None:
        """Stop; a worker that has given up says why in one line."""
        try:
            super().stop_and_shutdown()
        except LogError as error:
            raise SystemExit(f"weir: {error}") from None


class Weir(faust.App):
    """One worker."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.version = read_version(os.environ)
        self.worker_name = f"{settings.restapi_advertised_host}:{settings.restapi_port}"
        self.metrics = Metrics(
            models_max=settings.metrics_models_max,
            models=[settings.openai_model],
            changelogs=f"{settings.group.removeprefix(settings.topic_prefix)}-",
            prefix=settings.topic_prefix,
        )
        log = log_client(settings)
        self.log_client: LogClient = Observed(log, self.metrics)
        self.neighbours = Neighbours(consumer_groups(log), settings)
        self.membership = Membership(self, self.neighbours)
        self.tails = Tails(self.log_client, TailLimits(memory_bytes=settings.readers_memory_bytes))
        self.events = Events(self.log_client, max_bytes=settings.record_value_max_bytes)
        self.traces = Traces(self.events, worker=self.worker_name)
        self.audit = Audit(self.events)
        self.prices = load_prices(settings.prices_file)
        self.teller = Teller(
            endpoint=without_credentials(settings.openai_url),
            redactor=Redactor(settings.event_text_max_chars, settings.redacted),
        )
        self.door = Door(
            log=self.log_client,
            tails=self.tails,
            traces=self.traces,
            audit=self.audit,
            settings=settings,
            metrics=self.metrics,
            own_partitions=self._partitions_for_new,
            begin=self._begin_accepted,
            prompts=Prompts(self.events, settings),
        )
        self.upstream = Upstream(
            url=settings.openai_url,
            api_key=settings.openai_api_key.get_secret_value(),
            organization=settings.openai_org_id,
            project=settings.openai_project_id,
            timeouts=Timeouts(
                connect_s=settings.upstream_connect_timeout_s,
                first_token_s=settings.upstream_first_token_timeout_s,
                idle_s=settings.upstream_idle_timeout_s,
            ),
            retries=settings.upstream_retries,
            on_retry=self.metrics.retried,
            connections=settings.max_in_flight + 8,  # answers, and a few questions for the model list
        )
        self.draining = False
        self.unreadable_rows: Counter[str] = Counter()  # by table, since its start
        self.feedback_counts: Counter[str] = Counter()  # on this worker since its start, by app.feedback.Count
        # The chat agent's side, told when it is loaded.
        self.in_flight: Callable[[], int] = lambda: 0
        self.generated: Callable[[str, str, str], list[str]] = lambda *_: []
        self.lineage_skipped: Callable[[], int] = lambda: 0
        self.window_events: Callable[[], dict[str, int]] = dict
        self.begin: Callable[[ChatRequest, int, asyncio.Future[int]], None] = lambda *_: None
        # The web server's side, told when it is up.
        self.canceller: Callable[[str], Awaitable[tuple[str, Json]]] = _not_yet
        self.health: dict[str, Callable[[], str]] = {}  # what GET /ping says of what is connected, by its name
        self._drains: list[Callable[[float], Awaitable[None]]] = []
        self._closing: list[Callable[[], Awaitable[None]]] = []
        super().__init__(settings.group, **faust_settings(settings, worker=Worker, modules=MODULES))
        self.monitor = Watching(self.metrics)
        self.readings = Readings(self)

    # -- topics and ownership

    def own_name(self, topic: str) -> str:
        """A topic's name as Weir knows it, of its name on the brokers, which Faust knows it by."""
        return topic.removeprefix(self.settings.topic_prefix)

    def changelogs(self) -> Iterator[tuple[str, int]]:
        """Name and number of partitions of the changelog of each table."""
        for table in self.tables.values():
            topic = cast("faust.Table[bytes, bytes]", table).changelog_topic
            yield self.own_name(topic.get_topic_name()), int(topic.partitions or 0)

    def source(self, topic: Topic, *more: Topic) -> Any:
        """Faust topics that hand over raw bytes: a record that cannot be decoded must not stop the stream.

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

    def own_partitions(self, of: Topic = topics.CHAT_REQUESTS) -> set[int]:
        """Partitions of a topic that this worker owns now; none while the workers are sharing them out."""
        if self.rebalancing or not self.started:
            return set()
        name = self.settings.topic_prefix + of.name
        return {tp.partition for tp in self.consumer.assignment() if tp.topic == name}

    def _partitions_for_new(self) -> set[int]:
        """Where new requests should go: to partitions of this worker, or anywhere while it has its hands full."""
        return self.own_partitions() if self.in_flight() < self.settings.max_in_flight else set()

    def _begin_accepted(self, request: ChatRequest, partition: int, published: "asyncio.Future[int]") -> None:
        self.begin(request, partition, published)

    async def cancel(self, uid: str) -> Json:
        """Cancel a request for a client of RabbitMQ; how it ended.

        Raises:
            ApiError: it is not known, or its owner is away.
            LogError: it may or may not be cancelled.
        """
        tenant, ended = await self.canceller(uid)
        self.audit.record(CANCEL, Caller(ingress=Ingress.RABBITMQ), tenant=tenant, resource_id=uid)
        return ended

    async def tables_written(self) -> None:
        """Wait until all table changes so far are in the log.

        Raises:
            LogUnavailableError: they are not, within ``TABLES_S``.
        """
        producer: Any = self.producer  # Faust's type lacks what our buffers have
        if not await producer.buffer.written(TABLES_S):
            raise LogUnavailableError("table changes are not in the log yet")

    # -- start and stop

    def discover(
        self,
        *extra_modules: str,
        categories: Iterable[str] | None = None,
        ignore: Iterable[Any] = (*SCAN_IGNORE, *EXTRAS),
    ) -> None:
        """Find agents, tables and commands. Faust scans all of this package, and here not what an extra needs."""
        super().discover(*extra_modules, categories=categories, ignore=ignore)

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """What is outside Faust comes first, and so stops last."""
        services = list(super().on_init_dependencies())
        if self.client_only or self.producer_only:
            return services
        return [Outside(self, beacon=self.beacon, loop=self.loop), *services]

    async def maybe_start_producer(self) -> ProducerT:
        """Start the producer; a command that does not reach Kafka (``faust -A app send``) says why in one line."""
        if self.settings.on_kafka and not self.producer.started:
            try:
                await self.log_client.start()
            except LogError as error:
                raise SystemExit(f"weir: {error}") from None
            await self.log_client.stop()
        return cast("ProducerT", await super().maybe_start_producer())

    def give_up(self, reason: LogError) -> None:
        """Stop, and end with an error. Faust's ``crash`` does the same and logs a traceback, which says no more."""
        worker: Any = self.beacon.root
        worker.data._crash(reason)  # noqa: SLF001

    def on_drain(self, drain: Callable[[float], Awaitable[None]]) -> Callable[[float], Awaitable[None]]:
        """Register what has work in flight; it gets the seconds it has left to finish it."""
        self._drains.append(drain)
        return drain

    def on_stopped(self, close: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Register what is to be let go of when nothing is in flight any more."""
        self._closing.append(close)
        return close

    async def close(self) -> None:
        """Let go of what was registered. Never raises."""
        results = await asyncio.gather(*(close() for close in self._closing), return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                self.log.error("while closing: %r", result)

    async def stop(self) -> None:
        """Take nothing new, finish what is in flight within the drain time, then stop."""
        if not self.draining:
            self.draining = True
            self.log.info("draining: finishing what is in flight, at most %g s", self.settings.drain_s)
            if self.settings.on_kafka and self.started:
                # The others begin what comes now, and follow what is in flight here.
                await cast("Any", self.consumer).leave()
            results = await asyncio.gather(*(d(self.settings.drain_s) for d in self._drains), return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    self.log.error("while draining: %r", result)
        await super().stop()


async def _not_yet(_uid: str) -> tuple[str, Json]:
    raise UnavailableError("This worker is starting; ask again.", code="worker_starting")


def _collect_garbage_less() -> None:
    """Look for reference cycles less often, and not at all among what was loaded at the start.

    A frame of tokens is some thousand JSON objects for a moment, without cycles. By default every 700 of them start a
    search, and some of those go through the whole process: nearly a third of the time of a worker at full speed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)


def _make_folder(folder: Path, named: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"WEIR_DATA_DIR={named} cannot be made: {error.strerror}") from None


def unacknowledged(stream: StreamT[Any]) -> "AsyncIterator[EventT[Any]]":
    """The events of a stream, to be acknowledged by hand: Faust's own way acknowledges cancelled events as well."""
    return cast("AsyncIterator[EventT[Any]]", cast("faust.Stream[Any]", stream).noack().events())
