"""The metrics of one worker, and the methods by which they change. ``metrics.py`` says what each of them is."""

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from weir import topics
from weir.llm.prices import Tokens
from weir.telemetry import metrics
from weir.telemetry.collectors import Latencies, Latency, Scraped, Spec, Values, rendered
from weir.telemetry.labels import (
    ERROR_TYPES,
    INGRESSES,
    LIVE,
    MARKS,
    METHODS,
    STATUSES,
    AtMost,
    TopicLabels,
    error_label,
    known,
    traffic_label,
)

NO_TOKENS: Final = Tokens()


class Metrics:
    """The metrics of one worker, in a registry of their own. Methods never raise; times are seconds.

    All of it belongs to the event loop.
    """

    def __init__(
        self, *, models_max: int = 50, models: Iterable[str] = (), changelogs: str = "", prefix: str = ""
    ) -> None:
        """Nothing has happened yet.

        Args:
            models_max: how many models have a label of their own.
            models: those that have one in any case.
            changelogs: what the names of the worker's own changelog topics begin with, behind the prefix.
            prefix: what Faust has in front of all names of topics, and the log client and the labels have not.
        """
        self.registry = registry = CollectorRegistry()
        self._models = AtMost(models_max, models)
        names = [topic.name for topic in topics.TOPICS]
        self._topics = TopicLabels(names, changelogs, prefix)
        self._consumed = dict.fromkeys(names, 0)
        self._appended: dict[str, Latency] = {}  # by topic
        self._latencies = Latencies(metrics.PRODUCE_LATENCY, registry)
        self.read(metrics.PRODUCED, self._produced)
        self.read(metrics.CONSUMED, lambda: {(topic,): count for topic, count in self._consumed.items()})
        self._produce_failures = metrics.PRODUCE_FAILURES.counter(registry)
        self._accepted = metrics.ACCEPTED.counter(registry)
        self._refused = metrics.REFUSED.counter(registry)
        self._moved = metrics.MOVED.counter(registry)
        self._ended = metrics.ENDED.counter(registry)
        self._errors = metrics.ERRORS.counter(registry)
        self._attempts = metrics.ATTEMPTS.counter(registry)
        self._queue_time = metrics.QUEUE_TIME.histogram(registry)
        self._retries = metrics.RETRIES.counter(registry)
        self._first_token = metrics.FIRST_TOKEN.histogram(registry)
        self._duration = metrics.DURATION.histogram(registry)
        self._speed = metrics.SPEED.histogram(registry)
        self._tokens = metrics.TOKENS.counter(registry)
        self._cost = metrics.COST.counter(registry)
        self._http_requests = metrics.HTTP_REQUESTS.counter(registry)
        self._http_duration = metrics.HTTP_DURATION.histogram(registry)
        self._streams = metrics.STREAMS.gauge(registry)
        self._loop_delay = metrics.LOOP_DELAY.histogram(registry)
        for ingress in ("http", "rabbitmq"):  # a rate needs a beginning
            self._accepted.labels(ingress)
        for mark in MARKS:
            self._attempts.labels(mark, LIVE)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def read(self, spec: Spec, values: Callable[[], Values]) -> None:
        """A metric whose values somebody else keeps: asked for when it is scraped, on the event loop."""
        Scraped(spec, values, self.registry)

    async def rendered(self, accept: str = "") -> tuple[bytes, str]:
        """All of them as text, and its content type; OpenMetrics if an Accept header asks for it."""
        return await rendered(self.registry, accept)

    # -- the log

    def topic(self, name: str) -> str:
        """The label of a topic."""
        return self._topics.of(name)

    def appends(self, topic: str) -> Latency:
        """Where the time of each acknowledged record of a topic is observed. To be kept: it is asked for once."""
        label = self._topics.of(topic)
        found = self._appended.get(label)
        if found is None:
            found = self._appended[label] = self._latencies.of(label)
        return found

    def produce_failed(self, topic: str) -> None:
        """A record is not in the log, or not for sure."""
        self._produce_failures.labels(self._topics.of(topic)).inc()

    def consumed(self, topic: str, count: int = 1) -> None:
        """So many records were read."""
        label = self._topics.of(topic)
        self._consumed[label] = self._consumed.get(label, 0) + count

    def _produced(self) -> Values:
        """What is acknowledged has a time: both are one number."""
        counts: dict[tuple[str, ...], float] = {(topic.name,): 0 for topic in topics.TOPICS}
        return counts | {(topic,): sum(latency.counts) for topic, latency in self._appended.items()}

    # -- requests

    def accepted(self, ingress: str) -> None:
        """A door put a request into the log."""
        self._accepted.labels(known(ingress, INGRESSES)).inc()

    def moved(self) -> None:
        """A request was put into the partition of its uid."""
        self._moved.inc()

    def refused(self, ingress: str, *, error_code: str | None, error_type: str | None) -> None:
        """A door did not."""
        self._refused.labels(known(ingress, INGRESSES), error_label(error_code)).inc()
        self.erred(error_type)

    def erred(self, error_type: str | None) -> None:
        """A client was told an error."""
        self._errors.labels(known(error_type, ERROR_TYPES)).inc()

    def attempted(self, mark: str, queue_s: float | None = None, *, replay: bool = False) -> None:
        """An attempt begins (``begin``, ``takeover``, ``restart``), or is closed without an end (``handoff``).

        Args:
            mark: the kind of its mark.
            queue_s: from the door to now, of the first attempt at a request.
            replay: whether the request is one of a replay.
        """
        self._attempts.labels(known(mark, MARKS), traffic_label(replay=replay)).inc()
        if queue_s is not None:
            self._queue_time.labels(traffic_label(replay=replay)).observe(max(0.0, queue_s))

    def retried(self) -> None:
        """A call of the LLM is repeated, before its first token."""
        self._retries.inc()

    def ended(
        self,
        *,
        model: str | None,
        status: str,
        error_code: str | None = None,
        error_type: str | None = None,
        ttft_s: float | None = None,
        duration_s: float | None = None,
        tokens_per_second: float | None = None,
        tokens: Tokens = NO_TOKENS,
        cost_usd: float | None = None,
        replay: bool = False,
    ) -> None:
        """A request ended, and this worker settles it: once for each request.

        Args:
            model: that was asked. It gets a label of its own with its first answer: a client may ask for anything.
            status: completed, failed, cancelled or expired.
            error_code: OpenAI's error code, of one that has an error.
            error_type: and its type.
            ttft_s: from the last LLM call to its first token; None where there was none.
            duration_s: from the door to the end.
            tokens_per_second: of the output; None where nobody counted.
            tokens: what the LLM counted.
            cost_usd: None where the model has no price.
            replay: whether the request is one of a replay.
        """
        traffic = traffic_label(replay=replay)
        label = self._models.label(model, admit=status == "completed")
        failed = error_code is not None or error_type is not None
        self._ended.labels(label, known(status, STATUSES), error_label(error_code) if failed else "", traffic).inc()
        if failed and not replay:
            self.erred(error_type)
        for histogram, value in (
            (self._first_token, ttft_s),
            (self._duration, duration_s),
            (self._speed, tokens_per_second),
        ):
            if value is not None:
                histogram.labels(label, traffic).observe(max(0.0, value))
        for kind in Tokens.__slots__:
            count = getattr(tokens, kind)
            if count is not None and count >= 0:
                self._tokens.labels(label, kind, traffic).inc(count)
        if cost_usd is not None and cost_usd >= 0:
            self._cost.labels(label, traffic).inc(cost_usd)

    # -- HTTP

    def answered(self, method: str, route: str, status: int, duration_s: float) -> None:
        """An HTTP request is over. ``route`` is its template, of which there are few."""
        method = known(method, METHODS)
        self._http_requests.labels(method, route, status).inc()
        self._http_duration.labels(method, route).observe(duration_s)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """While a stream is being sent."""
        with self._streams.track_inprogress():
            yield

    # -- the event loop

    async def sample_loop(self, sleep: Callable[[float], Awaitable[None]], *, every_s: float = 0.25) -> None:
        """Measure how late a task is woken, until cancelled."""
        while True:
            asked = time.perf_counter() + every_s
            await sleep(every_s)
            self._loop_delay.observe(max(0.0, time.perf_counter() - asked))
