"""GET /requests, GET /requests/{uid} and GET /v1/chat/completions/{id}: what became of a request, from any worker."""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import asdict
from typing import Any

from aiohttp import web

from answers.completion import Completion
from answers.envelope import Json
from app import topics
from app.core import Weir
from app.errors import InvalidRequestError, NotFoundError, UnavailableError, from_terminal
from app.lifecycle import TERMINAL, State
from app.reading import decode, deliveries
from tables import requests, terminals
from transports.log import LogError, Partition
from transports.partitioner import partition_for
from web.errors import json_response
from web.owners import FORWARDED, Owners

LIST_MAX = 1000
LIST_DEFAULT = 100
FRAMES_MAX = 5000  # frames shown of one request
READ_S = 30.0  # time to read one stored answer


def uid_of(name: str) -> str:
    """A request's uid from its name in a path: with or without OpenAI's prefix."""
    return name.removeprefix("chatcmpl-")


class RequestsView:
    """The table views of one worker."""

    def __init__(self, app: Weir, owners: Owners) -> None:
        self._app = app
        self._owners = owners

    # -- one request

    async def show(self, http: web.Request) -> web.Response:
        """State, timings, attempts; with ``?frames=true`` what stands in the log about it."""
        uid = uid_of(http.match_info["uid"])
        row = await self._row(http, uid)
        if http.query.get("frames") in {"true", "1"}:
            row = {**row, "frames": await self._frames(uid, row)}
        return json_response(row)

    async def completion(self, http: web.Request) -> web.Response:
        """The stored answer as a chat.completion; 202 while it is not finished; the error it ended with."""
        uid = uid_of(http.match_info["id"])
        row = await self._row(http, uid)
        if row["state"] not in TERMINAL or row.get("last") is None:
            body = {"id": f"chatcmpl-{uid}", "object": "chat.completion.state", "status": row["state"]}
            return json_response(body, status=202, headers={"Retry-After": "1"})
        if row.get("error"):
            raise from_terminal(row["error"])
        return json_response(await self._stored(uid, row))

    async def _row(self, http: web.Request, uid: str) -> Json:
        """The row of a request, from here or from its owner.

        Raises:
            NotFoundError: nobody knows it.
            UnavailableError: its owner is away.
        """
        owner = self._owners.of("requests", uid.encode())
        if owner is not None and FORWARDED not in http.headers:
            status, row = await self._owners.ask(owner, f"/requests/{uid}")
            if status == web.HTTPOk.status_code:
                return row
            if status != web.HTTPNotFound.status_code:
                raise UnavailableError("The worker that knows this request cannot tell; ask again.", code="owner_away")
        elif owner is None and (found := self._own_row(uid)) is not None:
            return found
        raise NotFoundError(f"No request '{uid}' is known.", code="request_not_found")

    def _own_row(self, uid: str) -> Json | None:
        """A row of this worker, with what the terminals table knows sooner than the trace events tell."""
        row, ended = requests.get(uid), terminals.get(uid)
        if ended is None:
            return row
        known = {k: v for k, v in asdict(ended).items() if k in {"rid", "tenant", "first", "last"}}
        return {"uid": uid, "attempts": [], **(row or {}), **known, "state": State(ended.status)}

    async def _frames(self, uid: str, row: Json) -> list[Json]:
        at, first = _answer_at(uid), row.get("first", row.get("chunks_from"))
        if first is None:
            return []
        frames: list[Json] = []
        async with self._app.tails.open(at, int(first), key=uid.encode()) as tail:
            records = await tail.look()
        for record in records[:FRAMES_MAX]:
            frame = decode(record)
            if frame is not None:
                shown = {k: v for k, v in asdict(frame).items() if v not in ("", [], None)}
                frames.append({"offset": record.offset, "timestamp": record.timestamp, **shown})
        return frames

    async def _stored(self, uid: str, row: Json) -> Json:
        completion = Completion(uid)
        news = deliveries(
            self._app.tails, _answer_at(uid), uid, position=int(row["first"]), idle_s=READ_S, rid=str(row["rid"])
        )
        try:
            async with asyncio.timeout(READ_S), aclosing(news):
                async for delivery in news:
                    if delivery.restarted:
                        completion = Completion(uid)
                    for chunk in delivery.chunks:
                        completion.add(chunk)
        except (TimeoutError, LogError) as error:
            raise UnavailableError(
                "The log does not give the answer now; ask again.", code="log_unavailable"
            ) from error
        return completion.result()

    # -- many requests

    async def index(self, http: web.Request) -> web.Response:
        """Rows by ``?state=``, ``?tenant=``, newest first, at most ``?limit=``."""
        limit, filters = _limit(http.query.get("limit")), _filters(http)
        rows = [row for row in requests.rows() if _own(self._app, row) and _matches(row, filters)]
        missing: list[str] = []
        if FORWARDED not in http.headers:
            params = [*filters, ("limit", str(limit))]
            others = sorted(self._owners.all() - {self._owners.own}, key=str)
            answers = await asyncio.gather(
                *(self._owners.ask(other, "/requests", params) for other in others), return_exceptions=True
            )
            for other, answer in zip(others, answers, strict=True):
                if isinstance(answer, BaseException):
                    missing.append(str(other))
                else:
                    rows += answer[1].get("requests", [])
        rows.sort(key=lambda row: str(row.get("accepted_at") or ""), reverse=True)
        body: Json = {
            "object": "list",
            "requests": rows[:limit],
            "in_flight": self._app.in_flight(),  # of this worker
            "workers": sorted(map(str, self._owners.all())),
        }
        if missing:
            body["missing_workers"] = missing  # an incomplete answer says so
        return json_response(body)


def _answer_at(uid: str) -> Partition:
    return Partition(topics.CHAT_CHUNKS.name, partition_for(uid.encode(), topics.CHAT_PARTITIONS))


def _own(app: Weir, row: Json) -> bool:
    return partition_for(str(row["uid"]).encode(), topics.CHAT_PARTITIONS) in app.own_partitions()


def _limit(given: str | None) -> int:
    if given is None:
        return LIST_DEFAULT
    if not given.isdigit() or not 1 <= int(given) <= LIST_MAX:
        raise InvalidRequestError(f"'limit' must be an integer from 1 to {LIST_MAX}.", param="limit")
    return int(given)


def _filters(http: web.Request) -> list[tuple[str, str]]:
    state = http.query.get("state")
    if state is not None and state not in set(State):
        raise InvalidRequestError(f"'state' must be one of {', '.join(State)}.", param="state")
    return [(name, http.query[name]) for name in ("state", "tenant") if name in http.query]


def _matches(row: Json, filters: Iterable[tuple[str, Any]]) -> bool:
    return all(row.get(name) == value for name, value in filters)
