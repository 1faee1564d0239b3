"""Clients that ask and do not read: they cost little memory, and other clients notice little of them.

The bounds are wide, for a loaded machine; `bench.idle_readers` measures, and docs/streams.md has the figures.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import orjson

from tests.compatibility.upstream import ScriptedUpstream, chunk, said
from tests.e2e.conftest import Start
from tests.e2e.workers import Worker
from tests.unit.demo.helpers import body_of

READERS = 150
TOKENS = 20_000
GROWTH_MAX = 150 << 20  # of the worker's memory: it was 20 MB for each such client
PING_MAX_S = 5.0
FIRST_TOKEN_MAX_S = 10.0
WITHIN_S = 120.0
SETTLED_S = 3.0  # memory does not grow any more


def rss_bytes(worker: Worker) -> int:
    assert worker.process is not None
    lines = Path(f"/proc/{worker.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


@asynccontextmanager
async def idle(worker: Worker, request: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """A client that asks, and leaves its socket full."""
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port, limit=1024)
    writer.write(request)
    try:
        yield reader
    finally:
        writer.close()


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def post(body: dict[str, object]) -> bytes:
    data = orjson.dumps(body)
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data


async def ask(worker: Worker, body: dict[str, object]) -> None:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(WITHIN_S)) as session,
        session.post(f"{worker.url}/v1/chat/completions", json=body) as answer,
    ):
        assert answer.status == 200
        await answer.read()


async def others_are_served(worker: Worker) -> None:
    """Check GET /ping, and the first token of a new request."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(WITHIN_S)) as session:
        began = time.monotonic()
        async with session.get(f"{worker.url}/ping") as answer:
            assert answer.status == 200
        assert time.monotonic() - began < PING_MAX_S
        began = time.monotonic()
        async with session.post(f"{worker.url}/v1/chat/completions", json=body_of("demo", "hi", stream=True)) as answer:
            await answer.content.readline()
            assert time.monotonic() - began < FIRST_TOKEN_MAX_S
            await answer.read()


async def grows_little(worker: Worker, requests: list[bytes], also: Callable[[], Awaitable[None]]) -> None:
    """Check the worker while clients have sent requests whose answers they do not read."""
    before = rss_bytes(worker)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(idle(worker, request)) for request in requests]
        async with asyncio.timeout(WITHIN_S):
            for client in clients:
                assert (await client.readline()).startswith(b"HTTP/1.1 ")
        settled_at = time.monotonic() + SETTLED_S
        while time.monotonic() < settled_at:
            await also()
            assert rss_bytes(worker) - before < GROWTH_MAX


async def test_readers_of_a_stored_answer_that_do_not_read_cost_little(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker = await make_worker(broker).start()
    await ask(worker, {**body_of(f"demo:tokens={TOKENS}", "hi"), "uid": "stored"})
    path = get("/v1/chat/completions/stored/stream")
    await grows_little(worker, [path] * READERS, lambda: others_are_served(worker))


async def test_readers_of_live_streams_that_do_not_read_cost_little(broker: dict[str, str], make_worker: Start) -> None:
    worker = await make_worker(broker).start()
    live = [post({**body_of("demo:tokens=2000,delay_ms=5", str(n)), "stream": True}) for n in range(10)]
    await grows_little(worker, live, lambda: others_are_served(worker))


async def test_whole_answers_and_frames_that_are_not_read_have_a_bound_for_all_of_them(
    broker: dict[str, str], make_worker: Start
) -> None:
    """Each answer has 10 MB: forty of them do not fit, and are refused or wait."""
    with ScriptedUpstream() as upstream:
        upstream.play("large", said(*(chunk({"content": "x" * 500_000}) for _ in range(20)), chunk({}, "stop")))
        upstream.play("demo", said(chunk({"content": "hi"}), chunk({}, "stop")))
        env = {"READERS_MEMORY_BYTES": str(40 << 20), "OPENAI_URL": upstream.url}
        worker = await make_worker(broker, **env).start()
        await ask(worker, {**body_of("large", "hi"), "uid": "large"})
        await _until_ended(worker, "large")
        paths = ("/v1/chat/completions/large", "/v1/chat/completions/large/stream", "/requests/large?frames=true")
        requests = [get(path) for path in paths for _ in range(20)]
        await grows_little(worker, requests, lambda: others_are_served(worker))
        # and the memory is free again
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(WITHIN_S)) as session:
            async with asyncio.timeout(WITHIN_S):
                while True:
                    async with session.get(f"{worker.url}/v1/chat/completions/large") as answer:
                        body = await answer.json()
                        if answer.status == 200:
                            break
                    await asyncio.sleep(0.2)
            assert len(body["choices"][0]["message"]["content"]) == 10_000_000


async def test_requests_beyond_the_most_that_may_be_open_are_refused_and_pings_are_not(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker = await make_worker(broker, HTTP_REQUESTS_MAX="10").start()
    slow = post({**body_of("demo:tokens=1000,delay_ms=20", "hi"), "stream": True})
    async with AsyncExitStack() as stack, aiohttp.ClientSession() as session:
        clients = [await stack.enter_async_context(idle(worker, slow)) for _ in range(10)]
        for client in clients:
            assert b"200" in await client.readline()
        async with session.get(f"{worker.url}/requests") as answer:
            assert (answer.status, (await answer.json())["error"]["code"]) == (503, "worker_full")
        async with session.get(f"{worker.url}/ping") as answer:
            assert answer.status == 200


async def _until_ended(worker: Worker, uid: str) -> None:
    async with asyncio.timeout(WITHIN_S), aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{worker.url}/requests/{uid}") as answer:
                if answer.status == 200 and (await answer.json()).get("ended_at"):
                    return
            await asyncio.sleep(0.1)
