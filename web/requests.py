"""GET /requests, GET /requests/{uid} and GET /v1/chat/completions/{id}: the state of requests, from any worker."""

import asyncio
import heapq
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from aiohttp import web

from web.errors import REQUEST_ID, json_response
from web.everywhere import Everywhere
from web.queries import integer
from weir.chat.assembling import Assembled, assembled
from weir.chat.decoding import decode
from weir.chat.lifecycle import State
from weir.chat.lookup import Lookup
from weir.chat.reading.following import deliveries
from weir.chat.reading.pages import counted
from weir.chat.reading.stored import stored
from weir.chat.requests import chunks_of
from weir.chat.states import RequestRows
from weir.chat.validation import check_uid
from weir.envelope import Json
from weir.errors import InvalidRequestError, UnavailableError
from weir.peers import FORWARDED
from weir.timing import in_turns
from weir.worker import Worker

LIST_MAX = 1000
LIST_DEFAULT = 100
FRAMES_MAX = 5000  # frames shown of one request
FRAMES_MAX_BYTES = 8 << 20  # by their size in the log; the first frame is shown whatever its size
READ_S = 30.0  # time to read one stored answer


def uid_of(name: str) -> str:
    """Return a request's uid from its name in a path: with or without OpenAI's prefix.

    Raises:
        InvalidRequestError: no request can have that name.
    """
    uid = name.removeprefix("chatcmpl-")
    check_uid(uid)
    return uid


class RequestsView:
    """The views of requests on one worker."""

    def __init__(
        self,
        worker: Worker,
        everywhere: Everywhere,
        lookup: Lookup,
        *,
        rows: RequestRows,
        in_flight: Callable[[], int],
    ) -> None:
        self._worker = worker
        self._rows, self._in_flight = rows, in_flight
        self._everywhere = everywhere
        self._lookup = lookup
        self._assembled = Assembled(worker.settings.answers_kept_bytes)

    # -- one request

    async def show(self, http: web.Request) -> web.Response:
        """Answer with state, timings and attempts; with ``?frames=true`` also with the records in the log."""
        http[REQUEST_ID] = uid = uid_of(http.match_info["uid"])
        row = await self._row(http, uid)
        if http.query.get("frames") in {"true", "1"}:
            row = {**row, "frames": await self._frames(uid, row)}
        return json_response(row)

    async def completion(self, http: web.Request) -> web.Response:
        """Answer with the stored answer as a chat.completion; 202 while it is not finished; the error it ended with."""
        http[REQUEST_ID] = uid = uid_of(http.match_info["id"])
        row = await self._row(http, uid)
        if row.get("last") is None:
            body = {"id": f"chatcmpl-{uid}", "object": "chat.completion.state", "status": row["state"]}
            return json_response(body, status=202, headers={"Retry-After": "1"})
        return json_response(await self._stored(uid, row))

    async def _row(self, http: web.Request, uid: str) -> Json:
        return await self._lookup.row(uid, forwarded=FORWARDED in http.headers)

    async def _frames(self, uid: str, row: Json) -> list[Json]:
        at, first = chunks_of(self._worker.log, uid), row.get("first", row.get("chunks_from"))
        if first is None:
            return []
        frames, size_bytes = list[Json](), 0
        async with aclosing(stored(self._worker.tails, at, uid, position=int(first))) as records:
            async for record in records:
                frame = decode(record)
                if frame is None:
                    continue
                size_bytes += len(record.value or b"")
                if len(frames) >= FRAMES_MAX or (frames and size_bytes > FRAMES_MAX_BYTES):
                    break
                shown = {k: v for k, v in asdict(frame).items() if v not in ("", [], None)}
                frames.append({"offset": record.offset, "timestamp": record.timestamp, **shown})
        return frames

    async def _stored(self, uid: str, row: Json) -> bytes:
        async def read() -> bytes:
            at, first, rid = chunks_of(self._worker.log, uid), int(row["first"]), str(row["rid"])
            news = deliveries(self._worker.tails, at, uid, position=first, idle_s=READ_S, rid=rid, ended=True)
            async with asyncio.timeout(READ_S):
                return await assembled(counted(news, self._worker.tails.memory), uid)

        try:
            return await self._assembled.get((uid, row["rid"], row["last"]), read)
        except TimeoutError:
            raise UnavailableError("The log does not give the answer now; ask again.", code="log_unavailable") from None

    # -- many requests

    async def index(self, http: web.Request) -> web.Response:
        """Answer with rows by ``?state=``, ``?tenant=`` and ``?replay=`` (a run), newest first, up to ``?limit=``."""
        limit, filters = integer(http, "limit", default=LIST_DEFAULT, highest=LIST_MAX), _filters(http)
        rows = await self._own_rows(limit, filters)
        body: Json = {"object": "list", "in_flight": self._in_flight()}  # in flight on this worker
        bodies, asked = await self._everywhere.others(http, [*filters, ("limit", str(limit))])
        for other in bodies:
            rows += other.get("requests", [])
        body |= asked
        body["requests"] = heapq.nlargest(limit, rows, key=_accepted_at)
        return json_response(body)

    async def _own_rows(self, limit: int, filters: list[tuple[str, str]]) -> list[Json]:
        """Return the newest rows of this worker's own partitions."""
        own, found = self._worker.own_partitions(), list[Json]()
        async for uid, row in in_turns(self._rows.items()):
            if chunks_of(self._worker.log, uid).partition in own and _matches(row, filters):
                found.append(row)
        return heapq.nlargest(limit, found, key=_accepted_at)


def _accepted_at(row: Json) -> str:
    return str(row.get("accepted_at") or "")


def _filters(http: web.Request) -> list[tuple[str, str]]:
    state = http.query.get("state")
    if state is not None and state not in set(State):
        raise InvalidRequestError(f"'state' must be one of {', '.join(State)}.", param="state")
    return [(name, http.query[name]) for name in ("state", "tenant", "replay") if name in http.query]


def _matches(row: Json, filters: Iterable[tuple[str, Any]]) -> bool:
    wanted: dict[str, Any] = {"replay": None, **dict(filters)}  # without a filter, requests of runs are left out
    return all(row.get(name) == value for name, value in wanted.items())
