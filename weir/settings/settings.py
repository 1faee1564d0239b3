"""Every setting, in one typed place: name of the environment variable, default, unit, allowed values, and why.

The names and defaults of the two systems that Weir replaces are kept (OPENAI_*, RABBITMQ_*, RESPONSE_QUEUE_*,
LOG_LEVEL, KAFKA_*). The table in docs/settings.md is made from this file and checked by ``make lint``.

A setting is one field. Its name in upper case is the environment variable. Its type gives the kind of value; types
other than a number, a path or a choice are in ``kinds.py``. Bounds are part of the field, also where no sensible value
comes near them: a mistyped value (a time in milliseconds, a zero too many) must stop the start, not show up as a
stalled stream a week later. The description is for an operator: the unit, what the setting is weighed against, and what
a special value (0, unset, empty) means.

Units are in the names: ``_s`` seconds, ``_ms`` milliseconds, ``_bytes``, ``_usd``; ``_max`` and ``_min`` are bounds, a
plural without a unit is a count. A switch is a choice with words, not a boolean, so that a third way can be added.

A field that holds a secret, or a URL that may, is a ``SecretStr``: no message, repr or dump shows it. Fields stand in
groups: the LLM, the doors, metrics, the worker, topics, events, insights, feedback, replays, and the two brokers.

A value that follows from several fields is a property at the end of the class, so that no part of Weir derives it a
second time. Rules that span several fields are checked in ``loading.py``. Settings are frozen: a change takes a restart
of the worker.
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from weir.options import Redact, ThinkTags
from weir.settings.hostname import reachable_hostname
from weir.settings.kinds import (
    NONE,
    AmqpUrls,
    BootstrapServers,
    Dialect,
    Host,
    HttpUrl,
    OneLine,
    RedactNames,
    Seconds,
    Secret,
)

MIB = 1024 * 1024
DAY = 86400.0
RECORD_OVERHEAD_BYTES = 4096


class Settings(BaseModel):
    """Settings of one worker. Field names are the environment variables in lower case."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, allow_inf_nan=False)

    # -- the LLM (names and defaults of the queue worker)
    openai_url: HttpUrl = Field(
        "http://localhost:11434/v1",
        description="Base URL of the OpenAI-compatible LLM. A user and password in it are sent (Basic) instead of "
        "the key. Calls go through HTTP_PROXY or HTTPS_PROXY, except to hosts in NO_PROXY.",
    )
    openai_api_key: Secret = Field(SecretStr("dummy-token"), description="API key of the LLM; local servers ignore it.")
    openai_org_id: OneLine | None = Field(
        None, description="Organization that the calls are billed to, sent as OpenAI-Organization."
    )
    openai_project_id: OneLine | None = Field(
        None, description="Project that the calls are billed to, sent as OpenAI-Project."
    )
    openai_model: str = Field("deepseek-r1:8b", min_length=1, description="Model for requests that name none.")
    openai_continuation: Literal["prefill", "continue_final_message", "prefix", "restart", "fail"] = Field(
        "restart",
        description="How the LLM continues a partial answer that another worker left: prefill (the last message of "
        "the request is the LLM's own: Ollama, llama.cpp, LM Studio), continue_final_message (vLLM, SGLang), "
        "prefix (DeepSeek, Mistral). An LLM that cannot continue generates the answer again (restart), or a "
        "stream fails (fail).",
    )
    upstream_connect_timeout_s: Seconds = Field(5.0, description="Time to connect to the LLM, in seconds.")
    upstream_first_token_timeout_s: Seconds = Field(
        120.0,
        description="Time from sending a request to the first token, in seconds: model loading is slow. An LLM that "
        "cannot stream has this time for its whole answer.",
    )
    upstream_idle_timeout_s: Seconds = Field(
        60.0, description="Longest silence between two tokens, in seconds; then the call counts as hung."
    )
    upstream_retries: int = Field(
        2,
        ge=0,
        le=10,
        description="Retries of a call that failed before its first token, with backoff. Clients are told not to "
        "retry what Weir has retried; 0 leaves retries to them.",
    )
    think_tags: ThinkTags = Field(
        ThinkTags.SPLIT,
        description="How <think> tags at the start of an answer are handled, if the request does not say so itself "
        "(X-Think-Tags): split moves the text between them to reasoning_content, keep leaves it in the text.",
    )
    answer_max_bytes: int = Field(
        128 * MIB,
        ge=64 * 1024,
        le=4096 * MIB,
        description="Largest answer, in bytes as the LLM sends it: room for about 300,000 tokens, one to a chunk. A "
        "larger answer ends there, with finish_reason length.",
    )
    answer_max_tokens: int = Field(
        200_000,
        ge=1,
        le=10_000_000,
        description="Most chunks with text, thinking or a tool call in one answer: most servers send one token in "
        "each, and models generate fewer. A longer answer ends there, with finish_reason length.",
    )
    answer_max_s: Seconds = Field(
        3600.0,
        description="Longest time for one answer, in seconds from its beginning, takeovers included; then it ends "
        "with finish_reason length.",
    )

    # -- doors
    log_level: Literal["debug", "info", "warn", "error"] = Field(
        "info", description="Least severe log line that is written."
    )
    restapi_host: str = Field("0.0.0.0", description="Address that the HTTP door listens on.")  # noqa: S104 -- a server
    restapi_port: int = Field(8080, ge=1, le=65535, description="Port of the HTTP door.")
    restapi_advertised_host: Host = Field(
        default_factory=reachable_hostname,
        description="Host name under which other workers reach this one, to ask for state that it owns. Default: "
        "this host's name if it resolves, else 127.0.0.1.",
    )
    request_max_bytes: int = Field(
        8 * MIB, ge=1024, le=64 * MIB, description="Largest request body, in bytes; images travel inside it."
    )
    request_header_max: int = Field(
        64 * 1024,
        ge=8190,
        le=1024 * 1024,
        description="Longest header, and longest request line, in bytes: gateways and single sign-on put long tokens "
        "into headers. A longer one is refused.",
    )
    default_tenant: str = Field(
        "default", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Tenant of requests without X-Tenant-ID."
    )
    accept_timeout_s: Seconds = Field(
        10.0,
        description="How long a door waits for the log to confirm a request, in seconds; then the client gets a 503.",
    )
    sse_heartbeat_s: Seconds = Field(
        10.0,
        description="Silence after which a stream sends a comment line, in seconds: proxies cut silent streams.",
    )
    sse_header_wait_s: Seconds = Field(
        3.0,
        description="How long a stream waits for its first token before it sends status 200, in seconds: an early "
        "failure keeps its own status.",
    )
    answers_kept_bytes: int = Field(
        32 * MIB,
        ge=0,
        le=4096 * MIB,
        description="Bytes of stored answers, as JSON, that a worker keeps for the next GET of the same answer: "
        "those that were requested last. 0 keeps none.",
    )
    http_connections_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Connections to the HTTP door at once; a further one gets a 503. Each needs a file descriptor, "
        "as do calls of the LLM, brokers and files: keep this well below the process's limit (`ulimit -n`).",
    )
    http_header_timeout_s: Seconds = Field(
        30.0,
        description="Time for the request line and headers to arrive, from the connection on, in seconds; then a 408.",
    )
    http_body_timeout_s: Seconds = Field(
        120.0, description="Time for the whole body of a request to arrive, in seconds; then a 408."
    )
    http_keepalive_timeout_s: Seconds = Field(
        75.0,
        description="How long a connection may be idle after a response, in seconds. Keep this above the idle time "
        "of the proxy in front, which would otherwise send a request into a connection that is just being closed.",
    )
    client_write_timeout_s: Seconds = Field(
        60.0,
        description="How long a client may leave the socket full before the worker closes its connection, in seconds.",
    )
    http_requests_max: int = Field(
        4000,
        ge=10,
        le=100_000,
        description="HTTP requests and streams that are open at once; more are refused with 503, except GET /ping, "
        "GET /version and GET /metrics. Each costs at most about 300 KiB of memory, also if its client does not "
        "read.",
    )
    readers_memory_bytes: int = Field(
        256 * MIB,
        ge=MIB,
        description="Memory for large frames and bodies of all readers of a worker together, in bytes. When it is "
        "used up, streams wait for room and whole answers get a 503. HTTP_REQUESTS_MAX bounds the small ones "
        "(docs/streams.md).",
    )
    answer_timeout_s: Seconds = Field(
        3600.0, description="Longest time that a door waits for one answer to end, in seconds."
    )
    on_disconnect: Literal["auto", "continue", "cancel"] = Field(
        "auto",
        description="What happens to a request whose last reader has left, if the request does not say so itself: "
        "its answer continues into the log (continue), or the request is cancelled after DISCONNECT_GRACE_S "
        "(cancel). auto: a request that its client named (uid, Idempotency-Key), or that came by RabbitMQ or "
        "Kafka, continues; any other is cancelled.",
    )
    disconnect_grace_s: Seconds = Field(
        30.0,
        description="Time after the last reader has left in which another one may come, in seconds, before the request "
        "is cancelled.",
    )
    retry_attach_s: float = Field(
        120.0,
        ge=0,
        le=3600,
        description="How long a request without a name, whose client has left, is kept for a retry that an openai "
        "client marks, in seconds: the retry reads its answer and calls no LLM. These clients wait at most a "
        "minute between two tries. 0: each retry is a request of its own.",
    )
    models_cache_s: Seconds = Field(60.0, description="How long GET /v1/models is cached, in seconds.")

    # -- metrics
    metrics_models_max: int = Field(
        50,
        ge=1,
        le=1000,
        description="Models that have a label of their own in GET /metrics; all others share the label `other`.",
    )

    # -- the worker
    max_in_flight: int = Field(
        256,
        ge=1,
        le=10_000,
        description="Answers that one worker generates at once; further requests wait in the topic.",
    )
    drain_s: float = Field(
        30.0, ge=0, le=3600, description="How long a stopping worker finishes the answers in flight, in seconds."
    )
    lease_s: Seconds = Field(
        10.0, description="Silence after which the worker that generates an answer counts as dead, in seconds."
    )
    attempts_max: int = Field(
        5, ge=1, le=100, description="LLM calls for one request, crashes included; then the request fails."
    )
    weir_data_dir: Path = Field(
        Path("data"), description="Folder of the embedded log and of table files; created if missing."
    )
    table_store: Literal["memory", "rocksdb"] = Field(
        "memory", description="Where tables are stored; rocksdb recovers from disk and needs the extra `rocksdb`."
    )
    sqlite_synchronous: Literal["NORMAL", "FULL"] = Field(
        "NORMAL",
        description="Embedded log: NORMAL survives a killed process, FULL also a power cut, at one fsync a commit.",
    )
    table_expiry_s: float = Field(
        7 * 86400.0, ge=60, description="How long a finished request stays in the tables, in seconds."
    )

    # -- topics (docs/topics.md says which setting each topic follows)
    chat_partitions: int = Field(
        6,
        ge=1,
        le=1000,
        description="Partitions of the topics keyed by a request, and so the largest number of workers that "
        "generate answers. Choose it before the first start: existing topics must have as many, which each start "
        "checks. Another number needs new topics, by another KAFKA_TOPIC_PREFIX.",
    )
    retention_requests_s: float = Field(
        7 * DAY,
        ge=3600,
        le=3650 * DAY,
        description="How long requests, answers and deliveries stay in the log, in seconds: no request may wait "
        "for longer, and no stream can be resumed later. For existing topics on Kafka, the topic's own "
        "configuration holds.",
    )
    retention_events_s: float = Field(
        7 * DAY,
        ge=3600,
        le=3650 * DAY,
        description="How long events (traces, thinking, decisions, metrics, feedback, signals, insights) stay in the "
        "log, in seconds.",
    )
    retention_history_s: float = Field(
        30 * DAY,
        ge=3600,
        le=3650 * DAY,
        description="How long dead letters, lineage and runs of replays stay in the log, in seconds.",
    )
    retention_audit_s: float = Field(
        90 * DAY, ge=3600, le=3650 * DAY, description="How long audit events stay in the log, in seconds."
    )

    # -- events
    event_text_max_chars: int = Field(
        1000,
        ge=0,
        le=100_000,
        description="How much text of a prompt, a thought or an answer an event may have, in characters, after the "
        "values that REDACT lists are removed. 0: no text at all.",
    )
    redact: RedactNames = Field(
        ",".join(Redact),
        description="What is removed from text in events, by its form, separated by commas: keys (keys and tokens "
        "of known forms, passwords beside their names), aws (access key ids and bare secret keys), cards, iban "
        "(both by their check digits), ssn (United States), email. `none`: nothing.",
    )
    lineage_dialect: Dialect = Field(
        "trino",
        description="SQL dialect of answers whose code fence names none, by sqlglot's name. `off`: no lineage.",
    )
    prices_file: Path | None = Field(
        None,
        description="Price table (TOML, like weir/llm/prices.toml), in US dollars per million tokens. Unset: that "
        "file.",
    )

    # -- insights (docs/insights.md describes their use)
    insight_window_s: float = Field(
        300.0,
        ge=1,
        le=86400,
        description="Length of the windows that figures are added up in, in seconds: the platform's five minutes. "
        "If a model has fewer than INSIGHT_REQUESTS_MIN requests in that time, make it longer.",
    )
    insight_lateness_s: float = Field(
        30.0, ge=0, le=86400, description="How long a window waits for late events, in seconds: the platform's value."
    )
    insight_ahead_s: float = Field(
        60.0,
        ge=1,
        le=86400,
        description="How far a record's event time may lie ahead of its time in the log, in seconds: clocks differ "
        "by less. An event further ahead is counted, and closes no window.",
    )
    insight_windows_kept: int = Field(
        48, ge=1, le=1000, description="Closed windows kept for each tenant and model: four hours of traffic."
    )
    insight_baseline_windows: int = Field(
        12,
        ge=1,
        le=1000,
        description="Closed windows that a window is compared with: an hour, so that no single one decides.",
    )
    insight_quiet_windows: int = Field(
        12, ge=1, le=1000, description="Windows without any traffic after which an insight about a model is cleared."
    )
    insight_requests_min: int = Field(
        20,
        ge=1,
        description="Requests that a window needs to be judged by error rate, latency and cost: the 95th "
        "percentile of fewer is the slowest request.",
    )
    insight_signals_min: int = Field(
        20,
        ge=1,
        description="Signals that a window needs to be judged by quality. For a model that pleases four users in "
        "five, the mean of 20 signals is off by 0.18; a fall by INSIGHT_QUALITY_DROP is nearly three times that.",
    )
    insight_quality_min: float = Field(
        0.0,
        ge=-1,
        le=1,
        description="Mean score of signals (-1 to 1) below which feedback speaks against a model more than for it.",
    )
    insight_quality_drop: float = Field(
        0.5, gt=0, le=2, description="Fall of the mean score below that of the baseline: a quarter of the scale."
    )
    insight_error_rate_max: float = Field(
        0.05, ge=0, le=1, description="Share of failed requests among completed and failed ones: the platform's limit."
    )
    insight_errors_min: int = Field(
        5, ge=1, description="Failures that a window needs to breach that limit: one in 20 requests is no breach."
    )
    insight_latency_p95_max_ms: float = Field(
        5000.0,
        gt=0,
        description="95th percentile of latency, from the door to the end, in milliseconds: the platform's limit.",
    )
    insight_latency_ratio: float = Field(
        2.0, gt=1, description="95th percentile of latency, divided by that of the baseline: a doubling is a breach."
    )
    insight_latency_floor_ms: float = Field(
        500.0, ge=0, description="Latency below which a doubling is no breach, in milliseconds."
    )
    insight_cost_ratio: float = Field(2.0, gt=1, description="Cost per request, divided by that of the baseline.")
    insight_cost_max_usd: float | None = Field(
        None, gt=0, description="Cost per request, in US dollars. Unset: cost is compared with the baseline only."
    )
    insight_drought_ratio: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Share of the baseline's feedback per answer, below which feedback counts as absent.",
    )
    insight_drought_expected: int = Field(
        10,
        ge=1,
        description="Pieces of feedback that a window must expect for their absence to be an insight: by chance, "
        "none of ten come in one window of 20,000.",
    )
    insight_clear_ratio: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Part of a limit, or of a fall, that a figure must be back within before its insight is "
        "cleared: a figure at its limit does not raise and clear an insight again and again.",
    )

    # -- feedback
    feedback_join_s: Seconds = Field(
        86400.0,
        description="How long feedback waits for its request to end, in seconds; then it expires and is counted.",
    )
    feedback_text_max: int = Field(
        20_000,
        ge=1,
        le=100_000,
        description="Longest comment, original or corrected text of feedback, in characters.",
    )
    feedback_per_request_max: int = Field(
        50, ge=1, le=1000, description="Pieces of feedback on one request; more become dead letters."
    )
    retry_window_s: float = Field(
        120.0,
        ge=0,
        le=3600,
        description="Time in which a user who asks nearly the same again shows that the answer was not good "
        "enough, in seconds. 0 turns that off.",
    )

    # -- replays
    replays_max: int = Field(
        2,
        ge=0,
        le=16,
        description="Replays begun by POST /replays that run beside one worker; each is a process of 150 MB, and "
        "10 KB more for each replayed request, which reads topics with all the processor time that it gets.",
    )

    # -- Kafka (names of the event backbone); without KAFKA_BOOTSTRAP_SERVERS the embedded log is used
    kafka_bootstrap_servers: BootstrapServers = Field(
        None, description="host:port of Kafka brokers, separated by commas. Unset: the embedded log."
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Protocol of the connections to the brokers."
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="SASL mechanism, needed with SASL_PLAINTEXT and SASL_SSL."
    )
    kafka_sasl_username: OneLine | None = Field(None, description="SASL user.")
    kafka_sasl_password: Secret | None = Field(None, description="SASL password.")
    kafka_ssl_cafile: Path | None = Field(None, description="CA certificates (PEM) that signed the brokers'.")
    kafka_ssl_certfile: Path | None = Field(None, description="Client certificate (PEM), for mutual TLS.")
    kafka_ssl_keyfile: Path | None = Field(None, description="Key of the client certificate (PEM).")
    kafka_consumer_group: str = Field(
        "weir",
        pattern=r"^[A-Za-z0-9._-]{1,100}$",
        description="Consumer group of all workers of an installation, after KAFKA_TOPIC_PREFIX; also the "
        "beginning of the changelogs' names.",
    )
    kafka_topic_prefix: str = Field(
        "",
        pattern=r"^[A-Za-z0-9._-]{0,60}$",
        description="Beginning of the names of all topics and of the consumer group on the cluster, such as "
        "`team-a.`. Each installation on the same cluster needs a prefix of its own.",
    )
    kafka_replication_factor: int = Field(
        3, ge=1, le=10, description="Copies of each topic. Use 1 for a single broker, and 3 in production."
    )
    kafka_start_wait_s: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="How long a starting worker waits for brokers, for leaders of partitions, and for as many brokers "
        "as a new topic has copies, in seconds.",
    )
    kafka_delivery_timeout_s: Seconds = Field(
        60.0, description="How long an append waits for Kafka to come back, in seconds; then its answer is in doubt."
    )
    kafka_session_timeout_s: Seconds = Field(
        6.0,
        description="Silence after which the group reassigns a worker's partitions, in seconds. A worker that was "
        "killed and starts again waits for so long; a worker that was only slow loses no stream by it.",
    )
    kafka_max_message_bytes: int = Field(
        8 * MIB + 65536,
        ge=1024,
        description="Largest record, in bytes: a whole request must fit into one. Topics that Weir creates take as "
        "much; an existing topic takes its own `max.message.bytes`, which is read at the start, and a larger "
        "request is refused (413).",
    )

    # -- RabbitMQ (names and defaults of the queue worker)
    rabbitmq_url: AmqpUrls = Field(
        SecretStr("amqp://guest:guest@localhost:5672/"),
        description="RabbitMQ connection URL, as aio-pika takes it (amqps with cafile, heartbeat, …); several "
        "separated by commas are tried in turn. An empty value turns RabbitMQ off.",
    )
    rabbitmq_queue: str = Field(
        "chat_incoming", min_length=1, max_length=100, description="Queue that requests come from."
    )
    rabbitmq_prefetch: int = Field(
        16, ge=1, le=1000, description="Messages that each worker takes before they are in the log; each may be large."
    )
    rabbitmq_timeout_s: Seconds = Field(
        20.0, description="How long RabbitMQ may take to answer, in seconds; then the worker connects anew."
    )
    response_queue_prefix: str = Field("response_", max_length=100, description="Answers go to this prefix + uid.")
    response_queue_retries: int = Field(
        300,
        ge=0,
        description="Attempts to reach a response queue, one a second; then the delivery order becomes a dead letter.",
    )
    response_queue_expires_s: Seconds = Field(
        86400.0,
        description="Time without use after which a response queue is removed with its messages, in seconds.",
    )
    response_thinking: Literal["omit", "inline"] = Field(
        "omit", description="Thinking in RabbitMQ answers: left out, or within <think> tags before the text."
    )

    @property
    def on_kafka(self) -> bool:
        """Whether there is a Kafka; else the embedded log is used."""
        return self.kafka_bootstrap_servers is not None

    @property
    def topic_prefix(self) -> str:
        """The prefix of the topics' names on the brokers; an embedded log has one installation only."""
        return self.kafka_topic_prefix if self.on_kafka else ""

    @property
    def group(self) -> str:
        """The consumer group's name on the brokers."""
        return self.topic_prefix + self.kafka_consumer_group

    @property
    def redacted(self) -> frozenset[Redact]:
        """The forms of secrets that are removed from text in events."""
        return frozenset(Redact(name) for name in self.redact.split(",") if name != NONE)

    @property
    def amqp_urls(self) -> list[str]:
        """The addresses of RabbitMQ, to be tried in turn; none if it is turned off."""
        return [url.strip() for url in self.rabbitmq_url.get_secret_value().split(",") if url.strip()]

    @property
    def record_value_max_bytes(self) -> int:
        """The largest value of a record: the broker's limit, less the record's key and headers and the batch."""
        return self.kafka_max_message_bytes - RECORD_OVERHEAD_BYTES

    @property
    def embedded_path(self) -> Path:
        """The embedded log's file."""
        return self.weir_data_dir.absolute() / "weir.db"

    @field_validator("log_level", "kafka_security_protocol", "kafka_sasl_mechanism", mode="before")
    @classmethod
    def _any_case(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return value.lower() if value.lower() in {"debug", "info", "warn", "error"} else value.upper()
