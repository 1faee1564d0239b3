"""The fake LLM of the benchmark: answers of a given length at a given pace, with as little work as Python can do.

    python -m bench.upstream PORT

The model's name holds the answer: ``50-tokens-5-ms`` is 50 tokens, one every 5 ms. Token *i* is due ``(i + 1)`` times
the pace after the request, on an absolute schedule, so a late one delays no other. At 0 ms each stream gets one token
in turn, each in a write of its own, as an inference server does that computes in batches.

A token's text is ``index@microseconds``, the time at which it was handed to the kernel. That clock (CLOCK_MONOTONIC) is
the same in all processes of a machine, so the load generator knows how long each token was on its way, and that
none is missing, doubled or out of order.

It is epoll and sockets, without asyncio, because it shares the machine's cores with the measured programs: a token
costs a third of what it costs with an asyncio protocol.
"""

import heapq
import re
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from functools import lru_cache

import orjson

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STAMP = b"@%014d"  # of one width, so that the length of an event does not depend on the time
_MODEL = re.compile(r"(\d+)-tokens-(\d+)-ms")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
READ_BYTES = 65536
PROMPT_TOKENS = 12


def model_name(tokens: int, pace_ms: int) -> str:
    """The name of the model that gives such an answer."""
    return f"{tokens}-tokens-{pace_ms}-ms"


def pace_of(model: str) -> tuple[int, float] | None:
    """The number of tokens of an answer, and the seconds between them; None if the name is not of this form."""
    named = _MODEL.fullmatch(model)
    return (int(named[1]), int(named[2]) / 1000) if named else None


@dataclass(frozen=True, slots=True)
class Script:
    """An answer, ready to be sent: the wire form of each token with a hole for the time, and the end."""

    tokens: tuple[bytes, ...]
    end: bytes
    pace_s: float


def _event(payload: bytes) -> bytes:
    """One SSE event as one chunk of HTTP's chunked transfer coding."""
    event = b"data: " + payload + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


def _chunk(model: str, choices: list[object], **more: object) -> bytes:
    head = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1700000000, "model": model}
    return orjson.dumps({**head, "choices": choices, **more})


@lru_cache
def script(model: str, *, include_usage: bool) -> Script | None:
    """The answer of a model; None if its name is not of the known form."""
    named = pace_of(model)
    if named is None:
        return None
    count, pace_s = named
    tokens = []
    for index in range(count):
        # The time is put in later: the bytes "@%014d" and the formatted time differ in length.
        delta = {"role": "assistant", "content": f"{index}{'@' * len(STAMP % 0)} "}
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        tokens.append(_event(_chunk(model, [choice])).replace(b"@" * len(STAMP % 0), STAMP))
    end = _event(_chunk(model, [{"index": 0, "delta": {}, "finish_reason": "stop"}]))
    if include_usage:
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": count, "total_tokens": PROMPT_TOKENS + count}
        end += _event(_chunk(model, [], usage=usage))
    return Script(tuple(tokens), end + _event(b"[DONE]") + b"0\r\n\r\n", pace_s)


def plain(status: str, body: object) -> bytes:
    """A whole response with a JSON body."""
    value = orjson.dumps(body)
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
        status.encode(),
        len(value),
        value,
    )


@dataclass(slots=True, eq=False)
class Connection:
    """One client, with its answer."""

    sock: socket.socket
    received: bytearray = field(default_factory=bytearray)
    unsent: bytearray = field(default_factory=bytearray)
    script: Script | None = None
    said: int = 0
    began_at: float = 0.0
    closed: bool = False

    def request(self) -> tuple[bytes, bytes] | None:
        """The next complete request: its first line, its body."""
        head_end = self.received.find(b"\r\n\r\n")
        if head_end < 0:
            return None
        head = bytes(self.received[:head_end])
        length = _LENGTH.search(head)
        end = head_end + 4 + (int(length[1]) if length else 0)
        if len(self.received) < end:
            return None
        body = bytes(self.received[head_end + 4 : end])
        del self.received[:end]
        return head.partition(b"\r\n")[0], body

    def next_wire(self) -> bytes:
        """The next token, stamped with the time; with the first comes the head, with the last the end."""
        speech = self.script
        if speech is None:
            return b""
        wire = speech.tokens[self.said] % int(time.perf_counter() * 1e6)
        if self.said == 0:
            wire = HEAD + wire
        self.said += 1
        if self.said == len(speech.tokens):
            wire += speech.end
            self.script = None
        return wire


