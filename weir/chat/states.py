"""The rows of the requests table, folded from agent-trace-events: the state of each request, for people.

No decision about an answer reads them. Feedback waits until a row shows the end of its request, and finally asks the
terminals table.
"""

from collections.abc import MutableMapping
from typing import Any

import orjson

from weir import limits
from weir.chat.lifecycle import TERMINAL, Happening, State, transition
from weir.envelope import Event, Json, dumps
from weir.table_rows import TableRows

ATTEMPTS_SHOWN = 20  # of one request; the log has all of them
HISTORY_SHOWN = 10  # earlier ends of one that came back from the dead letters

_CONSTANT = ("rid", "model", "username", "session_id", "ingress", "stream", "accepted_at")
_OF_REPLAY = ("replay", "replay_of")
_OF_END = ("timings", "latency_ms", "usage", "cost_usd", "chunks", "finish_reason", "error", "first", "last")
_OF_FIRST = ("rid", "chunks_from")  # only the chat agent knows which submission of the uid came first


RequestRows = TableRows[Json]
"""The requests, by uid."""


def request_rows(table: MutableMapping[bytes, bytes], max_bytes: int) -> RequestRows:
    """Return the rows of a table of requests."""
    return TableRows("requests", table, encode=dumps, decode=_decode, max_bytes=max_bytes)


def _decode(uid: str, value: bytes) -> Json:
    row: Json = orjson.loads(value)
    lists = [row["attempts"], row.get("history", [])]
    named = row["uid"] == uid and isinstance(row["tenant"], str)
    if named and State(row["state"]) and all(isinstance(one, dict) for some in lists for one in some):
        return row
    raise TypeError("fields of other types")


def first_known(row: Json) -> bool:
    """Whether the row's ``rid`` is the request's, and not just that of one submission of its uid."""
    return bool(row["attempts"]) or has_ended(row)


def has_ended(row: Json) -> bool:
    """Whether the request has ended, which its state may not show yet (`weir.chat.lookup`)."""
    return row["state"] in TERMINAL or row.get("last") is not None


def start_of(row: Json) -> int:
    """Return an offset of chat-chunks; no record about the request is older."""
    known = [row[name] for name in ("first", "chunks_from") if row.get(name) is not None]
    return int(known[0]) if known else 0


def superseded(row: Json | None, rid: object) -> bool:
    """Whether a request has come back from the dead letters since the submission ``rid`` of it ended."""
    return row is not None and any(life["rid"] == rid for life in row.get("history", ()))


def apply(row: Json | None, event: Event) -> Json | None:
    """Return the row after one trace event; None where the event is not a legal step from the row's state.

    Pure. The steps are those of ``weir.chat.lifecycle``; timings are ISO 8601 times and milliseconds. Values of the
    event are cut, so that a row takes 300 kB at most, with events of any writer: a row has to fit into a record of its
    changelog.
    """
    event = event._replace(data={name: _cut(name, value) for name, value in event.data.items()})
    data = event.data
    try:
        happening = Happening(event.event_type)
    except ValueError:
        return None
    if superseded(row, data.get("rid")):
        return None
    new: Json = {"uid": data.get("uid"), "tenant": limits.cut(event.tenant_id), "state": State.UNKNOWN, "attempts": []}
    row = dict(row or new)
    after = transition(State(row["state"]), happening)
    if after is None or (happening is Happening.REDRIVEN and row.get("rid") == data.get("rid")):  # the same event again
        return None
    if happening is Happening.REDRIVEN:
        row = _anew(row, data)
    row["state"] = after
    for name in _CONSTANT:
        if row.get(name) is None:
            row[name] = data.get(name)
    row |= {name: data[name] for name in _OF_REPLAY if data.get(name) is not None}
    if row.get("session_id") is None and data.get("session_id") is not None:
        row["session_id"] = data["session_id"]
    if happening is Happening.ACCEPTED:
        # A second submission of the uid knows a later position than the one where the answer starts.
        row.setdefault("chunks_from", data.get("chunks_from"))
        row.setdefault("on_disconnect", data.get("on_disconnect"))
        row.setdefault("prompt_chars", data.get("prompt_chars"))
        return row
    row |= {name: data[name] for name in _OF_FIRST if data.get(name) is not None}
    return row if happening is Happening.REDRIVEN else _answered(row, happening, event)


def _cut(name: str, value: Any) -> Any:
    if name == "error" and value is not None:
        return limits.error_object(value if isinstance(value, dict) else {"message": value})
    if isinstance(value, dict) or name in {"usage", "timings"}:
        return limits.small_object(value)
    return value if value is None or isinstance(value, bool | int | float) else limits.name(value)


def _answered(row: Json, happening: Happening, event: Event) -> Json:
    """Return the row after a call of the LLM began or ended."""
    data = event.data
    if happening is Happening.ATTEMPTED:
        attempt = {name: data.get(name) for name in ("attempt", "worker", "mark", "said")}
        attempt["started_at"] = event.timestamp
        if attempt in row["attempts"]:  # after a crash the same event may come again
            return row
        return row | {"attempts": [*row["attempts"], attempt][-ATTEMPTS_SHOWN:]}
    of_end = {name: data.get(name) for name in _OF_END}
    return row | {"ended_at": data.get("ended_at") or event.timestamp, **of_end}


def _anew(row: Json, data: Json) -> Json:
    """Return the row of a request that is answered again: the figures of its earlier end become history.

    After a crash the event of that end may be missing: then the end in the worker's table of ends counts.
    """
    error = row.get("error") or {}
    shown = row["state"] in TERMINAL
    life = {
        "rid": row["rid"] if first_known(row) else data.get("replaces"),
        "state": row["state"] if shown else data.get("replaced_status") or row["state"],
        "ended_at": row.get("ended_at") if shown else data.get("replaced_ended_at"),
        "error": error.get("code") or error.get("type"),
        "attempts": len(row["attempts"]),
    }
    gone = {*_OF_END, *_OF_FIRST, "accepted_at", "ended_at"}
    kept = {name: value for name, value in row.items() if name not in gone}
    history = [*row.get("history", ()), life][-HISTORY_SHOWN:]
    return kept | {"attempts": [], "history": history, "on_disconnect": data.get("on_disconnect")}
