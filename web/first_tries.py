"""First tries: requests without a name that a client may send again, and the first try that each retry attaches to.

The stock openai clients send a request again, twice by default, when it timed out or its connection broke. They mark
the retry (``x-stainless-retry-count`` above 0) and give it no key that would name it, so a retry is recognised by its
tenant, its body and its ``X-Think-Tags``. This worker's knowledge of such requests is kept here: which of them its own
clients read, and which have lost their last reader before the end of their answer. A request is kept by one worker at a
time: a retry that takes it removes it here, and keeps it at the worker of its own reader.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

KEPT_MAX = 10_000  # requests that have lost their readers; the oldest are dropped first
TAKEN_S = 10.0  # within this time, a retry that took a request reads it, or leaves it again; an answered one is settled


class RequestIdentity(NamedTuple):
    """Tenant, body and shape of a request: the same for a first try and its retries."""

    tenant: str
    fingerprint: str
    think_tags: str = ""  # how <think> tags are handled


class FirstTries:
    """The first tries that one worker knows."""

    def __init__(self, kept_s: float, *, now: Callable[[], float] = time.monotonic) -> None:
        """``kept_s``: seconds for which a request without a reader is kept."""
        self._kept_s = kept_s
        self._now = now
        self._read: dict[RequestIdentity, Counter[str]] = {}  # the readers of each request on this worker
        self._left: OrderedDict[str, tuple[RequestIdentity, float]] = (
            OrderedDict()
        )  # by uid: its identity, and since when
        # their uids by identity, the earliest to lose its reader first
        self._by_asked: dict[RequestIdentity, list[str]] = {}
        self._taken: OrderedDict[str, tuple[RequestIdentity, float]] = (
            OrderedDict()
        )  # by uid: requests that were answered or taken a moment ago

    @contextmanager
    def reading(self, asked: RequestIdentity, uid: str) -> Iterator[None]:
        """Count a client as a reader of a request, within the context."""
        self._drop(uid)
        readers = self._read.setdefault(asked, Counter())
        readers[uid] += 1
        try:
            yield
            self._note_taken(asked, uid)
        finally:
            readers[uid] -= 1
            if not readers[uid]:
                del readers[uid]
            if not readers:
                self._read.pop(asked, None)

    def read(self, asked: RequestIdentity) -> list[str]:
        """Return the requests that are read here."""
        return list(self._read.get(asked, ()))

    def left(self, asked: RequestIdentity, uid: str) -> None:
        """Note that a request's last reader is gone, or was told to ask again, without its answer."""
        self._forget_old()
        if self._kept_s and uid not in self.read(asked) and uid not in self._left:
            self._left[uid] = (asked, self._now())
            self._by_asked.setdefault(asked, []).append(uid)
            while len(self._left) > KEPT_MAX:
                self._drop(next(iter(self._left)))

    def without_reader(self, asked: RequestIdentity) -> list[str]:
        """Return the requests that have lost their readers here, the earliest first."""
        self._forget_old()
        return list(self._by_asked.get(asked, ()))

    def taken(self, asked: RequestIdentity) -> list[str]:
        """Return the requests that were answered here, or taken by a retry that may not read yet."""
        self._forget_old()
        return [uid for uid, (what, _) in self._taken.items() if what == asked]

    def take(self, asked: RequestIdentity, uid: str, *, generated: bool = False) -> bool:
        """Take a request for a retry, here or with another worker; False if another retry has taken it.

        Args:
            asked: the identity of the request.
            uid: the request's uid.
            generated: whether this worker generates the request: then it can be taken though its reader was elsewhere.
        """
        self._forget_old()
        if self._left.get(uid, (None,))[0] == asked:
            self._drop(uid)
        elif not generated or uid in self._taken:
            return False
        self._note_taken(asked, uid)
        return True

    def _note_taken(self, asked: RequestIdentity, uid: str) -> None:
        self._forget_old()
        self._taken.pop(uid, None)
        self._taken[uid] = (asked, self._now())
        if len(self._taken) > KEPT_MAX:
            self._taken.popitem(last=False)

    def _drop(self, uid: str) -> None:
        found = self._left.pop(uid, None)
        if found is not None:
            uids = self._by_asked[found[0]]
            uids.remove(uid)
            if not uids:
                del self._by_asked[found[0]]

    def _forget_old(self) -> None:
        now = self._now()
        while self._left and now - next(iter(self._left.values()))[1] > self._kept_s:
            self._drop(next(iter(self._left)))
        while self._taken and now - next(iter(self._taken.values()))[1] > TAKEN_S:
            self._taken.popitem(last=False)
