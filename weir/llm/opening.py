"""Makes one HTTP call of an upstream: from the request to the headers of its answer, and the errors until then.

aiohttp makes the call. The body of an error is read up to a limit, for it may have any size; a redirect is followed on
the same origin only, because the request holds a user's text.
"""

import asyncio
import io
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from aiohttp import http_exceptions
from yarl import URL

from weir.envelope import Json
from weir.errors import NAMED_TIMES, SHOULD_RETRY
from weir.llm.calls import Timeouts
from weir.llm.errors import UpstreamError, UpstreamUnavailableError, broke_off, timed_out
from weir.llm.shapes import error_of_body, refusal

ERROR_BODY_MAX_BYTES: Final = 65_536
REDIRECTS_MAX = 3
_ERROR_BODY_S = 5.0  # for reading the body of an error: the status alone says enough
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADER_CHARS = 200  # the most of a header that is passed on
_KEEPALIVE_S = 30.0  # of an idle connection: shorter than the 60 s after which common servers close it


class Connections:
    """The HTTP client of one upstream. ``close()`` it when done."""

    def __init__(self, *, url: str, headers: Mapping[str, str], timeouts: Timeouts, connections: int) -> None:
        """Connects at the first call; see `weir.llm.upstream.Upstream`. ``headers`` are sent with each call.

        User and password in the URL are for a server or proxy that asks for them (Basic), instead of the key.
        """
        base = URL(url)
        self._url = str(base.with_user(None)).rstrip("/")
        self._headers = dict(headers)
        if base.user is not None:
            basic = aiohttp.encode_basic_auth(base.user, base.password or "", encoding="utf-8")
            self._headers["Authorization"] = basic
        self._proxy = _proxy_of(URL(self._url))
        self._timeouts = timeouts
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=_KEEPALIVE_S),
                # The time of reads is limited where they are made, per phase.
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect_s),
                # cookies of one client's answer must not go into another client's call
                cookie_jar=aiohttp.DummyCookieJar(),
                # Not `trust_env` for proxies: it reads passwords from ~/.netrc, too, and refuses them beside the key.
            )
        return self._session

    @asynccontextmanager
    async def answer(
        self,
        method: str,
        path: str,
        *,
        until: float,
        body: Json | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make a call; its body can be read while the context is open.

        Args:
            method: the HTTP method.
            path: the path under the base URL.
            until: when the headers must have arrived, in loop time.
            body: a body to send as JSON.
            headers: additional headers of this call.

        Raises:
            UpstreamError: there is no answer, or it has an error status.
        """
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(until):
                response = await self._follow(method, URL(f"{self._url}/{path}"), body, headers or {})
        except TimeoutError:
            raise timed_out("gave no answer", round(until - began, 2)) from None
        try:
            with _breaks_reach_readers(response):
                if response.status >= 400:
                    raise await _refused(response)
                yield response
        finally:
            response.release()  # closes the connection, unless the answer was read to its end

    async def _follow(
        self, method: str, url: URL, body: Json | None, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        data = None if body is None else orjson.dumps(body)
        more = {**self._headers, **headers, **({} if body is None else {"Content-Type": "application/json"})}
        for _ in range(REDIRECTS_MAX + 1):
            response = await self._ask(method, url, data, more)
            if response.status not in _REDIRECTS:
                return response
            target = _target(url, response)
            response.release()
            if target is None or target.origin() != url.origin():
                raise _redirected(target)
            url = target
        raise _redirected(url)

    async def _ask(
        self, method: str, url: URL, data: bytes | None, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        sent = None if data is None else io.BytesIO(data)  # aiohttp warns about bytes of more than a megabyte
        try:
            return await self._opened().request(
                method, url, data=sent, headers=headers, allow_redirects=False, proxy=self._proxy
            )
        except aiohttp.ServerTimeoutError as error:
            raise _unreachable_in_time() from error
        except (aiohttp.ClientError, http_exceptions.HttpProcessingError, ValueError, OSError) as error:
            raise _not_answered(error) from error


def _proxy_of(url: URL) -> URL | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY and NO_PROXY name for a URL."""
    named = getproxies().get(url.scheme)
    if not named or proxy_bypass(url.host or ""):
        return None
    return URL(named if "://" in named else f"http://{named}")  # as curl and Python's urllib read it


@contextmanager
def _breaks_reach_readers(response: aiohttp.ClientResponse) -> Iterator[None]:
    """Report a broken connection to a body's reader: aiohttp ends it at a bad chunk and leaves the reader waiting."""
    protocol = None if response.connection is None else response.connection.protocol
    closed = None if protocol is None else protocol.closed
    content = response.content

    def ended(_: "asyncio.Future[None]") -> None:
        if protocol is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(protocol.exception() or aiohttp.ClientPayloadError("the connection was closed"))

    if closed is None:
        yield
        return
    # it may be registered by an earlier answer on this connection, and once is enough
    closed.remove_done_callback(_seen)
    closed.add_done_callback(_seen)
    closed.add_done_callback(ended)
    try:
        yield
    finally:
        closed.remove_done_callback(ended)


def _seen(closed: "asyncio.Future[None]") -> None:
    """Mark the end of a connection as retrieved: its readers get the error, and asyncio need not log it."""
    if not closed.cancelled():
        closed.exception()


def _target(url: URL, response: aiohttp.ClientResponse) -> URL | None:
    """The target of a redirect; None if it has none, or one that is not HTTP."""
    try:
        target = url.join(URL(response.headers.get("Location", "")))
    except ValueError:
        return None
    return target if target.scheme in {"http", "https"} and target.host else None


def _redirected(target: URL | None) -> UpstreamError:
    where = "nowhere" if target is None else f"to {target.origin()}"
    return UpstreamUnavailableError(
        f"the model's server redirects {where}, which is not followed: OPENAI_URL must name the server that answers",
        status=502,
        kind="upstream_error",
        code="upstream_redirected",
    )


async def _refused(response: aiohttp.ClientResponse) -> UpstreamError:
    """The error for an error status, from as much of its body as is of use."""
    body = bytearray()
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(_ERROR_BODY_S):
            while len(body) < ERROR_BODY_MAX_BYTES and (block := await response.content.readany()):
                body += block
    error = error_of_body(bytes(body[:ERROR_BODY_MAX_BYTES]), response.headers.get("Content-Type", ""))
    passed_on = {
        name: response.headers[name][:_HEADER_CHARS]
        for name in (*NAMED_TIMES, SHOULD_RETRY)
        if name in response.headers
    }
    return refusal(error, status=response.status, headers=passed_on)


def _unreachable_in_time() -> UpstreamError:
    message = "the model could not be reached in time"
    return UpstreamUnavailableError(message, status=504, kind="upstream_error", code="upstream_timeout", transient=True)


def _not_answered(error: Exception) -> UpstreamError:
    """The error for a call that ended before the headers of its answer."""
    if isinstance(error, aiohttp.ClientProxyConnectionError | aiohttp.ClientHttpProxyError):
        return UpstreamUnavailableError(
            "the model cannot be reached through the proxy: are HTTP_PROXY, HTTPS_PROXY and NO_PROXY right?",
            status=502,
            kind="upstream_error",
            code="upstream_unreachable",
            transient=not isinstance(error, aiohttp.ClientHttpProxyError) or error.status >= 500,
        )
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.InvalidURL):
        return UpstreamUnavailableError(
            "the model cannot be reached: is OPENAI_URL right, and is a server running there?",
            status=502,
            kind="upstream_error",
            code="upstream_unreachable",
            transient=True,
        )
    if isinstance(error, aiohttp.ServerDisconnectedError | OSError):
        return broke_off("the model's server closed the connection before it answered")
    return malformed_http(error)


def malformed_http(error: Exception) -> UpstreamError:
    """The error for data that is not HTTP; aiohttp quotes it, over several lines."""
    what = re.sub(r"\s+", " ", str(getattr(error, "message", "") or error)).strip(" :'\"")[:120]
    message = f"the model's server sent malformed HTTP ({what or type(error).__name__})"
    return UpstreamUnavailableError(message, status=502, kind="upstream_error", code="upstream_invalid_response")
