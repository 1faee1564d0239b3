"""Every metric, in one place: its name, kind, unit, labels and buckets; and the methods by which it changes.

The page docs/metrics.md is made from this file. Every label has few values: topics, routes, statuses and codes that
this code base knows (others are ``other``), and models, of which METRICS_MODELS_MAX have a label of their own. There is
no tenant, uid or user in any label: that is what agent-metrics-events are for.

The first four names are those of the event backbone that Weir replaces. The others go by OpenTelemetry's semantic
conventions for generative AI and by vLLM's metrics, where those have a word for it.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

from weir import topics
from weir.llm.prices import Tokens
from weir.telemetry.collectors import OTHER, AtMost, Latencies, Latency, Scraped, Spec, Values, rendered
from weir.version import Version

# -- buckets: upper bounds, in seconds unless said otherwise

# From a commit of the embedded log to KAFKA_DELIVERY_TIMEOUT_S, after which an append is in doubt.
APPEND_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# A request waits for nothing on an idle worker, and for the answers before it on a full one.
QUEUE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
# OpenTelemetry's for the time to the first token, and on to UPSTREAM_FIRST_TOKEN_TIMEOUT_S: models are loaded.
FIRST_TOKEN_S = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0)
# OpenTelemetry's for an LLM call, each twice the one before, and on: an answer may outlive the worker that began it.
ANSWER_S = (0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36)
# The first is as slow as a person reads; a single stream of today's fastest hardware is in the last.
TOKENS_PER_SECOND = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0)
# The platform's own for HTTP, and on: a stream is one request, for as long as it lasts.
HTTP_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
# Below 1 ms it is noise; a loop that is held for 0.1 s is felt in every stream.
LOOP_DELAY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# -- the event backbone

PRODUCED = Spec(
    name="ai_kafka_messages_produced_total",
    kind="counter",
    unit="records",
    labels=("topic",),
    help="Records that this worker appended and the log has acknowledged.",
)
CONSUMED = Spec(
    name="ai_kafka_messages_consumed_total",
    kind="counter",
    unit="records",
    labels=("topic",),
    help="Records that this worker read: from its partitions, by tails, and changes of tables during recovery.",
)
LAG = Spec(
    name="ai_kafka_consumer_lag",
    kind="gauge",
    unit="records",
    labels=("topic", "partition"),
    help="End of a partition that this worker owns, less the offset that its group has committed.",
)
PRODUCE_LATENCY = Spec(
    name="ai_kafka_produce_latency_seconds",
    kind="histogram",
    unit="seconds",
    labels=("topic",),
    buckets=APPEND_S,
    help="From the append of a record to its acknowledgement.",
)
PRODUCE_FAILURES = Spec(
    name="weir_produce_failures_total",
    kind="counter",
    unit="records",
    labels=("topic",),
    help="Records that the log refused, or that may or may not be in it.",
)
LAG_KNOWN_AT = Spec(
    name="weir_consumer_lag_timestamp_seconds",
    kind="gauge",
    unit="seconds",
    help="When the broker last answered about ai_kafka_consumer_lag, since the epoch; 0 means never.",
)
EVENTS_DROPPED = Spec(
    name="weir_events_dropped_total",
    kind="counter",
    unit="events",
    labels=("topic",),
    help="Events that are not in the log: the log was away for too long, or they could not be written.",
)
FEEDBACK = Spec(
    name="weir_feedback_total",
    kind="counter",
    unit="pieces",
    labels=("what",),
    help="Feedback by outcome: received, joined, duplicate, expired, foreign, dead, moved; or observed by Weir: "
    "abandoned, retried.",
)
WINDOW_EVENTS = Spec(
    name="weir_window_events_total",
    kind="counter",
    unit="events",
    labels=("what",),
    help="Events of the insights' windows by outcome: folded, redelivered, repeated, late, ahead, malformed.",
)
LINEAGE_SKIPPED = Spec(
    name="weir_lineage_skipped_total",
    kind="counter",
    unit="answers",
    help="Answers whose SQL was not parsed: it took too long, or too many answers waited.",
)

# -- requests

ACCEPTED = Spec(
    name="weir_requests_accepted_total",
    kind="counter",
    unit="requests",
    labels=("ingress",),
    help="Requests that a door of this worker put into the log.",
)
REFUSED = Spec(
    name="weir_requests_refused_total",
    kind="counter",
    unit="requests",
    labels=("ingress", "error_code"),
    help="Requests that a door did not put into the log, or not for certain.",
)
MOVED = Spec(
    name="weir_requests_moved_total",
    kind="counter",
    unit="requests",
    help="Requests that a Kafka client put into another partition than their uid's, and that Weir moved to the right "
    "one.",
)
ENDED = Spec(
    name="weir_requests_ended_total",
    kind="counter",
    unit="requests",
    labels=("model", "status", "error_code", "traffic"),
    help="Requests that this worker settled, by how they ended; error_code is empty if there was no error.",
)
ERRORS = Spec(
    name="weir_errors_total",
    kind="counter",
    unit="errors",
    labels=("type",),
    help="Errors that clients got, at a door or as the end of an answer, by OpenAI's type.",
)
IN_FLIGHT = Spec(
    name="weir_requests_in_flight",
    kind="gauge",
    unit="requests",
    help="Requests that this worker is answering, or follows while another worker answers.",
)
ATTEMPTS = Spec(
    name="weir_attempts_total",
    kind="counter",
    unit="attempts",
    labels=("mark", "traffic"),
    help="Attempts at an answer by their mark: begin, takeover, restart; and handoff, for those closed without an end.",
)
QUEUE_TIME = Spec(
    name="weir_request_queue_time_seconds",
    kind="histogram",
    unit="seconds",
    labels=("traffic",),
    buckets=QUEUE_S,
    help="From the door to the first attempt.",
)
RETRIES = Spec(
    name="weir_upstream_retries_total",
    kind="counter",
    unit="calls",
    help="Calls of the LLM that were retried before their first token.",
)
FIRST_TOKEN = Spec(
    name="weir_time_to_first_token_seconds",
    kind="histogram",
    unit="seconds",
    labels=("model", "traffic"),
    buckets=FIRST_TOKEN_S,
    help="From the call of the LLM to its first token.",
)
DURATION = Spec(
    name="weir_request_duration_seconds",
    kind="histogram",
    unit="seconds",
    labels=("model", "traffic"),
    buckets=ANSWER_S,
    help="From the door to the end of the answer.",
)
SPEED = Spec(
    name="weir_output_tokens_per_second",
    kind="histogram",
    unit="tokens per second",
    labels=("model", "traffic"),
    buckets=TOKENS_PER_SECOND,
    help="Output tokens of an answer, divided by the time from its first token to its end.",
)
TOKENS = Spec(
    name="weir_tokens_total",
    kind="counter",
    unit="tokens",
    labels=("model", "kind", "traffic"),
    help="Tokens as the LLM counts them: input, of which cached; output, of which reasoning.",
)
COST = Spec(
    name="weir_cost_usd_total",
    kind="counter",
    unit="US dollars",
    labels=("model", "traffic"),
    help="Cost by the price table; models without a price add nothing here.",
)

# -- HTTP

HTTP_REQUESTS = Spec(
    name="weir_http_requests_total",
    kind="counter",
    unit="requests",
    labels=("method", "route", "status"),
    help="HTTP requests by route template; status 499 is a client that left.",
)
HTTP_DURATION = Spec(
    name="weir_http_request_duration_seconds",
    kind="histogram",
    unit="seconds",
    labels=("method", "route"),
    buckets=HTTP_S,
    help="From the request's headers to the end of the response; for a stream, as long as it lasts.",
)
STREAMS = Spec(
    name="weir_streams_open", kind="gauge", unit="streams", help="Server-sent event streams that are being sent."
)
READERS = Spec(
    name="weir_log_readers", kind="gauge", unit="readers", help="Readers of answers in the log, of all doors."
)

# -- the worker

BUILD = Spec(
    name="weir_build_info",
    kind="gauge",
    unit="always 1",
    labels=tuple(field.name for field in fields(Version)),
    help="Version and commit of this worker, as GET /version returns them.",
)
ASSIGNED = Spec(
    name="weir_assigned_partitions",
    kind="gauge",
    unit="partitions",
    labels=("topic",),
    help="Partitions that this worker owns.",
)
REBALANCES = Spec(
    name="weir_rebalances_total",
    kind="counter",
    unit="rebalances",
    help="Rebalances of the group while this worker was in it.",
)
RECOVERING = Spec(
    name="weir_table_recovering",
    kind="gauge",
    unit="0 or 1",
    help="Whether this worker recovers its tables from their changelogs.",
)
RECOVERY_REMAINING = Spec(
    name="weir_table_recovery_remaining",
    kind="gauge",
    unit="records",
    help="Changes of tables that recovery has still to read.",
)
TABLE_ROWS = Spec(
    name="weir_table_rows",
    kind="gauge",
    unit="rows",
    labels=("table",),
    help="Rows in memory, of owned partitions and of those that this worker is a standby for; none with rocksdb.",
)
ROWS_UNREADABLE = Spec(
    name="weir_table_rows_unreadable_total",
    kind="counter",
    unit="rows",
    labels=("table",),
    help="Malformed records of a table's changelog: views and decisions skip them.",
)
LOOP_DELAY = Spec(
    name="weir_event_loop_delay_seconds",
    kind="histogram",
    unit="seconds",
    buckets=LOOP_DELAY_S,
    help="How much later than asked for the event loop wakes a task.",
)

ALL: Final = tuple(spec for spec in list(globals().values()) if isinstance(spec, Spec))

# -- values of labels

INGRESSES = frozenset({"http", "rabbitmq", "kafka"})
LIVE, REPLAY = "live", "replay"  # traffic: of clients, or of requests that are asked again (docs/replay.md)
MARKS = frozenset({"begin", "takeover", "restart", "handoff"})
STATUSES = frozenset({"completed", "failed", "cancelled", "expired"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ERROR_TYPES = frozenset({
    "invalid_request_error", "authentication_error", "permission_error", "not_found_error", "rate_limit_error",
    "insufficient_quota", "server_error", "service_unavailable_error", "timeout_error", "upstream_error",
})  # fmt: skip
ERROR_CODES = frozenset({
    # ours
    "answer_timeout", "deadline_exceeded", "gone", "idempotency_key_reused", "internal_error",
    "invalid_json", "invalid_tenant", "log_refused", "log_truncated", "log_unavailable", "missing_required",
    "request_too_large", "stream_gap", "stream_interrupted", "stream_restarted", "too_many_attempts", "uid_conflict",
    "unsupported_media_type", "upstream_disconnected", "upstream_invalid_response", "upstream_timeout",
    "readers_memory", "upstream_unreachable", "void_marks", "worker_full", "worker_starting", "worker_stopping",
    # of the HTTP layer
    "bad_request", "headers_too_large", "invalid_body", "request_timeout", "too_many_connections",
    "unsupported_content_encoding",
    # OpenAI's, as LLMs send them
    "billing_hard_limit_reached", "content_filter", "content_policy_violation", "context_length_exceeded",
    "insufficient_quota", "invalid_api_key", "invalid_type", "invalid_value", "missing_required_parameter",
    "model_not_found", "rate_limit_exceeded", "server_error", "unsupported_parameter", "unsupported_value",
})  # fmt: skip


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
        self._changelogs = changelogs
        self._prefix = prefix
        names = [topic.name for topic in topics.TOPICS]
        self._topics = {name: name for name in names} | {prefix + name: name for name in names}
        self._consumed = dict.fromkeys(names, 0)
        self._appended: dict[str, Latency] = {}  # by topic
        self._latencies = Latencies(PRODUCE_LATENCY, registry)
        self.read(PRODUCED, self._produced)
        self.read(CONSUMED, lambda: {(topic,): count for topic, count in self._consumed.items()})
        self._produce_failures = PRODUCE_FAILURES.counter(registry)
        self._accepted = ACCEPTED.counter(registry)
        self._refused = REFUSED.counter(registry)
        self._moved = MOVED.counter(registry)
        self._ended = ENDED.counter(registry)
        self._errors = ERRORS.counter(registry)
        self._attempts = ATTEMPTS.counter(registry)
        self._queue_time = QUEUE_TIME.histogram(registry)
        self._retries = RETRIES.counter(registry)
        self._first_token = FIRST_TOKEN.histogram(registry)
        self._duration = DURATION.histogram(registry)
        self._speed = SPEED.histogram(registry)
        self._tokens = TOKENS.counter(registry)
        self._cost = COST.counter(registry)
        self._http_requests = HTTP_REQUESTS.counter(registry)
        self._http_duration = HTTP_DURATION.histogram(registry)
        self._streams = STREAMS.gauge(registry)
        self._loop_delay = LOOP_DELAY.histogram(registry)
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
        label = self._topics.get(name)
        if label is None:
            faust_has = bool(self._prefix) and name.startswith(self._prefix + self._changelogs)
            bare = name.removeprefix(self._prefix) if faust_has else name
            own = self._changelogs and bare.startswith(self._changelogs) and bare.endswith("-changelog")
            label = bare if own else OTHER
            if own:  # as many as there are tables; of the others nothing is remembered
                self._topics[name] = label
        return label

    def appends(self, topic: str) -> Latency:
        """Where the time of each acknowledged record of a topic is observed. To be kept: it is asked for once."""
        label = self.topic(topic)
        found = self._appended.get(label)
        if found is None:
            found = self._appended[label] = self._latencies.of(label)
        return found

    def produce_failed(self, topic: str) -> None:
        """A record is not in the log, or not for sure."""
        self._produce_failures.labels(self.topic(topic)).inc()

    def consumed(self, topic: str, count: int = 1) -> None:
        """So many records were read."""
        label = self.topic(topic)
        self._consumed[label] = self._consumed.get(label, 0) + count

    def _produced(self) -> Values:
        """What is acknowledged has a time: both are one number."""
        counts: dict[tuple[str, ...], float] = {(topic.name,): 0 for topic in topics.TOPICS}
        return counts | {(topic,): sum(latency.counts) for topic, latency in self._appended.items()}

    # -- requests

    def accepted(self, ingress: str) -> None:
        """A door put a request into the log."""
        self._accepted.labels(_known(ingress, INGRESSES)).inc()

    def moved(self) -> None:
        """A request was put into the partition of its uid."""
        self._moved.inc()

    def refused(self, ingress: str, *, error_code: str | None, error_type: str | None) -> None:
        """A door did not."""
        self._refused.labels(_known(ingress, INGRESSES), _code(error_code)).inc()
        self.erred(error_type)

    def erred(self, error_type: str | None) -> None:
        """A client was told an error."""
        self._errors.labels(_known(error_type, ERROR_TYPES)).inc()

    def attempted(self, mark: str, queue_s: float | None = None, *, replay: bool = False) -> None:
        """An attempt begins (``begin``, ``takeover``, ``restart``), or is closed without an end (``handoff``).

        Args:
            mark: the kind of its mark.
            queue_s: from the door to now, of the first attempt at a request.
            replay: whether the request is one of a replay.
        """
        self._attempts.labels(_known(mark, MARKS), _traffic(replay)).inc()
        if queue_s is not None:
            self._queue_time.labels(_traffic(replay)).observe(max(0.0, queue_s))

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
        traffic = _traffic(replay)
        label = self._models.label(model, admit=status == "completed")
        failed = error_code is not None or error_type is not None
        self._ended.labels(label, _known(status, STATUSES), _code(error_code) if failed else "", traffic).inc()
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
        method = _known(method, METHODS)
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


def _known(value: str | None, known: frozenset[str]) -> str:
    return value if value in known else OTHER


def _traffic(replay: bool) -> str:
    return REPLAY if replay else LIVE


def _code(code: str | None) -> str:
    return _known(code, ERROR_CODES)
