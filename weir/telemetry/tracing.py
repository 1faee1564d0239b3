"""One trace for each request, from its door to its last token, across all workers that take part.

The door opens a span, and its place in the trace travels in the request's record (``ChatRequest.traceparent``). The
worker that calls the LLM, whichever it is, opens the call's span under it, and sends the call's place to the LLM. A
takeover is a second call in the same trace.

Spans are recorded by OpenTelemetry, if the environment asks for it in OpenTelemetry's own variables (docs/tracing.md).
Otherwise a client's trace context is passed on, and a request without one gets a trace id of its own. There is one
`tracing` in a process, as there is one worker; none of its methods raises or waits.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from weir.envelope import Json
from weir.llm.upstream import TRACEPARENT
from weir.telemetry.spans import CallSpan, Recorder, Span, SpanKind, Value

logger = logging.getLogger(__name__)

STOP_S = 3.0  # for the last spans to be sent
ASKED_BY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")


class Tracing:
    """The traces of this process."""

    def __init__(self) -> None:
        self._recorder = Recorder()

    def use(self, recorder: Recorder) -> None:
        """Record spans with this recorder from now on."""
        self._recorder = recorder

    def start(self, environ: Mapping[str, str], *, worker: str, upstream_url: str) -> None:
        """Record spans if the environment asks for it. A problem with that is logged in one line, and nothing stops.

        Args:
            environ: the environment of the process; OpenTelemetry reads the rest of its settings there by itself.
            worker: the name of this worker.
            upstream_url: the URL of the LLM.
        """
        if not asked(environ):
            return
        try:
            from weir.telemetry.otel import exporting
        except ImportError as error:
            logger.warning(
                "traces are asked for, but OpenTelemetry is not installed (%s): make install EXTRAS=otel", error
            )
            return
        try:
            self._recorder = exporting(environ, worker=worker, upstream_url=upstream_url)
        except Exception as error:  # noqa: BLE001 - whatever OpenTelemetry objects to in its settings
            logger.warning("traces are asked for, but OpenTelemetry does not start: %s", error)

    async def stop(self) -> None:
        """Send the remaining spans, within `STOP_S`."""
        recorder, self._recorder = self._recorder, Recorder()
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            recorder.shutdown()
            with suppress(RuntimeError):  # the loop is closed, and so has no waiter left
                loop.call_soon_threadsafe(done.set)

        # Not a thread of the pool: Python waits for those when it ends, however long.
        threading.Thread(target=end, name="traces: the last", daemon=True).start()
        try:
            async with asyncio.timeout(STOP_S):
                await done.wait()
        except TimeoutError:
            logger.warning("the last traces were not sent within %g s", STOP_S)

    # -- spans

    @contextmanager
    def http(self, method: str, route: str, given: object) -> Iterator[Span]:
        """Open a span while the HTTP door handles a request, to the end of its answer.

        Args:
            method: the method of the request.
            route: the template of its route.
            given: the client's traceparent, if any.
        """
        attributes: dict[str, Value] = {"http.request.method": method, "http.route": route, "url.path": route}
        with self._recorder.door(f"{method} {route}", SpanKind.SERVER, given, attributes) as span:
            yield span

    @contextmanager
    def message(self, queue: str, given: object) -> Iterator[Span]:
        """Open a span while the RabbitMQ door handles a message, until its request is in the log.

        Args:
            queue: the queue of the message.
            given: the sender's traceparent, if any.
        """
        attributes: dict[str, Value] = {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": queue,
        }
        with self._recorder.door(f"process {queue}", SpanKind.CONSUMER, given, attributes) as span:
            yield span

    @contextmanager
    def call(self, given: str | None, body: Json, mark: str) -> Iterator[CallSpan]:
        """Open a span while the LLM is called; the call sends the LLM its place in the trace.

        Args:
            given: the request's traceparent.
            body: the body of the call. Only the model and numbers are recorded.
            mark: the mark of the attempt: begin, takeover, restart.
        """
        with self._recorder.call(given, body, {"weir.attempt.mark": mark}) as call:
            token = TRACEPARENT.set(call.traceparent)
            try:
                yield call
            finally:
                TRACEPARENT.reset(token)


def asked(environ: Mapping[str, Any]) -> bool:
    """Whether the environment asks for traces, in OpenTelemetry's words."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return any(environ.get(name) for name in ASKED_BY) and environ.get("OTEL_TRACES_EXPORTER") != "none"


tracing = Tracing()
