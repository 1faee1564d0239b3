"""A new request over HTTP, from its body to the end of its reading: its client, its readers, and when they leave."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from web.auditing import caller_of
from web.bodies import UNSENT
from web.client_retries import ClientRetries, is_retry
from web.errors import REQUEST_ID
from web.first_tries import FirstTries, RequestIdentity
from web.readers import Reader, Readers
from web.tracing import TRACEPARENT
from weir.chat.accept import Door
from weir.chat.requests import THINK_TAGS_HEADER, ChatRequest, OnDisconnect
from weir.errors import InDoubtError, InvalidRequestError, UnavailableError
from weir.events.ingress import Ingress
from weir.log.log import LogError
from weir.worker import Worker


@dataclass(frozen=True, slots=True)
class _Call:
    """The body and headers that a client sent."""

    http: web.Request
    body: Any
    key: str | None  # Idempotency-Key

    @property
    def tenant(self) -> str | None:
        return self.http.headers.get("X-Tenant-ID")

    @property
    def think_tags(self) -> str | None:
        return self.http.headers.get(THINK_TAGS_HEADER)

    @property
    def named(self) -> bool:
        """Whether the client has named its request: then there may be an earlier submission."""
        return self.key is not None or (isinstance(self.body, dict) and self.body.get("uid") is not None)


class Asking:
    """Accepts requests over HTTP, for one worker."""

    def __init__(self, worker: Worker, door: Door, readers: Readers, tries: FirstTries, retries: ClientRetries) -> None:
        self._worker, self._door = worker, door
        self._readers = readers
        self._tries = tries
        self._retries = retries

    @asynccontextmanager
    async def asked(self, http: web.Request, body: Any, key: str | None) -> AsyncIterator[ChatRequest]:
        """Accept a request; within the context, its client reads the answer.

        Raises:
            ApiError: the request is wrong, or the log does not take it.
        """
        call = _Call(http, body, key)
        retried = not call.named and is_retry(http) and self._worker.settings.retry_attach_s > 0
        repeated = await self._as_first_try(call) if retried else call
        request = await self._accepted(repeated, tried=not call.named)
        with _keys_conflict(key), self._trying(http, request, tried=not call.named):
            async with self._readers.reading(_reader(request, first=not repeated.named)):
                yield request

    async def _as_first_try(self, call: _Call) -> _Call:
        """Return a retry under the uid of its first try, if one is known."""
        uid = await self._retries.first_try(self._what(call))
        return call if uid is None else _Call(call.http, {**call.body, "uid": uid}, None)

    async def _accepted(self, call: _Call, *, tried: bool) -> ChatRequest:
        """Accept a request to the end: if its client leaves meanwhile, it is in the log and has lost its reader.

        Args:
            call: the call of the client.
            tried: whether the client may send the request again without a name.
        """
        accepting = asyncio.ensure_future(
            self._door.accept(
                call.body,
                ingress=Ingress.HTTP,
                tenant=call.tenant,
                idempotency_key=call.key,
                caller=caller_of(call.http),
                traceparent=call.http.get(TRACEPARENT),
                think_tags=call.think_tags,
            )
        )
        try:
            return await asyncio.shield(accepting)
        except asyncio.CancelledError:
            accepting.add_done_callback(partial(self._left_early, tried=tried))
            raise
        except InDoubtError as error:
            call.http[REQUEST_ID] = error.uid
            if tried:
                self._tries.left(self._what(call), error.uid)
            raise

    def _left_early(self, accepting: "asyncio.Future[ChatRequest]", *, tried: bool) -> None:
        if accepting.cancelled() or accepting.exception() is not None:
            return  # the request is not in the log
        request = accepting.result()
        if tried:
            self._tries.left(_asked(request), request.uid)
        if (reader := _reader(request, first=False)) is not None:
            self._readers.left(reader)

    @contextmanager
    def _trying(self, http: web.Request, request: ChatRequest, *, tried: bool) -> Iterator[None]:
        """Keep a request as being read; if its client gets no answer, the request becomes a first try without a reader.

        A large answer is sent later (`web.bodies`).
        """
        if not tried:
            yield
            return
        asked = _asked(request)
        http[UNSENT] = partial(self._tries.left, asked, request.uid)
        try:
            with self._tries.reading(asked, request.uid):
                yield
        except (ConnectionError, asyncio.CancelledError, UnavailableError, LogError):
            self._tries.left(asked, request.uid)
            raise

    def _what(self, call: _Call) -> RequestIdentity:
        return RequestIdentity(*self._door.identity(call.body, tenant=call.tenant, think_tags=call.think_tags))


def _asked(request: ChatRequest) -> RequestIdentity:
    return RequestIdentity(request.tenant, request.fingerprint, request.think_tags or "")


def _reader(request: ChatRequest, *, first: bool) -> Reader | None:
    """Return the reader of a new request, if its leaving matters; ``first``: no earlier submission has the uid."""
    if request.on_disconnect is OnDisconnect.CONTINUE:
        return None
    return Reader(
        uid=request.uid,
        name=request.event_id,
        tenant=request.tenant,
        submission=request.event_id,
        position=request.chunks_from,
        first=first,
    )


@contextmanager
def _keys_conflict(key: str | None) -> Iterator[None]:
    """Answer another body under the same idempotency key with a 422, as the IETF draft has it."""
    try:
        yield
    except InvalidRequestError as error:
        if key is None or error.error.get("code") != "uid_conflict":
            raise
        raise InvalidRequestError(
            "Another request with a different body has this Idempotency-Key.",
            param="Idempotency-Key",
            code="idempotency_key_reused",
            status=422,
        ) from None
