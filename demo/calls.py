"""Counts the calls of the model by prompt, and those whose client left: the proof of "one call per request"."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import orjson

KEY_CHARS = 100  # of the last user text
_MAX_KEYS = 100_000  # a demo server may run for weeks; the oldest keys go first
_MAX_BEGAN = 100  # of one key, whose time is kept: the first ones


class Calls:
    """Counters of one server."""

    def __init__(self) -> None:
        self.by_key: Counter[str] = Counter()
        self.began: dict[str, list[float]] = {}  # times of calls in seconds since the epoch, by key
        self.total = 0
        self.open = 0  # calls under way now
        self.closed_early = 0  # the client left before the answer was complete

    @contextmanager
    def call(self, text: str) -> Iterator[int]:
        """Counts one call for its duration; yields the number of calls with this text, this one included."""
        key = text[:KEY_CHARS]
        if key not in self.by_key and len(self.by_key) >= _MAX_KEYS:
            oldest = next(iter(self.by_key))
            del self.by_key[oldest], self.began[oldest]
        self.by_key[key] += 1
        began = self.began.setdefault(key, [])
        if len(began) < _MAX_BEGAN:
            began.append(time.time())
        self.total += 1
        self.open += 1
        try:
            yield self.by_key[key]
        except (asyncio.CancelledError, ConnectionError):
            self.closed_early += 1
            raise
        finally:
            self.open -= 1

    def reset(self) -> None:
        """Forgets all calls that are over; calls that are still open stay counted as open."""
        self.by_key.clear()
        self.began.clear()
        self.total = self.closed_early = 0

    def as_json(self) -> bytes:
        """The body of GET /demo/calls."""
        counts = {"calls": self.total, "open": self.open, "closed_early": self.closed_early}
        return orjson.dumps({**counts, "by_key": self.by_key, "began": self.began})
