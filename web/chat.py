"""POST /v1/chat/completions: accepts a request, then reads the answer from the log, as SSE or as one JSON object.

Also resumes the stream of an answer, and cancels a request.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Collection
from typing import Any

from aiohttp import web

from web.asking import Asking
from web.connections import body_of
from web.errors import REQUEST_ID, json_response
from web.readers import Reader, Readers
from web.requests import uid_of
from web.streams import Streams
from weir import topics
from weir.chat.accept import parse
from weir.chat.assembling import assembled
from weir.chat.cancelling import Cancelling
from weir.chat.lookup import Lookup
from weir.chat.reading.delivery import Delivery
from weir.chat.reading.following import deliveries
from weir.chat.reading.pages import counted
from weir.chat.reading.resuming import repeated, resumed, uid_at
from weir.chat.requests import ChatRequest, OnDisconnect, chunks_of
from weir.chat.states import first_known, has_ended, start_of
from weir.envelope import Json, new_id
from weir.errors import AnswerGoneError, ApiError, InvalidRequestError, UnavailableError
from weir.log.log import Partition
from weir.worker import Worker

UID = web.RequestKey("uid", str)  # where an HTTP request keeps the uid of the answer that it waits for
ROW_WAIT_S = 0.5  # time limit for a reader that comes back to learn whether readers are counted
JSON_TYPES = frozenset({"application/json", "text/json"})
OFFSET_MAX = 2**63 - 1  # of both logs
EVENT_ID = re.compile(r"(\d{1,5})-(\d{1,19})-(\d{1,9})")


class ChatView:
    """The chat completions endpoints of one worker."""

    def __init__(
        self, worker: Worker, *, lookup: Lookup, readers: Readers, asking: Asking, cancelling: Cancelling
    ) -> None:
        self._worker = worker
        self._settings = worker.settings
        self._cancelling = cancelling
        self._lookup = lookup
        self._readers = readers
        self._asking = asking
        self._streams = Streams(worker)

    # -- a new request

    async def create(self, http: web.Request) -> web.StreamResponse:
        """Accept a request; answer as its ``stream`` field asks."""
        self._check_stopping()
        if http.content_type not in JSON_TYPES:
            raise InvalidRequestError(
                f"Content-Type must be application/json, not {http.content_type}.",
                code="unsupported_media_type",
                status=415,
            )
        body = parse(await body_of(http, within_s=self._settings.http_body_timeout_s))
        key = http.headers.get("Idempotency-Key")
        after = http.headers.get("Last-Event-ID") or None
        if after is not None and key is None:
            body = await self._as_begun(body, after)
        async with self._asking.asked(http, body, key) as request:
            http[UID] = http[REQUEST_ID] = request.uid  # for the drain of a stopping server
            headers = {"X-Request-ID": request.uid}
            if not request.stream:
                return await self._whole(request, headers)
            news = self._deliveries(request, self._streams.idle_s, after)
            return await self._streams.send(
                http,
                request.uid,
                news,
                headers=headers,
                include_usage=request.include_usage,
                resumed=after is not None,
            )

    async def _as_begun(self, body: Any, after: str) -> Any:
        """Return the body of a stream that its client asks for again after an event, with the uid that it began under.

        A client such as fetch-event-source repeats its POST when the connection breaks, without a name if it had none.
        """
        if not isinstance(body, dict) or body.get("stream") is not True or body.get("uid") is not None:
            return body
        partition, offset, _ = _event_id(after, range(self._settings.chat_partitions))
        return {**body, "uid": await uid_at(self._worker.log, partition, offset)}

    def _check_stopping(self) -> None:
        """Refuse new clients on a worker that stops: it could not serve them to the end."""
        if self._worker.draining:
            raise UnavailableError("This worker is stopping; ask again.", code="worker_stopping")

    def _deliveries(
        self, request: ChatRequest, idle_s: float, after: str | None = None
    ) -> AsyncGenerator[Delivery, None]:
        at = chunks_of(self._worker.log, request.uid)
        if after is not None:
            _, offset, place = _event_id(after, (at.partition,))
            return repeated(
                self._worker.log,
                self._worker.tails,
                at,
                request.uid,
                position=request.chunks_from,
                submission=request.event_id,
                offset=offset,
                place=place,
                idle_s=idle_s,
                topic_id=request.chunks_topic_id,
            )
        return deliveries(
            self._worker.tails,
            at,
            request.uid,
            position=request.chunks_from,
            idle_s=idle_s,
            submission=request.event_id,
            topic_id=request.chunks_topic_id,
        )

    async def _whole(self, request: ChatRequest, headers: dict[str, str]) -> web.Response:
        wait_s = self._settings.answer_timeout_s
        with self._streams.ends_are_told(request.uid):
            async with asyncio.timeout(wait_s):
                news = counted(self._deliveries(request, wait_s), self._worker.tails.memory)
                return json_response(await assembled(news, request.uid), headers=headers)

    # -- an old one

    async def resume(self, http: web.Request) -> web.StreamResponse:
        """GET …/{id}/stream: the stream from its start, or after the event whose id the client has."""
        self._check_stopping()
        uid = uid_of(http.match_info["id"])
        http[UID] = http[REQUEST_ID] = uid
        after = http.query.get("after") or http.headers.get("Last-Event-ID")
        at = chunks_of(self._worker.log, uid)
        include_usage = http.query.get("include_usage") in {"true", "1"}
        row: Json | None = None
        if after is None:
            row = await self._lookup.fresh(uid)
            await self._still_kept(at, row)
            news = deliveries(
                self._worker.tails,
                at,
                uid,
                position=start_of(row),
                idle_s=self._streams.idle_s,
                rid=str(row["rid"]) if first_known(row) else None,
                submission=str(row["rid"]),
                own=False,
                ended=has_ended(row),
            )
        else:
            _, offset, place = _event_id(after, (at.partition,))
            found = await resumed(
                self._worker.log, self._worker.tails, at, uid, offset=offset, place=place, idle_s=self._streams.idle_s
            )
            if found is None:
                return web.Response(status=204)  # the client has all of it; an EventSource that gets this stops asking
            news = found
        async with self._readers.reading(await self._later_reader(uid, row)):
            return await self._streams.send(
                http, uid, news, headers={"X-Request-ID": uid}, include_usage=include_usage, resumed=after is not None
            )

    async def _still_kept(self, at: Partition, row: Json) -> None:
        first = row.get("first")  # of a request that has ended; until then, its first offset is not known
        if first is not None and int(first) < (await self._worker.log.bounds(at)).start:
            raise AnswerGoneError

    async def _later_reader(self, uid: str, row: Json | None) -> Reader | None:
        """Return the reader of an old request, where its coming and leaving may matter."""
        name = new_id("reader")
        try:
            async with asyncio.timeout(ROW_WAIT_S):
                row = row or await self._lookup.fresh(uid)
        except (ApiError, TimeoutError):  # the row's owner is away: the request must not be cancelled while it is read
            return Reader(uid=uid, name=name, tenant=self._settings.default_tenant, submission="", leaves=False)
        if row.get("on_disconnect") != OnDisconnect.CANCEL or has_ended(row):
            return None
        return Reader(
            uid=uid,
            name=name,
            tenant=str(row["tenant"]),
            submission=str(row["rid"]),
            position=start_of(row),
        )

    async def cancel(self, http: web.Request) -> web.Response:
        """POST …/{id}/cancel: from any worker. Answers how the request ended, which may be otherwise."""
        http[REQUEST_ID] = uid = uid_of(http.match_info["id"])
        return json_response((await self._cancelling.cancel(uid)).as_json())


def _event_id(given: str, known: Collection[int]) -> tuple[Partition, int, int]:
    """Return partition, offset and place in its frame of an event that a client has, in one of the known partitions."""
    found = EVENT_ID.fullmatch(given)
    partition = -1 if found is None else int(found[1])
    if found is None or partition not in known or int(found[2]) > OFFSET_MAX:
        raise InvalidRequestError(f"'{given[:40]}' is not the id of an event of this stream.", param="Last-Event-ID")
    return Partition(topics.CHAT_CHUNKS.name, partition), int(found[2]), int(found[3])
