"""``--where field=value``: which records of a range are meant."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from answers import envelope
from answers.envelope import Event, Json, MalformedRecordError
from replays.errors import UsageError
from transports.log import Record

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
        conditions: each ``field=value``, as it was written. Numbers, true, false and null are meant by their JSON.

    Raises:
        UsageError: there is no such field; the message names those that are.
    """

    def __init__(self, conditions: Sequence[str] = ()) -> None:
        self._key: list[bytes] = []
        self._fields: list[tuple[Callable[[Event], Any], str]] = []
        self.tenant: str | None = None  # where only one is asked for
        for condition in conditions:
            self._add(*_parsed(condition))

    def _add(self, field: str, value: str) -> None:
        if field == "key":
            self._key.append(value.encode())
            return
        if field == "tenant":
            self.tenant = value
        self._fields.append((_first(field.removeprefix(DATA)) if field.startswith(DATA) else FIELDS[field], value))

    def matches(self, record: Record) -> bool:
        """Whether a record is meant. One that is no event has a key and nothing else."""
        if any(record.key != key for key in self._key):
            return False
        if not self._fields:
            return True
        try:
            event = envelope.decode(record.value)
        except MalformedRecordError:
            return False
        return all(_text(field(event)) == value for field, value in self._fields)


def _parsed(condition: str) -> tuple[str, str]:
    field, equals, value = condition.partition("=")
    field = field.strip()
    if not equals:
        raise UsageError(f"--where: {condition[:80]!r} is no condition: write it as field=value")
    if field != "key" and field not in FIELDS and not (field.startswith(DATA) and len(field) > len(DATA)):
        names = ", ".join(["key", *FIELDS])
        raise UsageError(f"--where: there is no field {field[:80]!r}; there are {names}, and data.… for any other")
    return field, value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
