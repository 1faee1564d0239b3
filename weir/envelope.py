"""The envelope that every event carries, as JSON, readable with kcat."""

import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

SOURCE = "weir"

Json = dict[str, Any]
"""A parsed JSON object. Its values may be anything that the other side sent, so check them before use."""


TIMES_S = (-62_000_000_000.0, 253_000_000_000.0)
"""Of records, in seconds since the epoch: from the year 5 to 9987."""

REASON_CHARS = 500
"""Of the reason why a record is malformed, which quotes the record: log lines and dead letters hold it."""


class MalformedRecordError(ValueError):
    """A record is not an event of Weir: not JSON, or without the fields of the envelope."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason[:REASON_CHARS])


class Event(NamedTuple):
    """One event of a topic."""

    event_id: str
    event_type: str  # dotted, lower case: subject.verb
    tenant_id: str
    timestamp: str  # ISO 8601, UTC
    source: str
    data: Json


def utc_iso(seconds: float | None = None) -> str:
    """``2026-01-31T12:00:00.000000Z`` for seconds since the epoch (default: now)."""
    microseconds = int((time.time() if seconds is None else seconds) * 1e6)
    return f"{_utc_second(microseconds // 1_000_000)}.{microseconds % 1_000_000:06d}Z"


def is_time(seconds: float | None) -> bool:
    """Whether the time of a record can be written, and a deadline that counts from it.

    A client of Kafka may give a record any time, or none: microseconds in the place of milliseconds, say.
    """
    return seconds is not None and TIMES_S[0] <= seconds <= TIMES_S[1]


def seconds_of(time_: str) -> float | None:
    """Seconds since the epoch of an ISO 8601 time, UTC if it names no zone; None for any other text."""
    try:
        found = datetime.fromisoformat(time_)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


@lru_cache(maxsize=2)  # every frame of a second begins alike
def _utc_second(second: int) -> str:
    return datetime.fromtimestamp(second, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")


def new_id(prefix: str) -> str:
    """A new id such as ``evt-3f2a…``."""
    return f"{prefix}-{uuid.uuid4().hex}"


def dumps(value: Any) -> bytes:
    """A value as JSON, in a copy of its own size: orjson's result keeps 4 KiB at least, for as long as it lives.

    Raises:
        TypeError: the value cannot be written.
    """
    return bytes(memoryview(orjson.dumps(value)))


def encode(event_id: str, event_type: str, tenant_id: str, data: Mapping[str, Any]) -> bytes:
    """An event with the present time, as JSON bytes."""
    return dumps(
        {
            "event_id": event_id,
            "event_type": event_type,
            "tenant_id": tenant_id,
            "timestamp": utc_iso(),
            "source": SOURCE,
            "data": data,
        }
    )


def event_in(value: bytes | None) -> Event | None:
    """The event in a record; None for a record that is no event, which must not stop a reader."""
    try:
        return decode(value)
    except MalformedRecordError:
        return None


def decode(value: bytes | None) -> Event:
    """Read an event.

    Raises:
        MalformedRecordError: the bytes are not such an event; the message names the missing field.
    """
    try:
        fields = orjson.loads(value or b"")
    except orjson.JSONDecodeError as error:
        raise MalformedRecordError(f"not JSON: {error}") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("data"), dict):
        raise MalformedRecordError("not an event: no object in `data`")
    for name in ("event_id", "event_type", "tenant_id"):
        if not isinstance(fields.get(name), str):
            raise MalformedRecordError(f"not an event: `{name}` is not a string")
    try:
        timestamp, source = str(fields.get("timestamp", "")), str(fields.get("source", ""))
    except RecursionError:  # lists within lists within lists
        raise MalformedRecordError("not an event: what it says of itself is nested too deeply") from None
    return Event(fields["event_id"], fields["event_type"], fields["tenant_id"], timestamp, source, fields["data"])
