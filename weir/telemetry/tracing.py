"""One trace of a request, from its door to its last token, over all workers that have to do with it.

The door opens a span, and its place in the trace travels in the request's record (``ChatRequest.traceparent``). The
worker that calls the LLM, whichever it is, opens the call's span under it, and sends the place of that one to the LLM.
A takeover is a second call in the same trace.

Spans are recorded by OpenTelemetry, where the environment asks for it in OpenTelemetry's own words (docs/tracing.md).
Else what a client sent is passed on, and a request that came without gets a trace id of its own. There is one
`tracing` in a process, as there is one worker; nothing in it raises or waits.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import Enum
from typing import Any

from weir.envelope import Json
from weir.llm.upstream import TRACEPARENT
from weir.telemetry.traceparent import mint, parse

logger = logging.getLogger(__name__)

STOP_S = 3.0  # for the last spans to get out
ASKED_BY = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")

Value = str | int | float | bool


class Kind(Enum):
    """What a door is, in OpenTelemetry's words."""

    SERVER = "server"  # somebody waits for the answer
    CONSUMER = "consumer"  # a message was left


class Span:
    """A part of a trace. This one is recorded nowhere."""

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def tell(self, **attributes: Value) -> None:
        """Add attributes; ``__`` in a name is a dot."""

    def failed(self, error_type: str) -> None:
        """It did not go well. The type is of few: no message, for it may quote what a user said."""


class Call(Span):
    """The part of a trace that is a call of the LLM."""

    def chunk(self, chunk: Json) -> None:
        """The LLM says something."""


class Recorder:
    """Who records spans: nobody."""

    @contextmanager
    def door(self, name: str, kind: Kind, given: object, attributes: Mapping[str, Value]) -> Iterator[Span]:
        """While a door has a request."""
        del name, kind, attributes
        yield Span(str(parse(given) or mint()))

    @contextmanager
    def call(self, given: str | None, body: Json, attributes: Mapping[str, Value]) -> Iterator[Call]:
        """While the LLM is called."""
        del body, attributes
        place = parse(given)
        yield Call(None if place is None else str(place))

    def shutdown(self) -> None:
        """Send what is left; blocks for as long as that takes."""


class Tracing:
    """The traces of this process."""

    def __init__(self) -> None:
        self._recorder = Recorder()

    def use(self, recorder: Recorder) -> None:
        """Record with this one."""
        self._recorder = recorder

    def start(self, environ: Mapping[str, str], *, worker: str, upstream_url: str) -> None:
        """Record if the environment asks for it. What stands in the way is told in a line; it stops nothing.

        Args:
            environ: of the process; OpenTelemetry reads the rest of its settings there by itself.
            worker: the name of this worker.
            upstream_url: of the LLM.
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
        except Exception as error:  # noqa: BLE001 -- whatever OpenTelemetry does not like about its settings
            logger.warning("traces are asked for, but OpenTelemetry does not start: %s", error)

    async def stop(self) -> None:
        """Send what is left, if that does not take long."""
        recorder, self._recorder = self._recorder, Recorder()
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            recorder.shutdown()
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done.set)

        # Not one of the pool's threads: Python waits for those when it ends, however long.
        threading.Thread(target=end, name="traces: the last", daemon=True).start()
        try:
            async with asyncio.timeout(STOP_S):
                await done.wait()
        except TimeoutError:
            logger.warning("the last traces did not get out within %g s", STOP_S)

    # -- spans

    @contextmanager
    def http(self, method: str, route: str, given: object) -> Iterator[Span]:
        """While the HTTP door has a request, to the end of its answer.

        Args:
            method: of the request.
            route: its template.
            given: the client's traceparent, if any.
        """
        attributes: dict[str, Value] = {"http.request.method": method, "http.route": route, "url.path": route}
        with self._recorder.door(f"{method} {route}", Kind.SERVER, given, attributes) as span:
            yield span

    @contextmanager
    def message(self, queue: str, given: object) -> Iterator[Span]:
        """While RabbitMQ's door has a message, until it is in the log.

        Args:
            queue: where it came from.
            given: the sender's traceparent, if any.
        """
        attributes: dict[str, Value] = {
            "messaging.system": "rabbitmq",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": queue,
        }
        with self._recorder.door(f"process {queue}", Kind.CONSUMER, given, attributes) as span:
            yield span

    @contextmanager
    def call(self, given: str | None, body: Json, mark: str) -> Iterator[Call]:
        """While the LLM is called; the call tells the LLM its place in the trace.

        Args:
            given: the request's traceparent.
            body: what the LLM is asked. Of it only the model and numbers are told.
            mark: of the attempt: begin, takeover, restart.
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
