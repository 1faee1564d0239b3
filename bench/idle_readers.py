"""Measures what a thousand readers that do not read cost a worker, and its other clients.

    python -m bench.idle_readers --readers 1000 --tokens 20000

Stores one answer on a worker with an embedded log, opens that many connections that ask for its stream and never read,
and prints how much memory the worker takes, how long GET /ping takes at worst, and how soon a new request has its first
token, all while the readers are there.
"""

import argparse
import asyncio
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench.processes import FAUST, Running, environment, module, start
from bench.upstream import model_name
from tests.services.process import free_ports

WATCH_S = 45.0  # after the last reader has asked
PING_EVERY_S = 0.05
ASK_EVERY_S = 0.5
TIMEOUT_S = 300.0
UID = "stored"


@dataclass(slots=True)
class Seen:
    """Times that other clients measured meanwhile, in seconds."""

    pings: list[float] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    rss_max: int = 0  # of the worker, in bytes
    held: int = 0  # readers that are still there at the end


def rss_bytes(pid: int) -> int:
    """The memory that a process has in use."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


async def measure(url: str, pid: int, readers: int, tokens: int, path: str) -> tuple[Seen, Seen]:
    """Measure the worker and its clients before the readers are there, and while they are."""
    port = int(url.rsplit(":", 1)[1])
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_S)) as session:
        body = {"model": model_name(tokens, 0), "messages": [{"role": "user", "content": "x"}], "uid": UID}
        async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
            answer.raise_for_status()
            await answer.read()
        await asyncio.sleep(2)
        before = Seen(rss_max=rss_bytes(pid))
        await _watch(session, url, pid, before, 3.0)
        during = Seen()
        watching = asyncio.create_task(_watch(session, url, pid, during, WATCH_S))
        held = await asyncio.gather(*(_idle(port, path) for _ in range(readers)))
        await watching
        during.held = sum(not writer.is_closing() for writer in held)
        for writer in held:
            writer.close()
    return before, during


async def _idle(port: int, path: str) -> asyncio.StreamWriter:
    """Connect a client that asks, and leaves its socket full."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport of a socket can
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    del reader
    return writer


async def _watch(session: aiohttp.ClientSession, url: str, pid: int, seen: Seen, seconds: float) -> None:
    until = time.monotonic() + seconds
    await asyncio.gather(_ping(session, url, pid, seen, until), _ask(session, url, seen, until))


async def _ping(session: aiohttp.ClientSession, url: str, pid: int, seen: Seen, until: float) -> None:
    while (began := time.monotonic()) < until:
        with suppress(aiohttp.ClientError):
            async with session.get(f"{url}/ping") as answer:
                await answer.read()
        seen.pings.append(time.monotonic() - began)
        seen.rss_max = max(seen.rss_max, rss_bytes(pid))
        await asyncio.sleep(PING_EVERY_S)


async def _ask(session: aiohttp.ClientSession, url: str, seen: Seen, until: float) -> None:
    body = {"model": model_name(5, 0), "messages": [{"role": "user", "content": "x"}], "stream": True}
    while (began := time.monotonic()) < until:
        async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
            async for line in answer.content:
                if line.startswith(b"data:"):
                    break
            seen.first_tokens.append(time.monotonic() - began)
            await answer.read()
        await asyncio.sleep(ASK_EVERY_S)


def _shown(seen: Seen) -> str:
    worst = {"ping": max(seen.pings), "first token": max(seen.first_tokens)}
    median = sorted(seen.first_tokens)[len(seen.first_tokens) // 2]
    figures = ", ".join(f"worst {name} {1000 * seconds:.0f} ms" for name, seconds in worst.items())
    return f"memory {seen.rss_max / 2**20:.0f} MiB, {figures}, median first token {1000 * median:.0f} ms"


def _run(readers: int, tokens: int, path: str, folder: Path) -> None:
    upstream_port, port = free_ports(2)
    upstream = start("upstream", module("bench.upstream", upstream_port), folder)
    settings = {
        "OPENAI_URL": f"http://127.0.0.1:{upstream_port}/v1",
        "RESTAPI_PORT": str(port),
        "RESTAPI_HOST": "127.0.0.1",
        "RESTAPI_ADVERTISED_HOST": "127.0.0.1",
        "RABBITMQ_URL": "",
        "WEIR_DATA_DIR": str(folder / "data"),
        "CLIENT_WRITE_TIMEOUT_S": "600",
    }
    url = f"http://127.0.0.1:{port}"
    worker: Running | None = None
    try:
        worker = start("worker", [str(FAUST), "-A", "app", "worker"], folder, environment(settings), f"{url}/ping")
        before, during = asyncio.run(measure(url, worker.pid, readers, tokens, path))
        print(f"without readers: {_shown(before)}")
        print(f"with {readers} that do not read ({during.held} held): {_shown(during)}")
        grown = during.rss_max - before.rss_max
        print(f"memory of each: {grown / readers / 1024:.0f} KiB")
    finally:
        for process in (worker, upstream):
            if process is not None:
                process.stop()


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--path", default=f"/v1/chat/completions/{UID}/stream")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _run(given.readers, given.tokens, given.path, Path(folder))


if __name__ == "__main__":
    main()
