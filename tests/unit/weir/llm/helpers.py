"""Upstreams with short limits, and a server that a test controls."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import orjson
from aiohttp import web

from weir.envelope import Json
from weir.llm.calls import Timeouts
from weir.llm.upstream import Upstream

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SECONDS = 10.0  # for what must not take long, on a loaded machine


@asynccontextmanager
async def upstream(
    url: str,
    *,
    connect_s: float = SECONDS,
    first_token_s: float = SECONDS,
    idle_s: float = SECONDS,
    retries: int = 0,
    on_retry: Callable[[], None] = lambda: None,
    organization: str | None = None,
    project: str | None = None,
) -> AsyncIterator[Upstream]:
    timeouts = Timeouts(connect_s=connect_s, first_token_s=first_token_s, idle_s=idle_s)
    one = Upstream(
        url=url,
        api_key="sk-1",
        organization=organization,
        project=project,
        timeouts=timeouts,
        retries=retries,
        on_retry=on_retry,
    )
    try:
        yield one
    finally:
        await one.close()


async def chunks_of(one: Upstream, body: Json, into: list[Json] | None = None) -> list[Json]:
    """Return all chunks; those before an error are in ``into``."""
    found = [] if into is None else into
    async with asyncio.timeout(3 * SECONDS), aclosing(one.stream(body)) as chunks:
        async for chunk in chunks:
            found.append(chunk)
    return found


def content(chunks: list[Json], key: str = "content", index: int = 0) -> str:
    deltas = [c["delta"] for chunk in chunks for c in chunk.get("choices") or () if c["index"] == index]
    return "".join(delta.get(key) or "" for delta in deltas)


def finish_reasons(chunks: list[Json]) -> dict[int, str]:
    choices = [c for chunk in chunks for c in chunk.get("choices") or ()]
    return {c["index"]: c["finish_reason"] for c in choices if c.get("finish_reason")}


def delta(text: str, finish_reason: str | None = None, index: int = 0) -> bytes:
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish_reason}
    return b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n"


DONE = b"data: [DONE]\n\n"


@asynccontextmanager
async def server(handler: Handler) -> AsyncIterator[str]:
    """One handler for all paths."""
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def saying(*blocks: bytes, content_type: str = "text/event-stream", status: int = 200) -> Handler:
    """A handler that writes blocks, each by itself, and ends the body properly."""

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(status=status, headers={"Content-Type": content_type})
        await response.prepare(request)
        for block in blocks:
            await response.write(block)
        await response.write_eof()
        return response

    return handle
