"""GET /thinking/{trace_id} and the paths under it: how an answer came about, from any worker.

The trace of an ended answer is read from agent-thinking-events; while an answer is generated, the steps are made from
its text so far, by the same functions.
"""

import asyncio

from aiohttp import web

from web.errors import json_response
from web.requests import uid_of
from weir import envelope, topics
from weir.chat.lifecycle import TERMINAL
from weir.chat.lookup import Lookup
from weir.chat.notes import Notes
from weir.chat.reading.stored import noted
from weir.chat.requests import chunks_of
from weir.chat.states import first_known
from weir.chat.thinking import ThinkingEvents
from weir.envelope import Event, Json, seconds_of
from weir.errors import UnavailableError
from weir.events.thinking import ThinkingApiCall, ThinkingCompleted, ThinkingStarted, ThinkingStep
from weir.log.log import partition_of
from weir.peers import FORWARDED
from weir.worker import Worker

READ_S = 10.0  # time to find one trace
RECORDS_MAX = 50_000  # records that are read for one trace
PAGE = 1000
EARLIER_S = 5.0  # clocks of workers differ; CLOCKS_APART_S earlier, RECORDS_MAX might be others' records
TRUE = frozenset({"true", "1"})
METRICS = (
    "status",
    "outcome",
    "total_duration_ms",
    "total_input_tokens",
    "total_output_tokens",
    "total_thinking_tokens",
    "total_cost_usd",
    "model_ids_used",
    "path_taken",
    "step_count",
    "api_call_count",
    "avg_confidence",
)


class ThinkingView:
    """The thinking endpoints of one worker."""

    def __init__(self, worker: Worker, lookup: Lookup, thinking_events: ThinkingEvents) -> None:
        self._worker, self._thinking_events = worker, thinking_events
        self._lookup = lookup

    async def show(self, http: web.Request) -> web.Response:
        """Answer with the trace; with ``?include_steps=true`` and ``?include_api_calls=true`` also with its parts."""
        trace = await self._trace(http)
        steps, calls = trace.pop("steps"), trace.pop("api_calls")
        if http.query.get("include_steps") in TRUE:
            trace["steps"] = steps
        if http.query.get("include_api_calls") in TRUE:
            trace["api_calls"] = calls
        return json_response(trace)

    async def steps(self, http: web.Request) -> web.Response:
        """Answer with the thoughts, calls and texts, in order."""
        return await self._part(http, "steps")

    async def api_calls(self, http: web.Request) -> web.Response:
        """Answer with the LLM calls."""
        return await self._part(http, "api_calls")

    async def metrics(self, http: web.Request) -> web.Response:
        """Answer with the sums."""
        trace = await self._trace(http)
        return json_response({"trace_id": trace["trace_id"], **{name: trace.get(name) for name in METRICS}})

    async def _part(self, http: web.Request, name: str) -> web.Response:
        trace = await self._trace(http)
        return json_response({"trace_id": trace["trace_id"], "status": trace["status"], name: trace[name]})

    async def _trace(self, http: web.Request) -> Json:
        uid = uid_of(http.match_info["id"])
        row = await self._lookup.row(uid, forwarded=FORWARDED in http.headers)
        try:
            async with asyncio.timeout(READ_S):
                trace = folded(await self._events(uid, row))
                # the answer goes on, or the event of its end is not there yet
                if trace is None or "completed_at" not in trace:
                    trace = {**(trace or {}), **await self._so_far(uid, row)}
        except TimeoutError:
            raise UnavailableError("The log does not give the trace now; ask again.", code="log_unavailable") from None
        return {"tenant_id": row["tenant"], **trace}

    async def _so_far(self, uid: str, row: Json) -> Json:
        """Return the trace of an answer so far, from the answer itself."""
        notes = Notes()
        if first_known(row):
            at, position = chunks_of(self._worker.log, uid), row.get("first", row.get("chunks_from")) or 0
            notes = await noted(self._worker.tails, at, uid, position=int(position), rid=str(row["rid"]))
        steps = [step.model_dump(mode="json") for step in self._thinking_events.steps(uid, notes)]
        path = [step["step_type"] for step in steps]
        return {
            "trace_id": uid,
            "status": row["state"] if row["state"] in TERMINAL else "active",
            "started_at": row.get("accepted_at"),
            "steps": steps,
            "api_calls": [],
            "step_count": len(steps),
            "path_taken": path,
        }

    async def _events(self, uid: str, row: Json) -> list[Event]:
        """Return the events about a request, each once."""
        log, key = self._worker.log, uid.encode()
        at = partition_of(log, topics.AGENT_THINKING.name, key)
        since = seconds_of(str(row.get("accepted_at")))
        position = 0 if since is None else await log.offset_at(at, since - EARLIER_S)
        found: dict[str, Event] = {}
        for _ in range(RECORDS_MAX // PAGE):
            records = await log.read(at, position, limit=PAGE)
            for record in records:
                event = envelope.event_in(record.value) if record.key == key else None
                if event is not None:
                    found.setdefault(event.event_id, event)
            if not records or any(event.event_type == ThinkingCompleted.EVENT_TYPE for event in found.values()):
                break
            position = records[-1].offset + 1
        return list(found.values())


def folded(events: list[Event]) -> Json | None:
    """Fold the events of one trace; None if there are none."""
    if not events:
        return None
    trace: Json = {"status": "active", "steps": [], "api_calls": []}
    for event in events:
        if event.event_type == ThinkingStep.EVENT_TYPE:
            trace["steps"].append(event.data)
        elif event.event_type == ThinkingApiCall.EVENT_TYPE:
            trace["api_calls"].append(event.data)
        elif event.event_type in {ThinkingStarted.EVENT_TYPE, ThinkingCompleted.EVENT_TYPE}:
            trace |= event.data
    trace["steps"].sort(key=lambda step: step.get("index", 0))
    return {"trace_id": events[0].data.get("trace_id"), **trace}
