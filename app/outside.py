"""The parts of a worker outside Faust: the log client, its tails, the LLM. They start first and stop last."""

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from mode import Service

from app import startup
from app.membership import Member, Neighbours, PartitionWatch
from weir import topics
from weir.events.publishing import Events
from weir.llm.upstream import Upstream
from weir.log.log import LogClient, LogError, LogUnavailableError, TopicSpec
from weir.log.tails import Tails
from weir.telemetry.tracing import tracing
from weir.telemetry.worker_metrics import Metrics
from weir.timing import endless, retry

GARBAGE_OBJECTS: Final = 50_000  # new objects between two searches for reference cycles
EVENTS_S: Final = 5.0  # for the last events to get into the log
CONNECT_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0)  # between two tries to reach the broker at start; the last one repeats


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The parts of a worker that need no Faust, and connect to something outside."""

    log: LogClient
    tails: Tails
    events: Events
    metrics: Metrics
    upstream: Upstream
    neighbours: Neighbours


class Application(Member, Protocol):
    """The application, as far as the parts outside Faust need it."""

    @property
    def worker_name(self) -> str:
        """``host:port``, as other workers reach this one."""

    def own_name(self, topic: str) -> str:
        """Return a topic's name without the prefix, from its name on the brokers."""

    def changelogs(self) -> Iterator[tuple[str, int]]:
        """Iterate over the changelogs of the tables: name and number of partitions."""

    def topics_exist(self, names: Collection[str]) -> None:
        """Take the names of topics that Faust needs and must not create, as the brokers know them."""

    def give_up(self, reason: LogError) -> None:
        """Stop, and end with an error."""

    async def close(self) -> None:
        """Close what was registered. Never raises."""


class Outside(Service):
    """Starts and stops the parts in `Held`."""

    def __init__(self, app: Application, held: Held, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._app, self._held, self._settings = app, held, app.settings

    async def on_start(self) -> None:
        """Connect, create the topics, and look for other groups that read them."""
        app, held = self._app, self._held
        tracing.start(os.environ, worker=app.worker_name, upstream_url=self._settings.openai_url)
        deadline = time.monotonic() + self._settings.kafka_start_wait_s
        await self._until_up(held.log.start, deadline)
        await self._until_up(self._make_topics, deadline)
        self._tell_limits()
        await held.neighbours.check()
        await held.tails.start()
        self.add_future(self._watch_partitions())
        self.add_future(held.metrics.sample_loop(asyncio.sleep))
        _collect_garbage_less()

    async def _watch_partitions(self) -> None:
        try:
            await PartitionWatch(self._app, self._held.neighbours).watch()
        except LogError as error:
            self._app.give_up(error)

    def _tell_limits(self) -> None:
        """Warn of topics with a record limit below a whole request, or below one large chunk of an answer."""
        for topic in (topics.CHAT_REQUESTS.name, topics.CHAT_CHUNKS.name):
            if (limit := self._held.log.record_max_bytes(topic)) < self._settings.request_max_bytes:
                self.log.warning(
                    "%s takes records of %d bytes (max.message.bytes), less than REQUEST_MAX_BYTES=%d: larger ones "
                    "are refused", topic, limit, self._settings.request_max_bytes,
                )  # fmt: skip

    async def _make_topics(self) -> None:
        """Create Weir's topics, and on Kafka Faust's as well: Faust's own way does not survive the loss of a broker."""
        app, log = self._app, self._held.log
        changelogs = list(app.changelogs())
        own = [
            TopicSpec(name=f"{app.own_name(self._settings.group)}-__assignor-__leader", partitions=1),
            *(TopicSpec(name=name, partitions=count, compacted=True) for name, count in changelogs),
        ]
        kept = await startup.make_topics(log, self._settings, own if self._settings.on_kafka else ())
        startup.check_retention(kept, self._settings)
        startup.check_partitions(log, changelogs, self._settings)
        app.topics_exist([self._settings.topic_prefix + spec.name for spec in own])

    async def _until_up(self, doing: Callable[[], Awaitable[None]], deadline: float) -> None:
        """Wait for a broker that is away: brokers and workers are often started together, and brokers restart."""
        await retry(
            doing,
            LogUnavailableError,
            pauses_s=endless(CONNECT_PAUSES_S) if self._settings.on_kafka else (),
            limit_s=deadline - time.monotonic(),
            tell=lambda failure: self.log.warning("waiting for the log: %s", failure.error),
            sleep=self.sleep,
        )

    async def on_shutdown(self) -> None:
        """Close the log and the LLM client."""
        held = self._held
        await held.events.drain(EVENTS_S)
        await self._app.close()
        await held.upstream.close()
        await held.tails.stop()
        await held.log.stop()
        await tracing.stop()


def _collect_garbage_less() -> None:
    """Look for reference cycles less often, and not at all among what was loaded at the start.

    A frame of tokens is some thousand JSON objects for a moment, without cycles. By default every 700 of them start a
    search, and some of those go through the whole process: nearly a third of the time of a worker at full speed.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)
