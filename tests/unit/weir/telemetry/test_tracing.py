"""Traces, without OpenTelemetry and with it."""

import asyncio
import builtins
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.unit.weir.answering.helpers import BODY, REQUEST, stage, words
from tests.unit.weir.llm.helpers import DONE, chunks_of, delta, saying, server, upstream
from weir.chat import requests
from weir.chat.frames import FrameKind
from weir.llm.errors import UpstreamUnavailableError
from weir.llm.upstream import TRACEPARENT
from weir.telemetry.otel import OneLine, OpenTelemetry
from weir.telemetry.spans import Recorder
from weir.telemetry.traceparent import parse
from weir.telemetry.tracing import Tracing, asked, tracing

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
SECRET = "the prompt, which is secret"
START = {"worker": "w:1", "upstream_url": "http://127.0.0.1:9/v1"}


def lost() -> UpstreamUnavailableError:
    return UpstreamUnavailableError(SECRET, status=502, kind="upstream_error", code="upstream_disconnected")


@pytest.fixture
def recorded() -> Iterator[InMemorySpanExporter]:
    """Return the spans recorded in this process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.use(OpenTelemetry(provider, upstream_url="https://llm.example:8443/v1"))
    yield exporter
    tracing.use(Recorder())


def context_of(span: ReadableSpan) -> tuple[str, str]:
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


# -- without OpenTelemetry


def test_a_clients_trace_is_passed_on_and_a_client_without_one_gets_one() -> None:
    mine = Tracing()
    with mine.http("POST", "/v1/chat/completions", SAMPLED) as span:
        assert span.traceparent == SAMPLED
        span.tell(http__response__status_code=200)
        span.failed("500")
    for given in (None, "nonsense"):
        with mine.message("chat_incoming", given) as one, mine.message("chat_incoming", given) as other:
            places = {parse(one.traceparent), parse(other.traceparent)}
            assert None not in places
            assert len(places) == 2


def test_the_llm_is_told_the_place_for_as_long_as_it_is_called() -> None:
    mine = Tracing()
    with mine.call(UNSAMPLED, {"model": "m"}, "begin") as call:
        assert TRACEPARENT.get() == UNSAMPLED
        call.chunk({"choices": []})
    assert TRACEPARENT.get() is None
    with mine.call(None, {"model": "m"}, "begin"):
        assert TRACEPARENT.get() is None


async def test_the_llm_gets_it_as_a_header() -> None:
    seen: list[str | None] = []
    handler = saying(delta("a", "stop"), DONE)

    async def noted(request: Any) -> Any:
        seen.append(request.headers.get("traceparent"))
        return await handler(request)

    async with server(noted) as url, upstream(url) as one:
        with Tracing().call(SAMPLED, {}, "begin"):
            await chunks_of(one, {"model": "m", "messages": []})
        await chunks_of(one, {"model": "m", "messages": []})
    assert seen == [SAMPLED, None]


@pytest.mark.parametrize("given", [SAMPLED, "nonsense", 7, None])
def test_a_kafka_client_may_write_a_place_or_nonsense(given: object) -> None:
    value = requests.encode(REQUEST).replace(b'"data":{', b'"data":{"traceparent":%s,' % _json(given))
    assert requests.decode(value).traceparent == (given if given == SAMPLED else None)


def _json(value: object) -> bytes:
    return b"null" if value is None else b"%d" % value if isinstance(value, int) else b'"%b"' % str(value).encode()


# -- asked for


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "false"}, True),
    ],
)
def test_traces_are_recorded_where_the_environment_asks_for_it(environ: dict[str, str], wanted: bool) -> None:
    assert asked(environ) is wanted


def test_where_opentelemetry_is_missing_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    importing = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return importing(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "weir.telemetry.otel")
    monkeypatch.setattr(builtins, "__import__", without)
    mine = Tracing()
    mine.start({"OTEL_TRACES_EXPORTER": "otlp"}, **START)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "make install EXTRAS=otel" in caplog.text
    with mine.http("POST", "/x", SAMPLED) as span:
        assert span.traceparent == SAMPLED


@pytest.mark.parametrize(
    "more",
    [{"OTEL_TRACES_EXPORTER": "zipkin"}, {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_EXPORTER": "otlp"}],
)
def test_what_is_asked_for_and_cannot_be_had_is_said_in_one_line(
    caplog: pytest.LogCaptureFixture, more: dict[str, str]
) -> None:
    Tracing().start(more, **START)
    assert len(caplog.records) == 1
    assert "allowed:" in caplog.text


# -- recorded


def test_a_door_is_part_of_the_clients_trace(recorded: InMemorySpanExporter) -> None:
    with tracing.http("POST", "/v1/chat/completions", SAMPLED) as span:
        span.tell(http__response__status_code=200)
        place = span.traceparent
    (one,) = recorded.get_finished_spans()
    assert (one.name, one.kind) == ("POST /v1/chat/completions", SpanKind.SERVER)
    assert attributes_of(one)["http.response.status_code"] == 200
    assert one.parent is not None
    assert (f"{one.parent.trace_id:032x}", f"{one.parent.span_id:016x}") == (TRACE, SPAN)
    assert place == "00-{}-{}-01".format(*context_of(one))


def test_a_client_that_does_not_want_to_be_recorded_is_not(recorded: InMemorySpanExporter) -> None:
    with tracing.message("q", UNSAMPLED) as span:
        found = parse(span.traceparent)
        assert found is not None
        assert (f"{found.trace_id:032x}", found.flags) == (TRACE, 0)
    assert recorded.get_finished_spans() == ()


async def test_an_answers_call_is_a_client_span_by_the_conventions(recorded: InMemorySpanExporter) -> None:
    body = {**BODY, "messages": [{"role": "user", "content": SECRET}], "temperature": 0.5, "max_tokens": 9}
    request = _request(body)
    async with stage(words("Hel", "lo")) as one:
        await one.answer(request)
    (span,) = recorded.get_finished_spans()
    assert (span.name, span.kind, span.status.status_code) == ("chat m", SpanKind.CLIENT, StatusCode.UNSET)
    assert context_of(span)[0] == TRACE
    told = attributes_of(span)
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.provider.name"] == told["gen_ai.system"] == "openai"
    assert told["gen_ai.request.model"] == "m"
    assert (told["gen_ai.request.temperature"], told["gen_ai.request.max_tokens"]) == (0.5, 9)
    assert told["gen_ai.response.finish_reasons"] == ("stop",)
    assert (told["server.address"], told["server.port"]) == ("llm.example", 8443)
    assert told["weir.attempt.mark"] == FrameKind.BEGIN
    assert 0 <= told["gen_ai.response.time_to_first_chunk"] < 60
    assert SECRET not in span.to_json()


def test_what_the_llm_says_about_itself_is_in_its_span(recorded: InMemorySpanExporter) -> None:
    with tracing.call(SAMPLED, {"model": "m", "temperature": "hot"}, "takeover") as call:
        call.chunk({"model": "m-2026", "choices": [{"index": 0, "delta": {"content": SECRET}}]})
        call.chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}], "usage": None})
        call.chunk({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}})
    (span,) = recorded.get_finished_spans()
    told = attributes_of(span)
    assert told["gen_ai.response.model"] == "m-2026"
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (3, 5)
    assert told["gen_ai.response.finish_reasons"] == ("length",)
    assert "gen_ai.request.temperature" not in told
    assert SECRET not in span.to_json()


async def test_a_call_that_fails_says_how_and_not_what_was_said(recorded: InMemorySpanExporter) -> None:
    async with stage(words("a", then=lost())) as one:
        await one.answer(_request(BODY))
    (span,) = recorded.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert attributes_of(span)["error.type"] == "upstream_disconnected"
    assert SECRET not in span.to_json()


async def test_a_request_without_a_place_begins_a_trace_of_its_own(recorded: InMemorySpanExporter) -> None:
    async with stage(words("a")) as one:
        await one.answer()
    (span,) = recorded.get_finished_spans()
    assert span.parent is None


def _request(body: dict[str, Any]) -> requests.ChatRequest:
    return replace(REQUEST, body=body, traceparent=SAMPLED)


# -- a collector that is away


class FakeCollector(SpanExporter):
    """Takes spans, or refuses them."""

    def __init__(self) -> None:
        self.answer: SpanExportResult | Exception = SpanExportResult.SUCCESS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        assert spans
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_collector_that_is_away_is_told_once_and_once_when_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    collector, span = FakeCollector(), TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("s")
    assert isinstance(span, ReadableSpan)
    one = OneLine(collector)
    for answer in (SpanExportResult.FAILURE, RuntimeError("no"), SpanExportResult.FAILURE):
        collector.answer = answer
        assert one.export([span]) is SpanExportResult.FAILURE
    assert len(caplog.records) == 1
    collector.answer = SpanExportResult.SUCCESS
    one.export([span])
    one.export([span])
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "3 spans are lost" in caplog.text


async def test_spans_do_not_wait_for_a_collector_that_is_not_there_and_a_stop_not_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "64")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "32")
    mine = Tracing()
    mine.start({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, **START)
    began = time.monotonic()
    for _ in range(2000):
        with mine.http("POST", "/x", None) as span:
            assert parse(span.traceparent) is not None
    assert time.monotonic() - began < 5
    async with asyncio.timeout(15):
        await mine.stop()
