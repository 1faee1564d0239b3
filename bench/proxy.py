"""The bare proxy of the comparison: the cost of a Python proxy that parses each event and does no more.

    python -m bench.proxy PORT UPSTREAM_URL

One aiohttp server, one aiohttp client session; each SSE event is parsed with orjson, serialised again and written on.
It stores nothing and promises nothing.
"""

import sys
from collections.abc import AsyncIterator

import aiohttp
import orjson
from aiohttp import web

PREFIX = b"data: "
DONE = b"[DONE]"


class Proxy:
    """One upstream, one session."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession

    async def session(self, _app: web.Application) -> AsyncIterator[None]:
        """The session, for as long as the server runs; as many connections as there are clients."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as self._session:
            yield

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on and its answer back, event by event."""
        body = orjson.dumps(orjson.loads(await request.read()))
        headers = {"content-type": "application/json"}
        async with self._session.post(f"{self._url}/chat/completions", data=body, headers=headers) as upstream:
            response = web.StreamResponse(status=upstream.status, headers={"content-type": "text/event-stream"})
            await response.prepare(request)
            async for line in upstream.content:
                if line.startswith(PREFIX):
                    payload = line[len(PREFIX) :].strip()
                    value = payload if payload == DONE else orjson.dumps(orjson.loads(payload))
                    await response.write(PREFIX + value + b"\n\n")
            await response.write_eof()
            return response


async def ping(_request: web.Request) -> web.Response:
    """Answer that the proxy is alive."""
    return web.Response()


def application(url: str) -> web.Application:
    """The server for one upstream."""
    proxy, app = Proxy(url), web.Application()
    app.cleanup_ctx.append(proxy.session)
    app.router.add_post("/v1/chat/completions", proxy.chat)
    app.router.add_get("/ping", ping)
    return app


if __name__ == "__main__":
    web.run_app(application(sys.argv[2]), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
