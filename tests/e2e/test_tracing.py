"""One request is one trace, whichever workers answer it: with a collector, two workers and kill -9; and without."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from demo.model import create_app
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.test_crash import ended, until
from tests.e2e.test_streams import log_of
from tests.e2e.test_two_workers import both_own
from tests.e2e.workers import Worker
from tests.services.kafka import KafkaBroker
from tests.unit.demo.helpers import body_of
from weir import topics
from weir.log.log import LogClient, Partition, Record
from weir.telemetry.traceparent import TraceParent, parse

REQUESTS = 12
SECRET = "for the model alone"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Seen:
    """A span as the collector received it."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    worker: str
    attributes: dict[str, Any]


@dataclass
class Observer:
    """A collector of spans, and an LLM that notes the span of each call."""

    collector: str = ""
    llm: str = ""
    spans: list[Seen] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    asked: defaultdict[str, list[TraceParent | None]] = field(default_factory=lambda: defaultdict(list))  # by question

    def of(self, trace_id: str, name: str) -> list[Seen]:
        return [span for span in self.spans if span.trace_id == trace_id and span.name.startswith(name)]

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            worker = values(resource.resource.attributes)["service.instance.id"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                    self.spans.append(Seen(span.name, *ids, worker, values(span.attributes)))
        return web.Response(content_type="application/x-protobuf")

    @web.middleware
    async def note(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.endswith("/chat/completions"):
            question = orjson.loads(await request.read())["messages"][-1]["content"]
            self.asked[question].append(parse(request.headers.get("traceparent")))
        return await handler(request)


def values(attributes: Any) -> dict[str, Any]:
    """Attributes of the protocol, each with one value of its type."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


@asynccontextmanager
async def observing() -> AsyncIterator[Observer]:
    observer, collector, llm = Observer(), web.Application(client_max_size=1 << 24), create_app()
    collector.router.add_post("/v1/traces", observer.take)
    llm.middlewares.append(observer.note)
    runners = [web.AppRunner(one, handler_cancellation=True, shutdown_timeout=0.2) for one in (collector, llm)]
    try:
        for runner in runners:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        observer.collector, observer.llm = (f"http://127.0.0.1:{one.addresses[0][1]}" for one in runners)
        yield observer
    finally:
        for runner in runners:
            await runner.cleanup()


def trace_of(n: int) -> str:
    return f"{n + 1:032x}"


async def asked(worker: Worker, body: dict[str, object], traceparent: str | None = None) -> int:
    headers = {} if traceparent is None else {"traceparent": traceparent}
    url = f"{worker.url}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        await answer.read()
        return answer.status


async def test_a_request_is_one_trace_over_two_workers_and_a_kill(e2e_kafka: KafkaBroker, make_worker: Start) -> None:
    async with observing() as seen:
        env = {
            **kafka_env(e2e_kafka),
            "OPENAI_URL": f"{seen.llm}/v1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": seen.collector,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        first, second = make_worker(env), make_worker(env)
        first.launch()
        second.launch()
        await asyncio.gather(first.up(), second.up())
        await both_own(first, second)
        here, there = (f"127.0.0.1:{worker.port}" for worker in (second, first))

        async def ask(n: int, model: str) -> None:
            body = body_of(model, f"{SECRET} {n}", uid=f"trace-{n}")
            assert await asked(second, body, f"00-{trace_of(n)}-{'ab' * 8}-01") == 200

        # Asked of one worker, generated on both.
        quick = range(REQUESTS)
        await asyncio.gather(*(ask(n, "demo") for n in quick))
        await until(lambda: all(seen.of(trace_of(n), "chat") and seen.of(trace_of(n), "POST") for n in quick))
        for n in quick:
            (door,), (call,) = seen.of(trace_of(n), "POST"), seen.of(trace_of(n), "chat")
            (told,) = seen.asked[f"{SECRET} {n}"]
            assert (door.parent_id, door.worker, call.parent_id) == ("ab" * 8, here, door.span_id)
            assert told is not None
            assert (f"{told.trace_id:032x}", f"{told.span_id:016x}") == (call.trace_id, call.span_id)
            assert door.attributes["http.response.status_code"] == 200
            assert call.attributes["gen_ai.usage.output_tokens"] > 0
        assert {span.worker for span in seen.spans if span.name.startswith("chat")} == {here, there}

        # One dies in the middle of its calls, and its spans with it; the other's are in the same traces.
        slow = range(REQUESTS, 2 * REQUESTS)
        asking = [asyncio.create_task(ask(n, "demo:tokens=30,delay_ms=100")) for n in slow]
        await until(lambda: all(seen.asked[f"{SECRET} {n}"] for n in slow))
        first.kill()
        await asyncio.gather(*asking)
        await until(lambda: all(seen.of(trace_of(n), "chat") and seen.of(trace_of(n), "POST") for n in slow))
        taken = 0
        for n in slow:
            (door,), (call,) = seen.of(trace_of(n), "POST"), seen.of(trace_of(n), "chat")
            assert (call.worker, call.parent_id) == (here, door.span_id)
            told_to = [place for place in seen.asked[f"{SECRET} {n}"] if place is not None]
            assert {f"{place.trace_id:032x}" for place in told_to} == {trace_of(n)}
            assert len({place.span_id for place in told_to}) == len(told_to) == len(seen.asked[f"{SECRET} {n}"])
            if len(told_to) > 1:
                taken += 1
                assert call.attributes["weir.attempt.mark"] in {"takeover", "restart"}
        assert taken
        assert SECRET.encode() not in seen.raw


async def records(log: LogClient, topic: str) -> list[Record]:
    found: list[Record] = []
    for partition in range(log.partitions(topic)):
        position = 0
        while page := await log.read(Partition(topic, partition), position):  # a page may end before the log does
            found += page
            position = page[-1].offset + 1
    return found


async def test_without_a_collector_all_that_is_told_of_a_request_is_of_one_trace(make_worker: Start) -> None:
    """The client's trace, if it brings one; an invalid traceparent is not even an error."""
    async with observing() as seen:
        worker = await make_worker({}, OPENAI_URL=f"{seen.llm}/v1").start()
        given = {"a": f"00-{trace_of(1)}-{'ab' * 8}-01", "b": "nonsense", "c": None}
        for uid, traceparent in given.items():
            assert await asked(worker, body_of("demo", uid, uid=f"own-{uid}"), traceparent) == 200
            await ended(worker, f"own-{uid}")
        async with log_of(worker) as log:
            requests = {
                record.key: parse(orjson.loads(record.value or b"")["data"]["traceparent"])
                for record in await records(log, topics.CHAT_REQUESTS.name)
            }
            events: list[Record] = []
            async with asyncio.timeout(60):
                while len(events) < 3 * len(given):  # accepted, attempted, completed: they linger for a moment
                    events = await records(log, topics.AGENT_TRACES.name)
                    await asyncio.sleep(0.05)
        assert str(requests[b"own-a"]) == given["a"]
        assert len({place.trace_id for place in requests.values() if place is not None}) == 3
        for event in events:
            assert parse(dict(event.headers)["traceparent"]) == requests[event.key]
        assert {uid: seen.asked[uid] for uid in given} == {uid: [requests[f"own-{uid}".encode()]] for uid in given}


async def test_a_collector_that_is_not_there_costs_an_answer_nothing_and_the_log_a_line(make_worker: Start) -> None:
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }
    worker = await make_worker({}, **env).start()
    for n in range(5):
        assert await asked(worker, body_of("demo", f"away {n}")) == 200
    await until(lambda: "traces are lost" in worker.log.read_text())
    assert await asked(worker, body_of("demo", "away still")) == 200
    async with asyncio.timeout(60):
        assert await worker.stop() == 0
    assert worker.log.read_text().count("traces are lost") == 1
    assert "Traceback" not in worker.log.read_text()
