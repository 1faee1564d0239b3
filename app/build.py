"""The one place where the parts of a worker are made and joined. Nothing is set on a part afterwards.

The order is that of the imports: a part is made after the parts that it calls. Where a part must call one that is made
later, it gets a typed function, and the line that hands the function in is here.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.core import Weir
from app.engine import consumer_groups, log_client
from app.gauges import Gauges
from app.membership import Neighbours
from app.outside import Held
from tables import feedback, prompts, quality, requests, terminals
from weir.answering.answering import Answering
from weir.answering.calling import CallRules
from weir.answering.continuing import Continuation
from weir.answering.in_flight import Work
from weir.answering.lineage import LineageEvents
from weir.answering.reporting import Reporting
from weir.answering.rules import Rules
from weir.chat.accept import Door
from weir.chat.audit import Audit
from weir.chat.cancelling import Cancelling
from weir.chat.ends import Ends, ends
from weir.chat.lookup import Lookup
from weir.chat.prompts import PromptEvents
from weir.chat.request_writer import RequestWriter
from weir.chat.states import RequestRows, request_rows
from weir.chat.table_upkeep import TableUpkeep
from weir.chat.thinking import ThinkingEvents
from weir.chat.traces import Traces
from weir.events.publishing import Events
from weir.events.redaction import Redactor, without_credentials
from weir.feedback.joiner import Joiner
from weir.feedback.prompt_rows import PromptRows, prompt_rows
from weir.feedback.retry_watch import RetryWatch
from weir.feedback.rows import FeedbackRows, feedback_rows
from weir.feedback.rules import Count
from weir.insights.configured import limits, spans
from weir.insights.live import LiveWindows
from weir.insights.rows import QualityRows
from weir.insights.watching import WindowKeeper
from weir.lineage.process import SqlProcess
from weir.llm.calls import Allowance, Timeouts
from weir.llm.prices import load_prices
from weir.llm.upstream import Upstream
from weir.log.tails import TailLimits, Tails
from weir.peers import Owners
from weir.rabbitmq.door import RabbitDoor
from weir.settings import OFF, Settings
from weir.table_rows import UnreadableRows, row_max_bytes
from weir.telemetry.observed import Observed
from weir.telemetry.worker_metrics import Metrics
from weir.topics import AGENT_METRICS
from weir.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """The rows of each changelog table, and where the changes are written."""

    terminals: Ends
    requests: RequestRows
    feedback: FeedbackRows
    prompts: PromptRows
    quality: QualityRows
    changelogs: Mapping[str, str]  # topic by table, as the log client names it
    unreadable: tuple[UnreadableRows, ...]  # of each table


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts that agents, views and commands call."""

    worker: Worker
    tables: Tables
    upstream: Upstream
    audit: Audit
    thinking_events: ThinkingEvents
    owners: Owners
    lookup: Lookup
    cancelling: Cancelling
    work: Work
    door: Door
    upkeep: TableUpkeep
    joiner: Joiner
    retry_watch: RetryWatch
    windows: LiveWindows
    rabbitmq: RabbitDoor | None
    gauges: Gauges

    @property
    def health(self) -> Mapping[str, Callable[[], str]]:
        """What GET /ping reports of each connection, by its name."""
        return {} if self.rabbitmq is None else {"rabbitmq": self.rabbitmq.state}


def build(settings: Settings) -> tuple[Weir, Parts]:
    """Make the application and its parts. Connects to nothing; Faust starts it.

    Raises:
        SettingsError: the settings ask for something that is not installed or does not exist.
    """
    held = _held(settings)
    app = Weir(settings, held)
    worker = Worker(
        name=app.worker_name,
        settings=settings,
        log=held.log,
        tails=held.tails,
        events=held.events,
        metrics=held.metrics,
        prices=load_prices(settings.prices_file),
        membership=app.membership,
    )
    return app, _parts(app, worker, held.upstream)


def _held(settings: Settings) -> Held:
    metrics = Metrics(
        models_max=settings.metrics_models_max,
        models=[settings.openai_model],
        changelogs=f"{settings.group.removeprefix(settings.topic_prefix)}-",
        prefix=settings.topic_prefix,
    )
    client = log_client(settings)
    log = Observed(client, metrics)
    return Held(
        log=log,
        tails=Tails(log, TailLimits(memory_bytes=settings.readers_memory_bytes)),
        events=Events(log, max_bytes=settings.record_value_max_bytes),
        metrics=metrics,
        upstream=_upstream(settings, metrics),
        neighbours=Neighbours(consumer_groups(client), settings),
    )


def _upstream(settings: Settings, metrics: Metrics) -> Upstream:
    return Upstream(
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
        on_retry=metrics.retried,
        connections=settings.max_in_flight + 8,  # answers, and a few requests for the model list
    )


