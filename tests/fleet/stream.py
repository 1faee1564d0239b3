"""How a client reads a stream, over one connection or many: every token once and in order, then the end."""

from collections.abc import Callable
from typing import Any

import aiohttp
import orjson

from tests.fleet.seen import AskAgainError, WrongAnswerError

# Errors of a stream after which a client asks again.
AGAIN = frozenset({"log_unavailable", "worker_stopping"})


class Reading:
    """The events that one reader has received.

    An event counts when it is whole, with its empty line, as for a browser's EventSource: one that is cut behind its id
    is ignored.
    """

    def __init__(self, expected: str, *, again: frozenset[str] = AGAIN, ends: frozenset[str] = frozenset()) -> None:
        """``ends``: codes of errors with which the answer may end."""
        self.text = ""
        self.uid: str | None = None
        self.last_id: str | None = None
        self.events = 0
        self.finish: list[str] = []
        self.error: dict[str, Any] | None = None
        self.done = False
        self._expected = expected
        self._again = again
        self._ends = ends
        self.place = (-1, -1)  # offset and number within the frame, of the last event
        self._id: str | None = None  # of the event that comes
        self._data: bytes | None = None

    def line(self, line: bytes) -> None:
        """Take one line of the event stream, without its end.

        Raises:
            AskAgainError: another worker can go on.
            WrongAnswerError: this line must not come.
        """
        if line.startswith(b"id: "):
            self._id = line[4:].decode()
        elif line.startswith(b"data: "):
            self._data = line[6:]
        elif not line:
            event_id, data, self._id, self._data = self._id, self._data, None, None
            if data is not None:
                self._event(event_id, data)

    def cut(self) -> None:
        """Note that the connection is lost."""
        self._id = self._data = None

    def _event(self, event_id: str | None, data: bytes) -> None:
        if self.done:
            raise WrongAnswerError(f"an event after the end: {data[:200]!r}")
        if event_id is not None:
            _, offset, n = event_id.split("-")
            before, self.place = self.place, (int(offset), int(n))
            if self.place <= before:
                raise WrongAnswerError(f"event {self.place} after event {before}")
            self.last_id = event_id
        if data == b"[DONE]":
            self.done = True
            return
        self.events += 1
        self._take(orjson.loads(data))

    def _take(self, data: dict[str, Any]) -> None:
        if "error" in data:
            code = data["error"].get("code")
            if code in self._again:
                raise AskAgainError(code, cut=True)
            if code not in self._ends:
                raise WrongAnswerError(f"the stream ends with an error: {data['error']}")
            self.error = data["error"]
            return
        if data["id"] != f"chatcmpl-{self.uid}":
            raise WrongAnswerError(f"a chunk of {data['id']} in the stream of {self.uid}")
        for choice in data["choices"]:
            self.text += choice["delta"].get("content") or ""
            if choice.get("finish_reason"):
                self.finish.append(choice["finish_reason"])

    def going_on(self) -> "Reading":
        """Another reader, which begins behind the last event of this one."""
        other = Reading(self._expected, again=self._again, ends=self._ends)
        other.uid, other.text, other.last_id, other.finish = self.uid, self.text, self.last_id, [*self.finish]
        other.place = self.place
        return other

    def check_prefix(self) -> None:
        """Check that the text so far is a beginning of the expected one, however the stream ended."""
        if not self._expected.startswith(self.text):
            raise WrongAnswerError(f"streamed {self.text!r}, which is no beginning of {self._expected!r}")

    def check_whole(self) -> None:
        """Check that the stream has ended, with the whole text."""
        if self.text != self._expected or self.finish != ["stop"]:
            raise WrongAnswerError(f"streamed only {self.text!r}, finish reasons {self.finish}, error {self.error}")


async def read_into(reading: Reading, lines: aiohttp.StreamReader, enough: Callable[[], bool] = lambda: False) -> None:
    """Read events to the end of the stream, or until the client has enough.

    Raises:
        AskAgainError, WrongAnswerError: as for `Reading.line`; and the connection was closed in order before the end.
    """
    try:
        async for line in lines:
            if line.endswith(b"\n"):  # else it is cut
                reading.line(line.rstrip(b"\r\n"))
            if enough():
                return
    finally:
        reading.cut()
        reading.check_prefix()
    if not reading.done:
        raise AskAgainError("closed without an end", cut=True)
