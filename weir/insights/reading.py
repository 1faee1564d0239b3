"""Reads the values of a record for the windows: a request that ended, a signal, or a tick, with its name and time."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from weir.envelope import Event, MalformedRecordError, seconds_of
from weir.events.catalogue import data_of
from weir.events.metrics import MetricsRecorded, MetricsTick
from weir.events.signals import SignalRecorded, SignalsTick

TENANT: Final = re.compile(
    r"[A-Za-z0-9._-]{1,64}"
)  # as doors accept it; it must not hold a colon, for keys are split there
MODEL_CHARS = 256
COST_MAX_USD, TOKENS_MAX = 1e6, 10**9  # of one request; more is an error, and sums must fit into 64 bits


class RecordSource(StrEnum):
    """The source of a record."""

    METRICS = "metrics"
    SIGNALS = "signals"


SOURCES: Final = {MetricsRecorded.TOPIC: RecordSource.METRICS, SignalRecorded.TOPIC: RecordSource.SIGNALS}
"""The source of each topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Values to add up in a window."""

    name: str  # tenant:model, as the record's key
    event_id: str
    at_ms: int  # the time of the event, since the epoch
    data: MetricsRecorded | SignalRecorded


@dataclass(frozen=True, slots=True)
class Ticked:
    """The clock of a source: no older record comes."""

    at_ms: int


def read(event: Event) -> Measured | Ticked | None:
    """Read the values of an event; None if the windows take none from it.

    Requests of a replay do not count, for they served no client. Nor does ``metrics.quality``: it holds the same as the
    signal of its feedback, and would be counted twice. So would a signal that was published again.

    Raises:
        MalformedRecordError: a field is wrong; the message names it.
    """
    if event.data.get("replay") is not None or event.data.get("rebuilt") is not None:
        return None
    match event.event_type:
        case MetricsRecorded.EVENT_TYPE:
            metrics = data_of(event, MetricsRecorded)
            _check_sums(metrics)
            return _measured(event, metrics, time_ms("ended_at", metrics.ended_at))
        case SignalRecorded.EVENT_TYPE:
            signal = data_of(event, SignalRecorded)
            return _measured(event, signal, time_ms("given_at", signal.given_at))
        case MetricsTick.EVENT_TYPE:
            return Ticked(time_ms("at", data_of(event, MetricsTick).at))
        case SignalsTick.EVENT_TYPE:
            return Ticked(time_ms("at", data_of(event, SignalsTick).at))
        case _:
            return None


def time_ms(field: str, value: str) -> int:
    """Convert an ISO 8601 time to milliseconds since the epoch; UTC if it names no zone.

    Raises:
        MalformedRecordError: the text is not a time.
    """
    found = seconds_of(value)
    if found is None:
        raise MalformedRecordError(f"`data.{field}`: not an ISO 8601 time")
    return int(found * 1000)


def _measured(event: Event, data: MetricsRecorded | SignalRecorded, at_ms: int) -> Measured:
    if not TENANT.fullmatch(event.tenant_id):
        raise MalformedRecordError("`tenant_id`: 1 to 64 letters, digits, dots, dashes and underscores")
    if not 1 <= len(data.model) <= MODEL_CHARS:
        raise MalformedRecordError(f"`data.model`: 1 to {MODEL_CHARS} characters")
    return Measured(name=data.record_key(event.tenant_id), event_id=event.event_id, at_ms=at_ms, data=data)


def _check_sums(data: MetricsRecorded) -> None:
    if data.cost_usd is not None and not 0 <= data.cost_usd <= COST_MAX_USD:
        raise MalformedRecordError(f"`data.cost_usd`: 0 to {COST_MAX_USD:g}")
    for field in ("input_tokens", "output_tokens"):
        count = getattr(data, field)
        if count is not None and not 0 <= count <= TOKENS_MAX:
            raise MalformedRecordError(f"`data.{field}`: 0 to {TOKENS_MAX}")
