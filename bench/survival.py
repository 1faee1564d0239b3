"""Runs a stream that survives ``kill -9``, and draws it: docs/survival.svg.

    python -m bench.survival

Starts a Kafka, the demo model and two workers with their default settings. A client reads a stream from worker A, which
also generates it. In mid-answer worker A is killed. The client reconnects to worker B with the id of its last event, as
a browser's EventSource does, and worker B takes the answer over. The picture shows when each token reached the client;
it is drawn only if the text is complete, in order and without a repetition.
"""

import asyncio
import json
import os
import signal
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import matplotlib as mpl
from matplotlib.figure import Figure

from bench.processes import FAUST, BenchError, Running, module, start
from bench.targets import BenchKafka, on_kafka, worker_settings
from demo.text import expected_content
from tests.services.process import free_ports

PICTURE = Path(__file__).parents[1] / "docs" / "survival.svg"
TOKENS, DELAY_MS = 240, 100
KILL_AFTER_S = 10.0  # from the first token
RECONNECT_S = 1.0  # between two tries of the client
BOTH_WITHIN_S = 60.0
A, B, GREY, RED = "#0072B2", "#E69F00", "#999999", "#D55E00"  # of Okabe and Ito

BODY: dict[str, object] = {
    "model": f"demo:tokens={TOKENS},delay_ms={DELAY_MS}",
    "messages": [{"role": "user", "content": "Tell me a short story about a brave knight."}],
    "stream": True,
}


@dataclass(slots=True)
class Client:
    """The tokens that a client has read, with their times."""

    text: str = ""
    uid: str = ""
    last_id: str = ""
    done: bool = False
    tokens_at: list[float] = field(default_factory=list)  # monotonic seconds
    begun: asyncio.Event = field(default_factory=asyncio.Event)  # a token has come

    async def read(self, response: aiohttp.ClientResponse) -> None:
        """Read events until the stream ends or breaks."""
        event_id = ""
        async for line in response.content:
            name, _, value = line.decode().rstrip("\r\n").partition(": ")
            if name == "id":
                event_id = value
            elif name == "data" and value == "[DONE]":
                self.done = True
            elif name == "data":
                self._take(json.loads(value), event_id)

    def _take(self, chunk: dict[str, Any], event_id: str) -> None:
        if "error" in chunk:
            raise BenchError(f"the stream failed: {chunk['error']}")
        self.uid, self.last_id = str(chunk["id"]), event_id
        text = "".join(choice["delta"].get("content") or "" for choice in chunk["choices"])
        if text:
            self.text += text
            self.tokens_at.append(time.monotonic())
            self.begun.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Survived:
    """Times of one run, in seconds from the first token."""

    tokens_s: list[float]
    killed_s: float


async def run(a: Running, urls: tuple[str, str]) -> Survived:
    """Stream from worker A, kill it, go on at worker B."""
    client = Client()
    async with aiohttp.ClientSession() as session:
        await _both_own(session, urls)
        reading = asyncio.create_task(_first(session, f"{urls[0]}/v1/chat/completions", client))
        await client.begun.wait()
        await asyncio.sleep(KILL_AFTER_S)
        os.kill(a.pid, signal.SIGKILL)
        killed_at = time.monotonic()
        await reading
        await _resume(session, f"{urls[1]}/v1/chat/completions", client)
    if client.text != expected_content(BODY) or not client.done:
        raise BenchError(f"the text is not the answer, or has no end: {client.text!r}")
    first = client.tokens_at[0]
    return Survived(
        tokens_s=[at - first for at in client.tokens_at],
        killed_s=killed_at - first,
    )


async def _both_own(session: aiohttp.ClientSession, urls: tuple[str, str]) -> None:
    """Wait until both workers know that both own partitions."""
    deadline = time.monotonic() + BOTH_WITHIN_S
    known = [0]
    while known != [len(urls)] * len(urls):
        if time.monotonic() > deadline:
            raise BenchError("the workers do not share the partitions")
        await asyncio.sleep(0.2)
        known = []
        for url in urls:
            async with session.get(f"{url}/requests") as response:
                known.append(len((await response.json()).get("workers", ())))


async def _first(session: aiohttp.ClientSession, url: str, client: Client) -> None:
    try:
        async with session.post(url, json=BODY) as response:
            await client.read(response)
    except aiohttp.ClientError:
        return
    raise BenchError("the answer ended before the worker was killed")


async def _resume(session: aiohttp.ClientSession, url: str, client: Client) -> None:
    while True:
        headers = {"Last-Event-ID": client.last_id}
        async with session.get(f"{url}/{client.uid}/stream", headers=headers) as response:
            if response.status == 200:
                return await client.read(response)
        await asyncio.sleep(RECONNECT_S)


def draw(survived: Survived, path: Path) -> None:
    """Write the picture as SVG."""
    figure = Figure(figsize=(9, 3.1), layout="constrained")
    panel = figure.subplots()
    numbers = range(1, len(survived.tokens_s) + 1)
    before = sum(at <= survived.killed_s for at in survived.tokens_s)
    for part, colour, name in ((slice(before), A, "from worker A"), (slice(before, None), B, "from worker B")):
        panel.plot(survived.tokens_s[part], numbers[part], ".", color=colour, markersize=4, label=f"tokens {name}")
    panel.axvline(survived.killed_s, color=RED, linewidth=1.2)
    panel.annotate(
        "kill -9 worker A",
        (survived.killed_s, len(numbers)),
        (4, -8),
        textcoords="offset points",
        color=RED,
        fontsize=9,
    )
    resumed_s = survived.tokens_s[before]
    pause_s = resumed_s - survived.killed_s
    panel.annotate(
        f"client reconnects to worker B, which waits\nfor the lease and takes over: {pause_s:.0f} s",
        ((survived.killed_s + resumed_s) / 2, before),
        (0, -30),
        textcoords="offset points",
        ha="center",
        fontsize=9,
        color="#555555",
    )
    panel.hlines(before, survived.killed_s, resumed_s, color=GREY, linestyle=":", linewidth=1.2)
    panel.set_xlabel("seconds from the first token, at the client")
    panel.set_ylabel("token number")
    panel.set_title(
        f"One stream of {len(numbers)} tokens, one kill -9: no token lost, none repeated", fontsize=10, loc="left"
    )
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(loc="lower right", frameon=False, fontsize=9)
    with mpl.rc_context({"svg.hashsalt": "weir"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def main() -> None:
    """Run it, and draw the picture."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        kafka = stack.enter_context(BenchKafka())
        model_port, *ports = free_ports(3)
        model = start(
            "demo", module("demo.model", "--port", model_port), folder, ping=f"http://127.0.0.1:{model_port}/v1/models"
        )
        stack.callback(model.stop)
        urls = (f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}")
        workers = []
        for letter, port, url in zip("ab", ports, urls, strict=True):
            (folder / letter).mkdir()
            env = {**on_kafka(kafka.bootstrap), "OPENAI_CONTINUATION": "prefill"}
            settings = worker_settings(folder / letter, model_port, port, env)
            command = [str(FAUST), "-A", "app", "worker"]
            workers.append(start(f"worker {letter}", command, folder / letter, settings, f"{url}/ping"))
            stack.callback(workers[-1].stop)
        survived = asyncio.run(run(workers[0], urls))
    draw(survived, PICTURE)
    pause_s = max(after - before for before, after in pairwise(survived.tokens_s))
    print(f"{len(survived.tokens_s)} tokens, killed after {survived.killed_s:.1f} s, longest pause {pause_s:.1f} s")


if __name__ == "__main__":
    main()
