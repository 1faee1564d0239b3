"""Reads the bytes of a response for the load generator: protocol logic without I/O.

It counts tokens while they come, for the time of each, and checks the whole answer at its end: every token once, in
order, and the answer closed by ``[DONE]``. A token is found by the bytes that start its text, whatever surrounds it:
Weir sends several events in one write, and its events have an ``id:`` line.
"""

import re
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

TOKEN = b'"content":"'
_TOKENS = re.compile(rb'"content":"(\d+)@(\d+) "')
_DONE = b"data: [DONE]"


class MalformedResponseError(Exception):
    """The response is not HTTP with chunked transfer coding."""


@dataclass(slots=True)
class Answer:
    """The measurements of one answer."""

    sent_at: float
    first_at: float = 0.0
    last_at: float = 0.0
    tokens: int = 0
    messages: int = 0  # the number of messages it came in, over RabbitMQ
    error: str = ""
    arrivals: list[tuple[float, int]] = field(default_factory=list)  # (time, tokens that arrived by then), per read
    # of each token: the time from the upstream to here
    transits_s: "array[float]" = field(default_factory=lambda: array("d"))

    @property
    def complete(self) -> bool:
        """Whether the answer holds every token, once and in order."""
        return not self.error

    def arrive(self, new: int, now: float) -> None:
        """Count tokens that were read at ``now``."""
        if new:
            if not self.tokens:
                self.first_at = now
            self.last_at = now
            self.tokens += new
            self.arrivals.append((now, self.tokens))

    def time(self, stamps: Sequence[bytes]) -> None:
        """Note when each token was sent."""
        at = 0
        for now, upto in self.arrivals:
            self.transits_s.extend(now - int(stamp) / 1e6 for stamp in stamps[at:upto])
            at = upto


class Response:
    """One response, fed piece by piece."""

    def __init__(self, expected: int, sent_at: float) -> None:
        self.answer = Answer(sent_at)
        self.ended = False
        self._expected = expected
        self._head: bytes | None = None  # the part of the head that has arrived; None once it is read
        self._head = b""
        self._left = 0  # bytes still to come of the current chunk
        self._rest = b""  # of a chunk's frame that is cut off
        self._body = bytearray()
        self._searched = 0

    def feed(self, data: bytes, now: float) -> bool:
        """Take the bytes that were read at ``now``; returns whether the response is over.

        Raises:
            MalformedResponseError: the bytes are not an expected response.
        """
        if self._head is not None:
            data = self._read_head(self._head + data)
        if data:
            self._unchunk(data)
        self._count(now)
        if self.ended:
            self._check()
        return self.ended

    def _read_head(self, data: bytes) -> bytes:
        head, end, body = data.partition(b"\r\n\r\n")
        if not end:
            self._head = data
            return b""
        self._head = None
        if not head.startswith(b"HTTP/1.1 200 ") or b"chunked" not in head.lower():
            raise MalformedResponseError(repr(data[:300]))
        return body

    def _unchunk(self, data: bytes) -> None:
        """Remove the chunked transfer coding. A chunk's payload is taken as it arrives, its frame when complete."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, length, body = 0, len(data), self._body
        while at < length:
            if self._left:
                taken = min(self._left, length - at)
                body += data[at : at + taken]
                self._left -= taken
                at += taken
                continue
            # Between chunks: the end of the one before, and the size of the next.
            start = at + 2 if data.startswith(b"\r\n", at) else at
            end = data.find(b"\r\n", start)
            if end < 0:
                self._rest = data[at:]
                return
            self._left = _size(data[start:end])
            at = end + 2
            if self._left == 0:
                if not data.startswith(b"\r\n", at):  # the rest of it is still to come
                    self._rest = data[start:]
                    return
                self.ended = True
                return

    def _count(self, now: float) -> None:
        new = self._body.count(TOKEN, self._searched)
        # A token that is cut in two is found when its rest has arrived.
        self._searched = max(0, len(self._body) - len(TOKEN) + 1)
        self.answer.arrive(new, now)

    def _check(self) -> None:
        answer = self.answer
        found = _TOKENS.findall(self._body)
        if [int(index) for index, _ in found] != list(range(self._expected)):
            answer.error = f"{len(found)} tokens or not in order, not {self._expected}: {bytes(self._body[-300:])!r}"
        elif answer.tokens != self._expected or _DONE not in self._body[-100:]:
            answer.error = f"{answer.tokens} texts and no clean end: {bytes(self._body[-300:])!r}"
        else:
            answer.time([stamp for _, stamp in found])


def _size(digits: bytes) -> int:
    try:
        return int(digits, 16)
    except ValueError:
        raise MalformedResponseError(f"a chunk of size {digits[:80]!r}") from None
