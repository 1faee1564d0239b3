"""Server-sent events as OpenAI sends them, plus an id on each event and comments while the client waits."""

import asyncio
import socket
from collections.abc import Iterator

import orjson
from aiohttp import web

from weir.envelope import Json
from weir.timing import Patience

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would buffer the tokens
}
PIECE_BYTES = 32 << 10  # written at once; then the client has to read it before more is encoded
# The kernel's buffer for a client that does not read. Without a limit it grows to megabytes, all of them encoded.
SEND_BUFFER_BYTES = 64 << 10
HEARTBEAT = b": heartbeat\n"  # no empty line after it: behind an id, the openai client takes that for an event
DONE = b"data: [DONE]\n\n"


def event(chunk: Json, event_id: str) -> bytes:
    """Return one chunk as an event. The id is its position in the log: partition, offset, place in the frame."""
    return b"id: %b\ndata: %b\n\n" % (event_id.encode(), orjson.dumps(chunk))


def error_event(body: Json, event_id: str | None = None) -> bytes:
    """Return an error in the middle of a stream, after the status was sent: the openai clients raise it."""
    name = b"" if event_id is None else b"id: %b\n" % event_id.encode()
    return b"%bdata: %b\n\n" % (name, orjson.dumps(body))


class SlowClientError(ConnectionResetError):
    """The client left its socket full for too long."""


class Paced:
    """A response that is written no faster than its client reads it, and buffers little meanwhile."""

    def __init__(self, request: web.Request, response: web.StreamResponse, write_timeout_s: float) -> None:
        self._request = request
        self._response = response
        self._write_timeout_s = write_timeout_s
        self._patience = Patience()
        self._clock = asyncio.get_running_loop().time
        _keep_little(request)

    def close(self) -> None:
        """Release the timer."""
        self._patience.close()

    @property
    def response(self) -> web.StreamResponse:
        """The response, for the handler to return."""
        return self._response

    @property
    def started(self) -> bool:
        """Whether the status is sent."""
        return self._response.prepared

    async def write(self, data: bytes) -> None:
        """Send bytes, after the headers if they are not sent yet. Returns when the connection has little left to send.

        Raises:
            SlowClientError: the client does not read.
            ConnectionResetError: the client is gone.
        """
        try:
            if not self._response.prepared:
                with self._patience.until(self._clock() + self._write_timeout_s):
                    await self._response.prepare(self._request)
            for piece in _pieces(data):
                with self._patience.until(self._clock() + self._write_timeout_s):
                    await self._response.write(piece)
                    await self._request.writer.drain()  # write() waits only now and then
        except TimeoutError:
            raise SlowClientError(f"nothing read for {self._write_timeout_s:g} s") from None


class EventStream(Paced):
    """The response side of one stream. Headers leave with the first bytes, so that an early failure has a status."""

    def __init__(self, request: web.Request, headers: dict[str, str], write_timeout_s: float) -> None:
        super().__init__(request, web.StreamResponse(headers={**HEADERS, **headers}), write_timeout_s)


def _keep_little(request: web.Request) -> None:
    """Bound what the connection of a request buffers: in this process, and in the kernel."""
    transport = request.transport
    if not isinstance(transport, asyncio.WriteTransport):
        return
    transport.set_write_buffer_limits(high=PIECE_BYTES)
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


def _pieces(data: bytes) -> Iterator[bytes | memoryview]:
    """The bytes in pieces that are small enough to be written at once, without copies of the larger ones."""
    if len(data) <= PIECE_BYTES:
        yield data
        return
    view = memoryview(data)
    for start in range(0, len(data), PIECE_BYTES):
        yield view[start : start + PIECE_BYTES]
