"""``--where field=value``: conditions on the records of a range."""

from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson

from weir import envelope
from weir.envelope import Event, Json
from weir.log.log import Record
from weir.ranges.checks import conditions
from weir.ranges.errors import UsageError

DATA: Final = "data."  # and names with dots between them: a field of the event's data, however deep


def _at(data: Json, path: str) -> Any:
    found: Any = data
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _first(*paths: str) -> Callable[[Event], Any]:
    return lambda event: next((found for path in paths if (found := _at(event.data, path)) is not None), None)


FIELDS: Final[dict[str, Callable[[Event], Any]]] = {
    "event_id": lambda event: event.event_id,
    "event_type": lambda event: event.event_type,
    "tenant": lambda event: event.tenant_id,
    "source": lambda event: event.source,
    "uid": _first("uid"),
    "model": _first("model", "body.model"),
    "username": _first("username"),
    "session_id": _first("session_id", "body.metadata.session_id"),
    "ingress": _first("ingress"),
}


class Where:
    """Conditions that must all hold.

    Args:
        given: each ``field=value``, as it was written. Numbers, true, false and null are compared as JSON.

    Raises:
        UsageError: a text is not a condition, or there is no such field; the message names the known fields.
    """

    def __init__(self, given: Iterable[str] = ()) -> None:
        asked = conditions(given)
        key = asked.pop("key", None)
        self._key = None if key is None else key.encode()
        self._fields = [(_field(name), value) for name, value in asked.items()]
        self.tenant = asked.get("tenant")  # if the conditions name a single tenant

    def matches(self, record: Record) -> bool:
        """Whether a record matches. A record that is not an event has only a key."""
        if self._key is not None and record.key != self._key:
            return False
        if not self._fields:
            return True
        event = envelope.event_in(record.value)
        return event is not None and all(_text(field(event)) == value for field, value in self._fields)


def _field(name: str) -> Callable[[Event], Any]:
    if name.startswith(DATA) and len(name) > len(DATA):
        return _first(name.removeprefix(DATA))
    if name not in FIELDS:
        names = ", ".join(["key", *FIELDS])
        raise UsageError(f"--where: there is no field {name[:80]!r}; there are {names}, and data.… for any other")
    return FIELDS[name]


def _text(value: Any) -> str | None:
    """A value as text; None for one that is nested too deeply to be written, which matches no condition."""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return None