class Upstream:
    """All connections, with the time of the next token of each."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._epoll = select.epoll()
        self._epoll.register(listener, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._due: list[tuple[float, int, Connection]] = []
        self._eager: deque[Connection] = deque()  # streams without a pause
        self._serial = 0

    def run(self) -> None:
        """Serve until killed."""
        while True:
            self.step()

    def step(self) -> None:
        """Send the tokens that are due, and read the requests that have arrived."""
        for connection in self._take_due():
            self._say(connection)
        for _ in range(len(self._eager)):
            self._say(self._eager.popleft())
        for descriptor, events in self._epoll.poll(self._pause_s()):
            if descriptor == self._listener.fileno():
                self._accept()
            elif found := self._connections.get(descriptor):
                if events & select.EPOLLOUT:
                    self._flush(found)
                if events & ~select.EPOLLOUT:
                    self._read(found)

    def close(self) -> None:
        """Close every socket."""
        for connection in list(self._connections.values()):
            self._close(connection)
        self._epoll.close()
        self._listener.close()

    def _pause_s(self) -> float:
        if self._eager:
            return 0
        return max(0.0, self._due[0][0] - time.perf_counter()) if self._due else 1.0

    def _take_due(self) -> list[Connection]:
        now, due = time.perf_counter(), []
        while self._due and self._due[0][0] <= now:
            due.append(heapq.heappop(self._due)[2])
        return due

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[sock.fileno()] = Connection(sock)
        self._epoll.register(sock, select.EPOLLIN)

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(READ_BYTES)
        except BlockingIOError:
            return None
        except ConnectionError:
            data = b""
        if not data:
            return self._close(connection)
        connection.received += data
        if connection.script is None and (request := connection.request()):
            self._answer(connection, *request)
        return None

    def _answer(self, connection: Connection, line: bytes, body: bytes) -> None:
        if line.startswith(b"GET /v1/models"):
            models = [{"id": model_name(50, 5), "object": "model", "created": 0, "owned_by": "bench"}]
            return self._send(connection, plain("200 OK", {"object": "list", "data": models}))
        asked = orjson.loads(body) if line.startswith(b"POST /v1/chat/completions") else {}
        usage = bool((asked.get("stream_options") or {}).get("include_usage"))
        speech = script(str(asked.get("model")), include_usage=usage)
        if speech is None:
            return self._send(connection, plain("404 Not Found", {"error": {"message": "no such model or path"}}))
        connection.script, connection.said, connection.began_at = speech, 0, time.perf_counter()
        return self._schedule(connection)

    def _schedule(self, connection: Connection) -> None:
        if connection.script is None:
            return
        if connection.script.pace_s == 0:
            if not connection.unsent:  # else when it is sent: a slow reader is waited for
                self._eager.append(connection)
            return
        self._serial += 1
        due = connection.began_at + (connection.said + 1) * connection.script.pace_s
        heapq.heappush(self._due, (due, self._serial, connection))

    def _say(self, connection: Connection) -> None:
        if connection.closed:
            return
        self._send(connection, connection.next_wire())
        self._schedule(connection)

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.unsent:
            connection.unsent += data
            return None
        try:
            sent = connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        except ConnectionError:
            return self._close(connection)
        if sent < len(data):
            connection.unsent += data[sent:]
            self._epoll.modify(connection.sock, select.EPOLLIN | select.EPOLLOUT)
        return None

    def _flush(self, connection: Connection) -> None:
        data = bytes(connection.unsent)
        connection.unsent.clear()
        self._send(connection, data)
        if not connection.unsent and not connection.closed:
            self._epoll.modify(connection.sock, select.EPOLLIN)
            if connection.script is not None and connection.script.pace_s == 0:
                self._eager.append(connection)

    def _close(self, connection: Connection) -> None:
        if not connection.closed:
            connection.closed = True
            del self._connections[connection.sock.fileno()]
            connection.sock.close()


def listen(port: int) -> socket.socket:
    """A listening socket on loopback."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    listener.setblocking(False)
    return listener


if __name__ == "__main__":
    Upstream(listen(int(sys.argv[1]))).run()
