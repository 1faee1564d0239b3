"""Records spans with OpenTelemetry, by its semantic conventions for HTTP, messaging and generative AI.

Spans are sent in batches by a thread of OpenTelemetry's own, out of a queue that is bounded (OTEL_BSP_MAX_QUEUE_SIZE):
a collector that is away, or slow, costs spans and nothing else. Spans hold nothing of a prompt or an answer.

Needs the extra ``otel``; imported by ``weir.telemetry.tracing`` alone, when traces are asked for.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter, SpanExportResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from weir.envelope import Json
from weir.errors import ApiError
from weir.llm.chunks import finish_reasons
from weir.llm.errors import UpstreamError
from weir.telemetry import spans
from weir.telemetry.spans import CallSpan, Recorder, Span, Value
from weir.telemetry.traceparent import TraceParent, parse

logger = logging.getLogger(__name__)

# They log each lost batch, in several lines.
NOISY_LOGGERS = ("opentelemetry.exporter.otlp.proto.http", "opentelemetry.sdk._shared_internal")
PROVIDER = "openai"  # the protocol's name, which the conventions want where the provider is not known
NUMBERS = {"max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed"}  # of a request
KINDS = {spans.SpanKind.SERVER: SpanKind.SERVER, spans.SpanKind.CONSUMER: SpanKind.CONSUMER}


class _Recorded:
    """The methods that both kinds of recorded spans share."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def tell(self, **attributes: Value) -> None:
        for name, value in attributes.items():
            self._span.set_attribute(name.replace("__", "."), value)

    def failed(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(Status(StatusCode.ERROR))


class RecordedDoor(_Recorded, Span):
    """The span of a door."""

    def __init__(self, span: trace.Span) -> None:
        _Recorded.__init__(self, span)
        Span.__init__(self, _traceparent(span))


class RecordedCall(_Recorded, CallSpan):
    """The span of a call of the LLM, with figures from the LLM's chunks."""

    def __init__(self, span: trace.Span) -> None:
        _Recorded.__init__(self, span)
        CallSpan.__init__(self, _traceparent(span))
        self._began = time.perf_counter()
        self._first = True
        self._usage: Any = None
        self._reasons: dict[int, str] = {}

    def chunk(self, chunk: Json) -> None:
        """Take a chunk from the LLM, of which only the figures are kept."""
        if self._first:
            self._first = False
            waited_s = time.perf_counter() - self._began
            self._span.set_attribute("gen_ai.response.time_to_first_chunk", waited_s)
            if isinstance(model := chunk.get("model"), str):
                self._span.set_attribute("gen_ai.response.model", model)
        self._usage = chunk.get("usage") or self._usage
        self._reasons |= finish_reasons([chunk])

    def over(self) -> None:
        """Set the attributes that are known at the end, however the call ended."""
        if self._reasons:
            self._span.set_attribute("gen_ai.response.finish_reasons", list(self._reasons.values()))
        usage = self._usage if isinstance(self._usage, dict) else {}
        for ours, theirs in (("input_tokens", "prompt_tokens"), ("output_tokens", "completion_tokens")):
            if isinstance(count := usage.get(theirs), int):
                self._span.set_attribute(f"gen_ai.usage.{ours}", count)


class OpenTelemetry(Recorder):
    """Records spans with a tracer provider."""

    def __init__(self, provider: TracerProvider, *, upstream_url: str, exporter: "OneLine | None" = None) -> None:
        self._provider = provider
        self._exporter = exporter
        self._tracer = provider.get_tracer("weir")
        url = urlsplit(upstream_url)
        self._server: dict[str, Value] = {"server.address": url.hostname or ""}
        if port := url.port or {"http": 80, "https": 443}.get(url.scheme):
            self._server["server.port"] = port

    @contextmanager
    def door(self, name: str, kind: spans.SpanKind, given: object, attributes: Mapping[str, Value]) -> Iterator[Span]:
        """Open a span while a door handles a request."""
        span = self._tracer.start_span(name, _under(parse(given)), KINDS[kind], dict(attributes))
        with _ended(span):
            yield RecordedDoor(span)

    @contextmanager
    def call(self, given: str | None, body: Json, attributes: Mapping[str, Value]) -> Iterator[CallSpan]:
        """Open a span while the LLM is called."""
        model = body.get("model")
        asked = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.system": PROVIDER,  # the attribute's name before 2025, which collectors still use
            "gen_ai.request.model": str(model),
            "gen_ai.request.stream": True,
            **{f"gen_ai.request.{name}": body[name] for name in NUMBERS if isinstance(body.get(name), int | float)},
            **self._server,
            **attributes,
        }
        span = self._tracer.start_span(f"chat {model}", _under(parse(given)), SpanKind.CLIENT, asked)
        with _ended(span):
            call = RecordedCall(span)
            try:
                yield call
            finally:
                call.over()

    def shutdown(self) -> None:
        """Send the remaining spans, unless the collector is away."""
        if self._exporter is not None and self._exporter.lost:
            self._exporter.shutdown()
        self._provider.shutdown()


