"""The stream to a client, as bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import orjson
import pytest
from aiohttp import web
from openai._streaming import SSEDecoder

from web import sse
from weir.envelope import Json
from weir.llm.sse import SseDecoder


def test_an_event_is_one_line_of_json_with_its_place_in_the_log() -> None:
    chunk: Json = {"choices": [{"delta": {"content": "a\nb\r\u2028 ü"}}]}
    data = sse.event(chunk, "3-41-0")
    assert data.startswith(b"id: 3-41-0\ndata: {")
    assert data.count(b"\n") == 3
    (event,) = SseDecoder().feed(data)
    assert orjson.loads(event) == chunk


def test_comments_errors_and_the_end_are_events_that_clients_know() -> None:
    body: Json = {"error": {"message": "no"}}
    stream = sse.HEARTBEAT + sse.error_event(body) + sse.DONE
    assert list(SseDecoder().feed(stream)) == [orjson.dumps(body), b"[DONE]"]


def test_a_comment_is_no_event_for_the_openai_client_even_behind_an_id() -> None:
    """The openai client keeps the last id, and takes an empty line behind one for an event without data, not JSON."""
    told = [b"%bdata: %d\n\n" % (b"id: 0-0-0\n" if n else b"", n) for n in range(2)]
    stream = sse.HEARTBEAT.join([b"", *told, sse.DONE])
    events = [event.data for event in SSEDecoder().iter_bytes(iter([stream]))]
    assert events == ["0", "1", "[DONE]"]


@asynccontextmanager
async def streaming(
    tell: Callable[[sse.EventStream], Awaitable[None]], write_timeout_s: float = 10.0
) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.StreamResponse:
        stream = sse.EventStream(request, {"X-Request-ID": "req-1"}, write_timeout_s)
        await tell(stream)
        return stream.response

    http = web.Application()
    http.router.add_get("/", handle)
    runner = web.AppRunner(http, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_the_headers_leave_with_the_first_bytes() -> None:
    started: list[bool] = []

    async def tell(stream: sse.EventStream) -> None:
        started.append(stream.started)
        await stream.write(sse.event({"a": 1}, "0-0-0"))
        started.append(stream.started)
        await stream.write(sse.DONE)

    async with streaming(tell) as url, aiohttp.ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        assert answer.headers["Cache-Control"] == "no-cache"
        assert answer.headers["X-Accel-Buffering"] == "no"
        assert answer.headers["X-Request-ID"] == "req-1"
        assert await answer.read() == b'id: 0-0-0\ndata: {"a":1}\n\ndata: [DONE]\n\n'
    assert started == [False, True]


async def test_a_client_that_does_not_read_is_let_go() -> None:
    let_go: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    async def tell(stream: sse.EventStream) -> None:
        try:
            for _ in range(1000):
                await stream.write(b": " + b"x" * (1 << 20) + b"\n\n")
        except sse.SlowClientError as error:
            let_go.set_result(error)
            raise

    async with streaming(tell, write_timeout_s=0.2) as url:
        host, _, port = url.removeprefix("http://").strip("/").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        error = await asyncio.wait_for(let_go, 10)
        writer.close()
        del reader
    assert "nothing read for 0.2 s" in str(error)


def test_a_slow_client_is_a_client_that_is_gone() -> None:
    """So that the error middleware does not try to answer it."""
    with pytest.raises(ConnectionResetError):
        raise sse.SlowClientError("x")


async def test_a_client_that_does_not_read_holds_back_what_is_written_before_much_is_buffered() -> None:
    """Otherwise each of a thousand such clients would take megabytes, all of them encoded."""
    written = 0

    async def tell(stream: sse.EventStream) -> None:
        nonlocal written
        while True:
            await stream.write(b"x" * 8192)
            written += 8192

    async with streaming(tell, write_timeout_s=1.0) as url:
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").strip("/").split(":"), limit=1024)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readline()
        async with asyncio.timeout(20):
            before = -1
            while before != written:
                before = written
                await asyncio.sleep(0.3)
        writer.close()
    assert 0 < written < 1 << 20
