"""The application object: Faust's App, plus the log outside the consumer group, and a stop that finishes what it began.

``Weir`` is built in ``app/__init__.py`` from the environment, which is what ``faust -A app worker`` finds. Agents,
tables and the web server are found by Faust's autodiscovery in the modules listed here.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, cast

import faust
from faust.cli.base import DEFAULT_LOGLEVEL
from faust.exceptions import ImproperlyConfigured
from faust.types import EventT, StreamT
from mode import Service, ServiceT

from app import topics
from app.accept import Door
from app.settings import Settings, SettingsError
from app.traces import Traces
from llm.upstream import Timeouts, Upstream
from transports.embedded.client import EmbeddedLog
from transports.kafka.client import KafkaLog
from transports.kafka.driver import broker_url
from transports.kafka.security import KafkaSecurity
from transports.log import LogClient, LogError, LogUnavailableError, TopicSpec
from transports.tails import Tails

# Modules, not packages: Faust swallows the import error of a broken submodule of a package.
MODULES = ("tables.terminals", "tables.requests", "agents.chat", "agents.states", "web.server")

# Whose progress is told at LOG_LEVEL info. The engine below tells every step of a rebalance at that level, so of it
# only warnings are shown, unless LOG_LEVEL is debug.
OWN_LOGGERS = ("app", "agents", "web")

CONNECT_PAUSE_S = 1.0  # between two tries to reach the broker at start
WEEK = 7 * 86_400.0


class Outside(Service):
    """What a worker holds outside Faust: the log client, its tails, the LLM. Starts first, stops last."""

    def __init__(self, app: "Weir", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._app = app

    async def on_start(self) -> None:
        """Connect and create the topics."""
        app = self._app
        await self._connect()
        await app.log_client.create_topics(topics.TOPICS, replication=app.settings.kafka_replication_factor)
        await app.tails.start()

    async def _connect(self) -> None:
        """Brokers and workers are often started together, so a broker that is not there yet is waited for."""
        deadline = time.monotonic() + self._app.settings.kafka_start_wait_s
        while True:
            try:
                return await self._app.log_client.start()
            except LogUnavailableError as error:
                if time.monotonic() > deadline or not self._app.settings.on_kafka:
                    raise
                self.log.warning("waiting for the log: %s", error)
                await self.sleep(CONNECT_PAUSE_S)

    async def on_shutdown(self) -> None:
        """Let go of the log and the LLM."""
        await self._app.upstream.close()
        await self._app.tails.stop()
        await self._app.log_client.stop()


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
        if level == logging.INFO:
            logger.setLevel(logging.WARNING)
            for own in OWN_LOGGERS:
                logging.getLogger(own).setLevel(level)

    async def start(self) -> None:
        """Start; a worker that cannot start says why in one line, and ends."""
        try:
            _make_folder(Path(self.weir.conf.datadir), self.weir.settings.weir_data_dir)
            await super().start()
        except (ImproperlyConfigured, LogError) as error:
            raise SystemExit(f"weir: {error}") from None


class Weir(faust.App):
    """One worker."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.worker_name = f"{settings.restapi_advertised_host}:{settings.restapi_port}"
        self.log_client: LogClient = _log_client(settings)
        self.tails = Tails(self.log_client)
        self.traces = Traces(self.log_client, worker=self.worker_name)
        self.door = Door(
            log=self.log_client,
            tails=self.tails,
            traces=self.traces,
            settings=settings,
            own_partitions=self.own_partitions,
        )
        self.upstream = Upstream(
            url=settings.openai_url,
            api_key=settings.openai_api_key.get_secret_value(),
            timeouts=Timeouts(
                connect_s=settings.upstream_connect_timeout_s,
                first_token_s=settings.upstream_first_token_timeout_s,
                idle_s=settings.upstream_idle_timeout_s,
            ),
            retries=settings.upstream_retries,
            connections=settings.max_in_flight + 8,  # answers, and a few questions for the model list
        )
        self.draining = False
        self.in_flight: Callable[[], int] = lambda: 0  # told by the chat agent
        self._drains: list[Callable[[float], Awaitable[None]]] = []
        super().__init__(settings.kafka_consumer_group, **_faust_settings(settings))

    # -- topics and ownership

    def source(self, spec: TopicSpec) -> Any:
        """A Faust topic that hands over raw bytes: a record that cannot be decoded must not stop the stream."""
        return self.topic(
            spec.name,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            partitions=spec.partitions,
        )

    def own_partitions(self) -> set[int]:
        """Partitions of chat-requests that this worker owns now."""
        if self.rebalancing or not self.started:
            return set()
        return {tp.partition for tp in self.consumer.assignment() if tp.topic == topics.CHAT_REQUESTS.name}

    # -- start and stop

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """What is outside Faust comes first, and so stops last."""
        services = list(super().on_init_dependencies())
        if self.client_only or self.producer_only:
            return services
        return [Outside(self, beacon=self.beacon, loop=self.loop), *services]

    def on_drain(self, drain: Callable[[float], Awaitable[None]]) -> Callable[[float], Awaitable[None]]:
        """Register what has work in flight; it gets the seconds it has left to finish it."""
        self._drains.append(drain)
        return drain

    async def stop(self) -> None:
        """Take nothing new, finish what is in flight within the drain time, then stop."""
        if not self.draining:
            self.draining = True
            self.log.info("draining: finishing what is in flight, at most %g s", self.settings.drain_s)
            results = await asyncio.gather(*(d(self.settings.drain_s) for d in self._drains), return_exceptions=True)
            for result in results:
                if isinstance(result, Exception):
                    self.log.error("while draining: %r", result)
        await super().stop()


