"""Where each request stands, for people: folded from agent-trace-events through the table of legal transitions.

No decision about an answer reads it. Feedback waits for its word of an end, and asks the terminals table at last.
"""

from collections.abc import Iterator
from typing import cast

import orjson

from answers.envelope import Event, Json, dumps
from app import app
from app.lifecycle import TERMINAL, Happening, State, transition
from app.topics import CHAT_PARTITIONS

ATTEMPTS_SHOWN = 20  # of one request; the log has them all

table = app.Table(
    "requests",
    key_type=bytes,
    value_type=bytes,
    partitions=CHAT_PARTITIONS,
    help="State, timings and attempts of each request.",
)

_CONSTANT = ("rid", "model", "username", "session_id", "ingress", "stream", "accepted_at")
_OF_END = ("timings", "latency_ms", "usage", "cost_usd", "chunks", "finish_reason", "error", "first", "last")
_OF_FIRST = ("rid", "chunks_from")  # which submission of the uid came first, only the chat agent knows


def get(uid: str) -> Json | None:
    """The row of a request in a partition that this worker owns."""
    value = table.get(uid.encode())
    return None if value is None else cast("Json", orjson.loads(value))


def put(uid: str, row: Json) -> None:
    """Write a row. Must run under an event of the uid's partition."""
    table[uid.encode()] = dumps(row)


def forget(uid: str) -> None:
    """Remove a row. Must run under an event of the uid's partition."""
    table.pop(uid.encode(), None)


def rows() -> Iterator[Json]:
    """All rows of the partitions that this worker owns (and of those it stands by for), in no order."""
    for value in list(table.values()):
        yield orjson.loads(value)


def first_known(row: Json) -> bool:
    """Whether the row's ``rid`` is the request's, and not just one of the submissions of its uid."""
    return bool(row["attempts"]) or row["state"] in TERMINAL


def apply(row: Json | None, event: Event) -> Json | None:
    """The row after one trace event; None where the event is no legal step from where the row stands.

    Pure. The steps are those of ``app.lifecycle``; timings are ISO 8601 times and milliseconds.
    """
    data = event.data
    try:
        happening = Happening(event.event_type)
    except ValueError:
        return None
    row = dict(row or {"uid": data.get("uid"), "tenant": event.tenant_id, "state": State.UNKNOWN, "attempts": []})
    after = transition(State(row["state"]), happening)
    if after is None:
        return None
    row["state"] = after
    for name in _CONSTANT:
        if row.get(name) is None:
            row[name] = data.get(name)
    if row.get("session_id") is None and data.get("session_id") is not None:
        row["session_id"] = data["session_id"]
    if happening is Happening.ACCEPTED:
        # A second submission of the uid knows a later position than the one where the answer starts.
        row.setdefault("chunks_from", data.get("chunks_from"))
        row.setdefault("on_disconnect", data.get("on_disconnect"))
        row.setdefault("prompt_chars", data.get("prompt_chars"))
        return row
    row |= {name: data[name] for name in _OF_FIRST if data.get(name) is not None}
    if happening is Happening.ATTEMPTED:
        attempt = {name: data.get(name) for name in ("attempt", "worker", "mark", "said")}
        attempt["started_at"] = event.timestamp
        if attempt not in row["attempts"]:  # after a crash the same event may come again
            row["attempts"] = [*row["attempts"], attempt][-ATTEMPTS_SHOWN:]
    else:
        row["ended_at"] = data.get("ended_at") or event.timestamp
        for name in _OF_END:
            row[name] = data.get(name)
    return row
