"""Spans, and what opens them. The classes here record nothing, and only pass a trace id on.

`weir.telemetry.tracing` calls them; `weir.telemetry.otel` has the classes that record.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum

from weir.envelope import Json
from weir.telemetry.traceparent import mint, parse

Value = str | int | float | bool


class SpanKind(Enum):
    """The kind of a door, in OpenTelemetry's words."""

    SERVER = "server"  # a client waits for the answer
    CONSUMER = "consumer"  # a client has left a message


class Span:
    """A part of a trace. This class records nothing."""

    def __init__(self, traceparent: str | None) -> None:
        self.traceparent = traceparent

    def tell(self, **attributes: Value) -> None:
        """Add attributes; ``__`` in a name is a dot."""

    def failed(self, error_type: str) -> None:
        """Mark the span as failed. The type is one of few: no message, for it may quote a user's text."""


class CallSpan(Span):
    """The part of a trace that is a call of the LLM."""

    def chunk(self, chunk: Json) -> None:
        """Take a chunk from the LLM."""


class Recorder:
    """Opens spans. This class records none."""

    @contextmanager
    def door(self, name: str, kind: SpanKind, given: object, attributes: Mapping[str, Value]) -> Iterator[Span]:
        """Open a span while a door handles a request."""
        del name, kind, attributes
        yield Span(str(parse(given) or mint()))

    @contextmanager
    def call(self, given: str | None, body: Json, attributes: Mapping[str, Value]) -> Iterator[CallSpan]:
        """Open a span while the LLM is called."""
        del body, attributes
        place = parse(given)
        yield CallSpan(None if place is None else str(place))

    def shutdown(self) -> None:
        """Send the remaining spans; blocks for as long as that takes."""