def _tables(app: Weir, settings: Settings) -> Tables:
    partitions, max_bytes = settings.chat_partitions, row_max_bytes(settings)
    declared = {
        "terminals": terminals.declare(app, partitions),
        "requests": requests.declare(app, partitions),
        "feedback": feedback.declare(app, partitions),
        "prompts": prompts.declare(app, partitions),
        "quality": quality.declare(app, AGENT_METRICS.partitions),
    }
    of_ends = ends(declared["terminals"], max_bytes)
    of_requests = request_rows(declared["requests"], max_bytes)
    of_feedback = feedback_rows(declared["feedback"], max_bytes)
    of_prompts = prompt_rows(declared["prompts"], max_bytes)
    unreadable_windows = UnreadableRows("quality")
    typed = (of_ends, of_requests, of_feedback, of_prompts)
    return Tables(
        terminals=of_ends,
        requests=of_requests,
        feedback=of_feedback,
        prompts=of_prompts,
        quality=QualityRows(declared["quality"], unreadable_windows),
        changelogs={name: app.own_name(table.changelog_topic.get_topic_name()) for name, table in declared.items()},
        unreadable=(*(rows.unreadable for rows in typed), unreadable_windows),
    )


def _parts(app: Weir, worker: Worker, upstream: Upstream) -> Parts:
    settings, tables = worker.settings, _tables(app, worker.settings)
    traces, audit = Traces(worker.events, worker=worker.name), Audit(worker.events, settings.default_tenant)
    thinking_events = ThinkingEvents(
        endpoint=without_credentials(settings.openai_url),
        redactor=Redactor(settings.event_text_max_chars, settings.redacted),
    )
    owners = Owners(app.router, own=str(app.conf.canonical_url), partitions=settings.chat_partitions)
    lookup = Lookup(worker, owners, requests=tables.requests, ends=tables.terminals)
    cancelling = Cancelling(worker, lookup)

    # Answering
    sql = SqlProcess(settings.lineage_dialect)
    lineage = LineageEvents(worker.events, sql, redactor=thinking_events.redactor)
    reporting = Reporting(
        worker,
        traces=traces,
        thinking_events=thinking_events,
        lineage=None if settings.lineage_dialect == OFF else lineage,
    )
    writer = RequestWriter(worker.log, worker.tails, value_max_bytes=settings.record_value_max_bytes)
    work = Work(
        worker,
        _answering(worker, upstream),
        reporting=reporting,
        ends=tables.terminals,
        rows=tables.requests,
        writer=writer,
        traces=traces,
        audit=audit,
    )

    def partitions_for_new() -> set[int]:
        """Where new requests should go: to partitions of this worker, or anywhere while it has no free slot."""
        return worker.own_partitions() if work.in_flight < settings.max_in_flight else set()

    door = Door(
        log=worker.log,
        tails=worker.tails,
        writer=writer,
        traces=traces,
        audit=audit,
        settings=settings,
        metrics=worker.metrics,
        own_partitions=partitions_for_new,
        begin=work.begin,
        prompts=PromptEvents(worker.events, settings),
    )

    # The parts that process answers
    counts: Counter[Count] = Counter()
    joiner = Joiner(worker, requests=tables.requests, ends=tables.terminals, rows=tables.feedback, counts=counts)
    watching = WindowKeeper(
        log=worker.log,
        events=worker.events,
        rows=tables.quality,
        spans=spans(settings),
        limits=limits(settings),
        tenant=settings.default_tenant,
        written=app.tables_written,
    )
    rabbitmq = None
    if settings.amqp_urls:
        rabbitmq = RabbitDoor.of(worker, door, cancel=cancelling.cancel, audit=audit, in_flight=lambda: work.in_flight)
    gauges = Gauges(
        app,
        worker,
        in_flight=lambda: work.in_flight,
        feedback=counts,
        lineage_skipped=lambda: lineage.skipped,
        window_events=watching.counts.events,
        unreadable=tables.unreadable,
    )

    drains = [work.drain, joiner.drain]
    if rabbitmq is not None:
        drains += [rabbitmq.consumer.drain, rabbitmq.dispatcher.drain]
    for drain in drains:
        app.on_drain(drain)
    for close in (sql.close, owners.close, gauges.close):
        app.on_stopped(close)
    return Parts(
        worker=worker,
        tables=tables,
        upstream=upstream,
        audit=audit,
        thinking_events=thinking_events,
        owners=owners,
        lookup=lookup,
        cancelling=cancelling,
        work=work,
        door=door,
        upkeep=TableUpkeep(
            worker,
            requests=tables.requests,
            ends=tables.terminals,
            redactor=thinking_events.redactor,
        ),
        joiner=joiner,
        retry_watch=RetryWatch(worker, rows=tables.prompts, counts=counts),
        windows=LiveWindows(worker, watching),
        rabbitmq=rabbitmq,
        gauges=gauges,
    )


def _answering(worker: Worker, upstream: Upstream) -> Answering:
    settings = worker.settings
    return Answering(
        worker,
        model=upstream,
        # An embedded log has one worker, and this one holds its lock: an attempt of another process is one of a dead
        # process.
        rules=Rules(
            lease_s=settings.lease_s,
            attempts_max=settings.attempts_max,
            frame_max_bytes=settings.record_value_max_bytes,
            alone=not settings.on_kafka,
            continuation=Continuation(settings.openai_continuation),
            calls=CallRules(
                header_wait_s=settings.sse_header_wait_s,
                think_tags=settings.think_tags,
                answer=Allowance(
                    max_bytes=settings.answer_max_bytes,
                    max_tokens=settings.answer_max_tokens,
                    max_s=settings.answer_max_s,
                ),
            ),
        ),
    )
