"""An LLM server that sends the bytes of a case: good HTTP and bad, whole answers and broken ones.

The model of a request names its script. The server runs on a thread of its own, so it outlives the event loop of a test
and serves a worker that many tests share.
"""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Self

import orjson

from weir.envelope import Json

BODY_MAX_BYTES = 64 << 20
UNKNOWN = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Ends(Enum):
    """The server's act on the connection, in the place of a pause or of bytes."""

    RESET = auto()  # TCP RST
    HOLD = auto()  # sends nothing more, and keeps the connection until its client leaves


@dataclass(frozen=True)
class Pause:
    """Sends nothing for so long."""

    seconds: float


Step = bytes | Pause | Ends
Script = Sequence[Step]


@dataclass(frozen=True)
class Call:
    """One request to the server."""

    headers: Mapping[str, str]  # names in lower case
    body: Json


def head(status: str = "200 OK", content_type: str = "text/event-stream", **headers: str) -> bytes:
    """A status line and headers; the body goes on until the connection closes. ``retry_after`` is Retry-After."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", "Connection: close"]
    lines += [f"{name.replace('_', '-').title()}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def whole(body: bytes | Json | list[Any], status: str = "200 OK", **headers: str) -> bytes:
    """An answer that is not streamed, JSON unless it is bytes."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    return (
        head(status, headers.pop("content_type", "application/json"), content_length=str(len(content)), **headers)
        + content
    )


def event(data: bytes | Json) -> bytes:
    """Return one server-sent event."""
    return b"data: " + (data if isinstance(data, bytes) else orjson.dumps(data)) + b"\n\n"


DONE = event(b"[DONE]")


def chunk(delta: Json | None = None, finish_reason: str | None = None, *, index: int = 0, **more: Any) -> Json:
    """Return a chat.completion.chunk with one choice; ``more`` are fields of the chunk."""
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish_reason}
    top = {"id": "cmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "scripted"}
    return {**top, "choices": [choice], **more}


def said(*chunks: Json, end: bytes = DONE) -> tuple[bytes, ...]:
    """Return a whole streamed answer: its headers, an event for each chunk, the end."""
    return (head(), *(event(each) for each in chunks), end)


class ScriptedUpstream:
    """The server. Use it as a context manager.

    A model has one script or one for each call; the last one repeats. A model without a script is a 404.
    """

    def __init__(self) -> None:
        self.url = ""  # with /v1
        self._scripts: dict[str, list[Script]] = {}
        self._calls: dict[str, list[Call]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="scripted upstream", daemon=True)
        self._server: asyncio.Server | None = None

    def play(self, model: str, *scripts: Script) -> None:
        """Set the scripts of calls for ``model``; the first call gets the first script."""
        self._scripts[model] = list(scripts)
        self._calls[model] = []

    def calls(self, model: str) -> list[Call]:
        """Return the calls for ``model`` since `play`."""
        return list(self._calls.get(model, ()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        ).result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                call = await _read(reader)
                model = str(call.body.get("model", ""))
                scripts = self._scripts.get(model)
                calls = self._calls.setdefault(model, [])
                calls.append(call)
                script: Script = (UNKNOWN,) if not scripts else scripts[min(len(calls), len(scripts)) - 1]
                await _play(script, reader, writer)
        finally:  # also where the server ends in the middle of a script
            with suppress(OSError):
                writer.close()


async def _read(reader: asyncio.StreamReader) -> Call:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    length = min(int(headers.get("content-length", "0")), BODY_MAX_BYTES)
    raw = await reader.readexactly(length) if length else b"{}"
    return Call(headers, orjson.loads(raw))


async def _play(script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for step in script:
        match step:
            case bytes():
                writer.write(step)
                await writer.drain()
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Ends.RESET:
                await asyncio.sleep(0.05)  # so that the bytes written before arrive
                writer.transport.abort()
                return
            case Ends.HOLD:
                await reader.read()  # until the client closes its side
