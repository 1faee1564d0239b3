"""Decodes server-sent events, from bytes as they arrive to the ``data`` of each event. No I/O.

Follows the WHATWG algorithm (lines end with LF, CR or CRLF; a blank line ends an event; several data lines are joined
by LF; a byte order mark at the start, comments, and fields other than ``event`` are ignored). Own code because it is on
hot path: it works on bytes and hands them to orjson, with no string and no object per event in between.
"""

from collections.abc import Iterator

_BOM = b"\xef\xbb\xbf"
MAX_EVENT_BYTES = 16 * 1024 * 1024  # far above any token, with room for an image or a minute of sound


class EventTooLongError(ValueError):
    """An event grew past the limit: the server does not speak this protocol, or is hostile."""


class SseDecoder:
    """Takes bytes cut anywhere and yields the data of each complete event.

    Attributes:
        name: the name of the last event yielded, from its ``event`` field; mostly empty.
    """

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self.name = b""
        self._name = b""  # name of the event that is not complete yet
        self._begun = False
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes of the stream.

        Raises:
            EventTooLongError: an event has more than ``max_event_bytes``.
        """
        self._rest += data
        if b"\n" not in data and b"\r" not in data:
            self._check_size(len(self._rest))
            return
        lines = bytes(self._rest).splitlines(keepends=True)
        # A CR at the very end may be half of a CRLF: it waits for the next byte, as an unfinished line does.
        self._rest = bytearray() if lines[-1].endswith(b"\n") else bytearray(lines.pop())
        for line in lines:
            event = self._line(line.rstrip(b"\r\n"))
            if event is not None:
                yield event

    def close(self) -> Iterator[bytes]:
        """End the stream. An event without its blank line is yielded, as lenient servers need it."""
        # After a CR that waited, the rest may be more than one line.
        lines = bytes(self._rest).splitlines()
        self._rest.clear()
        for line in (*lines, b""):
            event = self._line(line)
            if event is not None:
                yield event

    def _line(self, line: bytes) -> bytes | None:
        if not line:
            event, self._data, self._data_bytes = b"\n".join(self._data), [], 0
            self.name, self._name = self._name, b""
            return event or None
        if not self._begun:
            self._begun, line = True, line.removeprefix(_BOM)
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            self._data.append(value)
            self._data_bytes += len(value)
            self._check_size(self._data_bytes)
        elif line.startswith(b"event:"):
            self._name = line[6:].strip()
        return None

    def _check_size(self, size: int) -> None:
        if size > self._max:
            raise EventTooLongError(f"an event of more than {self._max} bytes")
