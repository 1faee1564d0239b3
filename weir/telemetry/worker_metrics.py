"""The metrics of one worker, and the methods by which they change. ``metrics.py`` defines each of them."""

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

    All methods must be called on the event loop.
    """

    def __init__(
        self, *, models_max: int = 50, models: Iterable[str] = (), changelogs: str = "", prefix: str = ""
    ) -> None:
        """Starts with all metrics at zero.

        Args:
            models_max: how many models have a label of their own.
            models: models that have a label in any case.
            changelogs: the beginning of the names of the worker's own changelog topics, behind the prefix.
            prefix: Faust's prefix of all names of topics, which the log client and the labels do without.
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
        for ingress in ("http", "rabbitmq"):  # a rate needs a first value
            self._accepted.labels(ingress)
        for mark in MARKS:
            self._attempts.labels(mark, LIVE)
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)

    def read(self, spec: Spec, values: Callable[[], Values]) -> None:
        """Register a metric whose values are kept elsewhere: ``values`` is called at each scrape, on the event loop."""
        Scraped(spec, values, self.registry)

    async def rendered(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics as text, with the content type; OpenMetrics if an Accept header asks for it."""
        return await rendered(self.registry, accept)

    # -- the log

    def topic(self, name: str) -> str:
        """The label of a topic."""
        return self._topics.of(name)

    def appends(self, topic: str) -> Latency:
        """The histogram for the append times of a topic. Keep the result: it is asked for once."""
        label = self._topics.of(topic)
        found = self._appended.get(label)
        if found is None:
            found = self._appended[label] = self._latencies.of(label)
        return found

    def produce_failed(self, topic: str) -> None:
        """Count a record that is not in the log, or not for certain."""
        self._produce_failures.labels(self._topics.of(topic)).inc()

    def consumed(self, topic: str, count: int = 1) -> None:
        """Count records that were read."""
        label = self._topics.of(topic)
        self._consumed[label] = self._consumed.get(label, 0) + count

    def _produced(self) -> Values:
        """The number of acknowledged records, which is the number of observed times."""
        counts: dict[tuple[str, ...], float] = {(topic.name,): 0 for topic in topics.TOPICS}
        return counts | {(topic,): sum(latency.counts) for topic, latency in self._appended.items()}

    # -- requests

    def accepted(self, ingress: str) -> None:
        """Count a request that a door put into the log."""
        self._accepted.labels(known(ingress, INGRESSES)).inc()

    def moved(self) -> None:
        """Count a request that was put into the partition of its uid."""
        self._moved.inc()

    def refused(self, ingress: str, *, error_code: str | None, error_type: str | None) -> None:
        """Count a request that a door did not put into the log."""
        self._refused.labels(known(ingress, INGRESSES), error_label(error_code)).inc()
        self.erred(error_type)

    def erred(self, error_type: str | None) -> None:
        """Count an error that a client got."""
        self._errors.labels(known(error_type, ERROR_TYPES)).inc()

    def attempted(self, mark: str, queue_s: float | None = None, *, replay: bool = False) -> None:
        """Count an attempt that begins (``begin``, ``takeover``, ``restart``), or hands its answer over (``handoff``).

        Args:
            mark: the kind of its mark.
            queue_s: from the door to now, for the first attempt at a request.
            replay: whether the request is one of a replay.
        """
        self._attempts.labels(known(mark, MARKS), traffic_label(replay=replay)).inc()
        if queue_s is not None:
            self._queue_time.labels(traffic_label(replay=replay)).observe(max(0.0, queue_s))

    def retried(self) -> None:
        """Count a repeated call of the LLM, before its first token."""
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
        """Count a request that ended and that this worker settles: once for each request.

        Args:
            model: the model of the request. It gets a label of its own with its first answer, as clients may name any.
            status: completed, failed, cancelled or expired.
            error_code: OpenAI's error code, if there is an error.
            error_type: the error's type.
            ttft_s: from the last LLM call to its first token; None if there was none.
            duration_s: from the door to the end.
            tokens_per_second: of the output; None if the tokens were not counted.
            tokens: the tokens as the LLM counted them.
            cost_usd: the cost; None if the model has no price.
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
        """Count an HTTP request that is over. ``route`` is its template, of which there are few."""
        method = known(method, METHODS)
        self._http_requests.labels(method, route, status).inc()
        self._http_duration.labels(method, route).observe(duration_s)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Count a stream while it is being sent."""
        with self._streams.track_inprogress():
            yield

    # -- the event loop

    async def sample_loop(self, sleep: Callable[[float], Awaitable[None]], *, every_s: float = 0.25) -> None:
        """Measure how late a task is woken, until cancelled."""
        while True:
            asked = time.perf_counter() + every_s
            await sleep(every_s)
            self._loop_delay.observe(max(0.0, time.perf_counter() - asked))
