"""Decodes frames from records, each record once for all readers that reach it soon, within a bound.

The generator of an answer and its readers come to the same record, mostly within one turn of the event loop; and a
thousand readers of one answer come to the same records.
"""

from collections import OrderedDict
from functools import lru_cache

from weir.chat import frames
from weir.chat.frames import Frame
from weir.envelope import MalformedRecordError
from weir.log.log import Record

SHARED_FRAMES = 256  # decoded frames kept for the next reader of the same record
SHARED_MAX_BYTES = 65_536  # of such a frame; larger frames are kept apart
LARGE_BYTES = 16 << 20  # of all larger frames that are kept, by their size in the log


def decode(record: Record) -> Frame | None:
    """Return the frame in a record; None for a record that is not a frame, which must not stop a reader."""
    value = record.value
    if value is None:
        return None
    return _decode_once(value) if len(value) <= SHARED_MAX_BYTES else _large.frame(value)


def _decode(value: bytes) -> Frame | None:
    try:
        return frames.decode(value)
    except MalformedRecordError:
        return None


_decode_once = lru_cache(maxsize=SHARED_FRAMES)(_decode)


class _Large:
    """The large frames that were read last, up to a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._frames: OrderedDict[bytes, Frame | None] = OrderedDict()

    def frame(self, value: bytes) -> Frame | None:
        if value in self._frames:
            self._frames.move_to_end(value)
            return self._frames[value]
        frame = self._frames[value] = _decode(value)
        self._size_bytes += len(value)
        while self._size_bytes > self._max_bytes and len(self._frames) > 1:
            dropped, _ = self._frames.popitem(last=False)
            self._size_bytes -= len(dropped)
        return frame


_large = _Large(LARGE_BYTES)