class OneLine(SpanExporter):
    """Logs once that spans are lost, and once that the collector takes spans again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.lost = 0  # spans, since the collector last took some

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch; in a thread of OpenTelemetry's."""
        try:
            result = self._exporter.export(spans)
        except Exception:  # noqa: BLE001 - whatever the error is, the batch is lost
            result = SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            if not self.lost:
                logger.warning("traces are lost: the collector does not take them (OTEL_EXPORTER_OTLP_ENDPOINT)")
            self.lost += len(spans)
        elif self.lost:
            logger.warning("the collector takes traces again; %d spans are lost", self.lost)
            self.lost = 0
        return result

    def shutdown(self) -> None:
        """Stop sending."""
        self._exporter.shutdown()


def exporting(environ: Mapping[str, str], *, worker: str, upstream_url: str) -> OpenTelemetry:
    """A recorder that sends spans to the collector that the environment names.

    Raises:
        Exception: OpenTelemetry refuses its settings.
    """
    name = environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if name not in {"otlp", "console"}:
        raise ValueError(f"OTEL_TRACES_EXPORTER is {name!r}; allowed: otlp, console, none")
    protocols = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((environ[key] for key in protocols if environ.get(key)), "http/protobuf")
    if name == "otlp" and protocol != "http/protobuf":
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; allowed: http/protobuf")
    for noisy in NOISY_LOGGERS:
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    provider = TracerProvider(resource=_resource(environ, worker), shutdown_on_exit=False)
    exporter = OneLine(OTLPSpanExporter() if name == "otlp" else ConsoleSpanExporter())
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return OpenTelemetry(provider, upstream_url=upstream_url, exporter=exporter)


def _resource(environ: Mapping[str, str], worker: str) -> Resource:
    """The sender of the spans; attributes in the environment take precedence."""
    named = environ.get("OTEL_SERVICE_NAME") or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return Resource.create({"service.instance.id": worker} | ({} if named else {"service.name": "weir"}))


def _under(place: TraceParent | None) -> Context:
    """The context of a span with this parent, on another worker or at a client; of a new trace without one."""
    if place is None:
        return Context()
    parent = SpanContext(place.trace_id, place.span_id, is_remote=True, trace_flags=TraceFlags(place.flags))
    return trace.set_span_in_context(NonRecordingSpan(parent), Context())


def _traceparent(span: trace.Span) -> str:
    context = span.get_span_context()
    return str(TraceParent(context.trace_id, context.span_id, int(context.trace_flags)))


@contextmanager
def _ended(span: trace.Span) -> Iterator[None]:
    """End a span after the block; an exception that passes through sets its error type."""
    try:
        yield
    except BaseException as error:
        span.set_attribute("error.type", _error_type(error))
        span.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        span.end()


def _error_type(error: BaseException) -> str:
    if isinstance(error, UpstreamError | ApiError):
        return str(error.error["code"] or error.error["type"])
    return "cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__
