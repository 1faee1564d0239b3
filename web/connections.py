"""HTTP below the routes: the number of connections, the time that a request may take to arrive, and invalid HTTP.

aiohttp waits for the headers of a request for as long as its connection lasts, takes any number of connections, and
answers what it cannot parse with plain text. A `Connection` is aiohttp's, with limits, and its errors have the shape
that those of the routes have.
"""

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import RequestHandler

from web.errors import as_api_error, error_response
from weir.envelope import new_id
from weir.errors import ApiError, InvalidRequestError, UnavailableError

logger = logging.getLogger(__name__)

MESSAGE_CHARS: Final = 200  # of the parser's message, which repeats what the client sent


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """The limits of a client before it has sent a request. Times are seconds."""

    connections_max: int
    header_timeout_s: float


class Connection(RequestHandler):
    """A connection of a client."""

    __slots__ = ("_header_timer", "_limits")

    def __init__(self, manager: "ConnectionServer", *, limits: ConnectionLimits, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self._limits = limits
        self._header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, unless there are too many: then its client may ask again, or another worker."""
        manager = self._manager
        if manager is not None and len(manager.connections) >= self._limits.connections_max:
            self._force_close = True
            _write_and_close(
                transport, UnavailableError("Too many connections; ask again.", code="too_many_connections")
            )
            return
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        """Receive bytes; the clock stops at the last header of a request, and starts at the first byte of the next."""
        before = self._request_count
        super().data_received(data)
        if self._request_count > before:
            self._stop_clock()
        elif self._header_timer is None and self._waiter is not None:
            self._await_headers()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Release the connection."""
        self._stop_clock()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        self._header_timer = self._loop.call_later(self._limits.header_timeout_s, self._no_headers)

    def _stop_clock(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _no_headers(self) -> None:
        self._header_timer = None
        if self.transport is None or self._force_close:
            return
        self._force_close = True
        _write_and_close(self.transport, _late("headers", self._limits.header_timeout_s))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return the response to an error outside the routes, in OpenAI's shape; the connection ends with it."""
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the response is sent already")
        request_id = new_id("err")
        if isinstance(exc, BadHttpMessage):
            error = _unparsed(exc, message)
        elif isinstance(exc, Exception):
            error = as_api_error(exc, request_id)
        else:
            error = ApiError("internal error", status=status, kind="server_error", code="internal_error")
        response = error_response(error, request_id)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log a defect. An unreadable body is not one: its client got an error, and aiohttp meets it once more."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response; an error that aiohttp raises before the routes (``Expect``) gets OpenAI's shape."""
        if isinstance(resp, web.HTTPException) and resp.status >= web.HTTPBadRequest.status_code:
            text = f"{resp.reason}: {request.headers.get('Expect', '')}".rstrip(": ")[:MESSAGE_CHARS]
            resp = error_response(InvalidRequestError(text, code="http_error", status=resp.status), new_id("err"))
        return await super().finish_response(request, resp, start_time)


class ConnectionServer(web.Server):
    """Makes a `Connection` for each client."""

    def __init__(self, made: web.Server, limits: ConnectionLimits) -> None:
        """Copy the server that aiohttp has made for an application, and add limits."""
        super().__init__(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **made._kwargs,  # noqa: SLF001 - the arguments of the connections
        )
        self._limits = limits

    def __call__(self) -> RequestHandler:
        """Make a connection."""
        return Connection(self, limits=self._limits, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """aiohttp's runner of an application, with limits on its connections."""

    def __init__(self, app: web.Application, limits: ConnectionLimits, **kwargs: Any) -> None:
        super().__init__(app, **kwargs)
        self._limits = limits

    async def _make_server(self) -> web.Server:
        return ConnectionServer(await super()._make_server(), self._limits)


async def body_of(http: web.Request, *, within_s: float) -> bytes:
    """Return the body of a request.

    Raises:
        InvalidRequestError: the body does not come in time, does not match its headers, or has an unknown encoding.
        HTTPRequestEntityTooLarge: the body is larger than a request may be, when it is unpacked.
    """
    encoding = http.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in {"", "identity", "gzip", "deflate"}:
        raise InvalidRequestError(
            f"Content-Encoding must be gzip, deflate or identity, not {encoding[:40]!r}.",
            param="Content-Encoding",
            code="unsupported_content_encoding",
            status=415,
        )
    try:
        async with asyncio.timeout(within_s):
            return await http.read()
    except TimeoutError:
        raise _late("body", within_s) from None
    except web.RequestPayloadError as error:
        reason = "it is not in its Content-Encoding" if encoding not in {"", "identity"} else _first_line(str(error))
        raise InvalidRequestError(f"The body cannot be read: {reason}.", code="invalid_body") from None


def _late(what: str, within_s: float) -> InvalidRequestError:
    return InvalidRequestError(
        f"The {what} of the request did not arrive within {within_s:g} s.", code="request_timeout", status=408
    )


def _unparsed(error: BadHttpMessage, message: str | None) -> ApiError:
    if isinstance(error, LineTooLong):
        return InvalidRequestError(
            "The request line or a header is too long.",
            code="headers_too_large",
            status=web.HTTPRequestHeaderFieldsTooLarge.status_code,
        )
    return InvalidRequestError(f"This is not an HTTP request: {_first_line(message or str(error))}", code="bad_request")


def _first_line(text: str) -> str:
    """Return the parser's message without the bytes that it shows: they are the client's, with its keys."""
    return text.strip().splitlines()[0].rstrip(": ")[:MESSAGE_CHARS] if text.strip() else "it cannot be parsed"


def _write_and_close(transport: asyncio.BaseTransport, error: ApiError) -> None:
    """Send an error where there is no request to answer."""
    if isinstance(transport, asyncio.Transport):
        body = orjson.dumps(error.body)
        head = (
            f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        transport.write(head.encode() + body)
    transport.close()