def _make_folder(folder: Path, named: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"WEIR_DATA_DIR={named} cannot be made: {error.strerror}") from None


def _log_client(settings: Settings) -> LogClient:
    if settings.kafka_bootstrap_servers is None:
        return EmbeddedLog(settings.embedded_path, synchronous=settings.sqlite_synchronous)
    return KafkaLog(
        settings.kafka_bootstrap_servers,
        security=_security(settings),
        client_id=settings.kafka_consumer_group,
        max_request_size=settings.kafka_max_message_bytes,
    )


def _security(settings: Settings) -> KafkaSecurity:
    password = settings.kafka_sasl_password
    try:
        return KafkaSecurity(
            security_protocol=settings.kafka_security_protocol,
            sasl_mechanism=settings.kafka_sasl_mechanism or "PLAIN",
            sasl_username=settings.kafka_sasl_username,
            sasl_password=password.get_secret_value() if password else None,
            tls_cafile=str(settings.kafka_ssl_cafile) if settings.kafka_ssl_cafile else None,
            tls_certfile=str(settings.kafka_ssl_certfile) if settings.kafka_ssl_certfile else None,
            tls_keyfile=str(settings.kafka_ssl_keyfile) if settings.kafka_ssl_keyfile else None,
        )
    except (ValueError, OSError) as error:
        raise SettingsError(f"KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol}: {error}") from None


def _broker(settings: Settings) -> dict[str, Any]:
    if settings.kafka_bootstrap_servers is None:
        return {
            "broker": f"sqlite://{settings.embedded_path}?sync={settings.sqlite_synchronous.lower()}",
            "topic_replication_factor": 1,
            "table_standby_replicas": 0,  # one worker: there is nobody to stand by
        }
    return {
        "broker": broker_url(settings.kafka_bootstrap_servers),
        "broker_credentials": _security(settings).broker_credentials(),
        "topic_replication_factor": settings.kafka_replication_factor,
        "table_standby_replicas": 1,  # the next owner of a partition already has its table
    }


def _faust_settings(settings: Settings) -> dict[str, Any]:
    """Faust's own settings. Where they differ from its defaults, the lab of its repairs showed why."""
    return {
        **_broker(settings),
        "autodiscover": list(MODULES),
        "datadir": str(settings.weir_data_dir / settings.kafka_consumer_group / str(settings.restapi_port)),
        "store": "rocksdb://" if settings.table_store == "rocksdb" else "memory://",
        "key_serializer": "raw",
        "value_serializer": "raw",
        "topic_partitions": topics.CHAT_PARTITIONS,
        "Worker": Worker,
        "TableManager": "transports.recovery:TableManager",
        # Waiting for streams at each rebalance stalls the whole group for the longest answer.
        "stream_wait_empty": False,
        "stream_buffer_maxsize": 128,
        # A worker whose partitions are all back-pressured for longer than this leaves the group for good (faust 138).
        "broker_max_poll_interval": WEEK,
        "broker_commit_interval": 1.0,
        "broker_session_timeout": settings.kafka_session_timeout_s,
        "broker_heartbeat_interval": settings.kafka_session_timeout_s / 4,
        "broker_request_timeout": max(20.0, settings.kafka_session_timeout_s + 5.0),
        "consumer_auto_offset_reset": "earliest",
        "consumer_max_fetch_size": settings.kafka_max_message_bytes,
        "producer_max_request_size": settings.kafka_max_message_bytes,
        "producer_linger": 0.0,
        # One name for all starts: a fresh one each time leaves a topic behind each time.
        "reply_to": f"{settings.kafka_consumer_group}-reply",
        "reply_create_topic": False,
        "web_host": settings.restapi_advertised_host,
        "web_port": settings.restapi_port,
        "canonical_url": f"http://{settings.restapi_advertised_host}:{settings.restapi_port}",
        "worker_redirect_stdouts": False,
    }


def unacknowledged(stream: StreamT[Any]) -> "AsyncIterator[EventT[Any]]":
    """The events of a stream, to be acknowledged by hand: Faust's own way acknowledges cancelled events as well."""
    return cast("AsyncIterator[EventT[Any]]", cast("faust.Stream[Any]", stream).noack().events())
