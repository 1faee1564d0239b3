"""Large bodies leave piece by piece, within the memory of all readers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import aiohttp
import pytest
from aiohttp import web

from web import sse
from web.bodies import UNSENT, Bodies
from web.errors import json_response
from weir.log.memory import Memory

MIB = 1 << 20
WITHIN_S = 20.0


@asynccontextmanager
async def serving(
    memory: Memory, size_bytes: int, write_timeout_s: float = 10.0, unsent: list[str] | None = None
) -> AsyncIterator[str]:
    async def handle(request: web.Request) -> web.Response:
        request[UNSENT] = partial(([] if unsent is None else unsent).append, request.path)
        return json_response({"text": "x" * size_bytes}, status=201, headers={"X-Own": "1"})

    http = web.Application(middlewares=[Bodies(memory, write_timeout_s).middleware])
    http.router.add_get("/", handle)
    runner = web.AppRunner(http, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def idle(url: str) -> AsyncIterator[asyncio.StreamReader]:
    """A client that sends a request and does not read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rstrip("/").rsplit(":", 1)[1]), limit=1024)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        yield reader
    finally:
        writer.close()


async def until(reached: Callable[[], bool]) -> None:

    async with asyncio.timeout(WITHIN_S):
        while not reached():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("size_bytes", [10, sse.PIECE_BYTES, 3 * MIB])
async def test_a_body_arrives_whole_with_its_status_and_headers(size_bytes: int) -> None:
    memory = Memory(100 * MIB)
    async with serving(memory, size_bytes) as url, aiohttp.ClientSession() as session:
        for _ in range(2):  # the second one over the same connection
            async with session.get(url) as answer:
                assert (answer.status, answer.headers["X-Own"]) == (201, "1")
                assert answer.content_length == size_bytes + len('{"text":""}')
                assert await answer.json() == {"text": "x" * size_bytes}
    assert memory.held_bytes == 0


async def test_bodies_beyond_the_memory_of_all_readers_are_refused_and_it_is_free_again() -> None:
    memory = Memory(20 * MIB)
    async with serving(memory, 15 * MIB) as url, aiohttp.ClientSession() as session:
        async with idle(url):
            await until(lambda: memory.held_bytes > 0)
            async with session.get(url) as answer:
                assert answer.status == 503
                assert (await answer.json())["error"]["code"] == "readers_memory"
                assert answer.headers["Retry-After"]
        await until(lambda: memory.held_bytes == 0)
        async with session.get(url) as answer:
            assert answer.status == 201


async def test_a_client_that_does_not_read_is_let_go_and_what_it_held_is_free() -> None:
    memory = Memory(20 * MIB)
    async with serving(memory, 15 * MIB, write_timeout_s=0.2) as url, idle(url) as reader:
        await until(lambda: memory.held_bytes > 0)
        await until(lambda: memory.held_bytes == 0)
        read = 0
        with suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                read += len(data)
        assert read < 15 * MIB


async def test_the_sender_of_a_request_hears_of_a_body_that_did_not_reach_its_client() -> None:
    """The client may ask again, and is to find the answer that it did not get."""
    memory, unsent = Memory(20 * MIB), list[str]()
    async with serving(memory, 15 * MIB, unsent=unsent) as url, aiohttp.ClientSession() as session:
        async with idle(url):
            await until(lambda: memory.held_bytes > 0)
            async with session.get(url) as answer:
                assert (answer.status, len(unsent)) == (503, 1)
        await until(lambda: len(unsent) == 2)  # its client is gone
        async with session.get(url) as answer:
            assert len(await answer.read()) > 15 * MIB
    async with serving(memory, 15 * MIB, write_timeout_s=0.2, unsent=unsent) as url, idle(url):
        await until(lambda: len(unsent) == 3)  # it does not read


def test_one_holder_alone_may_have_more_than_the_limit() -> None:
    memory = Memory(10)
    assert memory.take(100)
    assert not memory.take(1)
    memory.give_back(100)
    assert memory.take(4)
    assert memory.take(6)
    assert not memory.has_room(1)
    assert memory.has_room(0)
