"""Every metric, in one place: its name, kind, unit, labels and buckets.

The page docs/metrics.md is made from this file. Every label has few values: topics, routes, statuses and codes that
this code base knows (others are ``other``), and models, of which METRICS_MODELS_MAX have a label of their own. There is
no tenant, uid or user in any label: agent-metrics-events have these.

The first four names are those of the event backbone that Weir replaces. The others go by OpenTelemetry's semantic
conventions for generative AI and by vLLM's metrics, if those have a name for it.
"""

from dataclasses import fields
from typing import Final

from weir.telemetry.collectors import Spec
from weir.version import Version

# -- buckets: upper bounds, in seconds unless said otherwise

# From a commit of the embedded log to KAFKA_DELIVERY_TIMEOUT_S, after which an append is in doubt.
APPEND_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# A request waits for none on an idle worker, and for the answers before it on a full one.
QUEUE_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
# OpenTelemetry's for the time to the first token, and on to UPSTREAM_FIRST_TOKEN_TIMEOUT_S: models are loaded.
FIRST_TOKEN_S = (0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0)
# OpenTelemetry's for an LLM call, each twice the one before, and on: an answer may outlive the worker that began it.
ANSWER_S = (0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68, 655.36)
# The first is a person's reading speed; a single stream of today's fastest hardware is in the last.
TOKENS_PER_SECOND = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0)
# The platform's own for HTTP, and on: a stream is one request, for as long as it lasts.
HTTP_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
# Below 1 ms it is noise; a loop that is blocked for 0.1 s is noticed in every stream.
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
