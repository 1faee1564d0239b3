"""Decides when a call that failed before its first token is made again. Pure, except for randomness.

All retries of a request are made here, and nowhere else: not by the HTTP library, and, if the client obeys
`x-should-retry`, not by the client. Otherwise three tries here times three in each client are nine calls for a busy
LLM.
"""

import random
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time

from weir.errors import NAMED_TIMES, SHOULD_RETRY
from weir.llm.errors import UpstreamError
from weir.llm.shapes import is_quota

BACKOFF_S = 0.5  # before the first retry; doubled for each further one
BACKOFF_MAX_S = 8.0
NAMED_MAX_S = 30.0  # the longest pause that is waited for here: it holds a slot. A client can wait longer at less cost
_TRIED_BY_CLIENTS = frozenset({408, 409, 429})  # and 500 and above
NAMED_LIMIT_S = 1e10  # a longer pause is taken for a mistake
JITTER = 0.25  # the random part of a pause, so that callers do not come back in step


@dataclass(kw_only=True)
class Retries:
    """The retries of one request.

    Attributes:
        left: how many more retries may be made.
        until: no retry begins later, on the clock of the ``now`` that ``pause_s`` is given.
    """

    left: int
    until: float
    made: int = 0

    def pause_s(self, error: UpstreamError, now: float) -> float | None:
        """The pause before the next try in seconds; None if there is to be none."""
        wanted = error.headers.get(SHOULD_RETRY, "").lower()
        if self.left <= 0 or wanted == "false" or is_quota(error.error) or not (error.transient or wanted == "true"):
            return None
        named = named_s(error)
        pause = self._backoff_s() if named is None else named
        if now + pause > self.until or (named is not None and named > NAMED_MAX_S):
            return None
        self.left -= 1
        self.made += 1
        return pause

    def tell(self, error: UpstreamError) -> None:
        """Set the header of the last error that says whether its client should try again by itself.

        It should not, if retries were made here, or are of no use. It may if the upstream named a time, or if no retry
        was made here. A client without the header goes by the status.
        """
        if is_quota(error.error):
            error.headers[SHOULD_RETRY] = "false"
        elif error.status not in _TRIED_BY_CLIENTS and error.status < 500:
            return
        elif named_s(error) is None and (self.made or not error.transient):
            error.headers[SHOULD_RETRY] = "false"

    def _backoff_s(self) -> float:
        pause = min(BACKOFF_MAX_S, BACKOFF_S * 2.0**self.made)
        return pause * (1 - JITTER * random.random())  # noqa: S311 -- no secret


def named_s(error: UpstreamError) -> float | None:
    """The pause that the upstream named, in seconds; None if it named none, or an unreadable one."""
    for header in reversed(NAMED_TIMES):
        seconds = _seconds(error.headers.get(header), 1000.0 if header.endswith("-ms") else 1.0)
        if seconds is not None:
            return seconds
    return None


def _seconds(value: str | None, unit: float) -> float | None:
    if value is None:
        return None
    try:
        seconds = float(value) / unit
    except ValueError:
        try:
            seconds = max(0.0, parsedate_to_datetime(value).timestamp() - time())
        except (ValueError, OverflowError):
            return None
    return seconds if 0 <= seconds < NAMED_LIMIT_S else None
