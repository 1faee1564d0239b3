"""POST /v1/chat/completions: accept, then read the answer out of the log, as SSE or as one JSON object."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from aiohttp import web

from answers.envelope import Json
from app.accept import parse
from app.core import Weir
from app.errors import ApiError, InvalidRequestError, UnavailableError, from_terminal
from app.reading import IDLE, Delivery, collect, deliveries
from app.requests import ChatRequest, Ingress
from web import sse
from web.errors import as_api_error, json_response

logger = logging.getLogger(__name__)

JSON_TYPES = frozenset({"application/json", "text/json"})


class ChatView:
    """The chat completions endpoint of one worker."""

    def __init__(self, app: Weir) -> None:
        self._app = app
        self._settings = app.settings

    async def create(self, http: web.Request) -> web.StreamResponse:
        """Take a request; answer as its ``stream`` field asks."""
        if self._app.draining:
            raise UnavailableError("This worker is stopping; ask again.", code="worker_stopping")
        if http.content_type not in JSON_TYPES:
            raise InvalidRequestError(
                f"Content-Type must be application/json, not {http.content_type}.",
                code="unsupported_media_type",
                status=415,
            )
        body = parse(await http.read())
        request = await self._app.door.accept(body, ingress=Ingress.HTTP, tenant=http.headers.get("X-Tenant-ID"))
        http["uid"] = request.uid  # for a stopping server
        headers = {"X-Request-ID": request.uid}
        if request.stream:
            return await self._stream(http, request, headers)
        return await self._whole(request, headers)

    def _deliveries(self, request: ChatRequest, idle_s: float) -> AsyncGenerator[Delivery, None]:
        return deliveries(
            self._app.tails,
            self._app.door.chunks_of(request.uid),
            request.uid,
            position=request.chunks_from,
            idle_s=idle_s,
            submission=request.event_id,
        )

    # -- one JSON object

    async def _whole(self, request: ChatRequest, headers: dict[str, str]) -> web.Response:
        wait_s = self._settings.answer_timeout_s
        with self._ends_are_told(request):
            async with asyncio.timeout(wait_s):
                return json_response(await collect(self._deliveries(request, wait_s), request.uid), headers=headers)

    @contextmanager
    def _ends_are_told(self, request: ChatRequest) -> Iterator[None]:
        """A client whose answer takes longer than this worker or this wait lives hears so, and where to find it."""
        try:
            yield
        except TimeoutError:
            raise UnavailableError(
                f"No answer within {self._settings.answer_timeout_s:g} s; fetch it later as chatcmpl-{request.uid}.",
                code="answer_timeout",
                status=504,
            ) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not self._app.draining:
                raise  # the client left
            task.uncancel()
            raise UnavailableError(
                f"This worker is stopping. The answer goes on elsewhere; fetch it as chatcmpl-{request.uid}.",
                code="worker_stopping",
            ) from None

    # -- server-sent events

    async def _stream(self, http: web.Request, request: ChatRequest, headers: dict[str, str]) -> web.StreamResponse:
        stream = sse.EventStream(http, headers, self._settings.client_write_timeout_s)
        teller = _Teller(stream, request)
        heartbeat_s = self._settings.sse_heartbeat_s
        idle_s = min(heartbeat_s, self._settings.sse_header_wait_s)
        quiet_since = time.monotonic()
        try:
            with self._ends_are_told(request):
                async with (
                    asyncio.timeout(self._settings.answer_timeout_s),
                    aclosing(self._deliveries(request, idle_s)) as news,
                ):
                    async for delivery in news:
                        if delivery is not IDLE:
                            await teller.tell(delivery)
                        elif not stream.started or time.monotonic() - quiet_since >= heartbeat_s:
                            await stream.write(sse.HEARTBEAT)
                        else:
                            continue
                        quiet_since = time.monotonic()
        except sse.SlowClientError as error:
            logger.warning("stream %s let go: %s", request.uid, error)
            raise
        except (ConnectionError, asyncio.CancelledError):
            raise  # nobody is there to be told
        except Exception as error:
            if not stream.started:
                raise  # it can still have a status of its own
            await stream.write(sse.error_event(as_api_error(error).body) + sse.DONE)
        finally:
            stream.close()
        return stream.response


class _Teller:
    """Tells a client what the log says, as events."""

    def __init__(self, stream: sse.EventStream, request: ChatRequest) -> None:
        self._stream = stream
        self._request = request
        self._told = False

    async def tell(self, delivery: Delivery) -> None:
        """Send one delivery on; raises ApiError where the stream must end with an error."""
        if delivery.restarted and self._told:
            raise ApiError(
                "The worker that generated this answer died, and it is said again from its start. "
                f"Fetch it as chatcmpl-{self._request.uid}.",
                status=502,
                kind="server_error",
                code="stream_restarted",
            )
        ended = delivery.terminal
        data = b"".join(
            sse.event(_shown(chunk, self._request), f"{delivery.partition}-{delivery.offset}-{delivery.first_n + n}")
            for n, chunk in enumerate(delivery.chunks)
            if _wanted(chunk, self._request)
        )
        if ended is not None and ended.error is None:
            data += sse.DONE
        if data:
            self._told = True
            await self._stream.write(data)
        if ended is not None and ended.error is not None:
            raise from_terminal(ended.error)


def _wanted(chunk: Json, request: ChatRequest) -> bool:
    """Weir always asks the LLM for usage; the chunk that only carries it is for clients that asked, too."""
    return request.include_usage or bool(chunk.get("choices")) or not chunk.get("usage")


def _shown(chunk: Json, request: ChatRequest) -> Json:
    """Without the null that every chunk carries as its usage where the last one has it."""
    if not request.include_usage and chunk.get("usage", chunk) is None:
        return {name: value for name, value in chunk.items() if name != "usage"}  # others read the same object
    return chunk
