"""W3C Trace Context, level 1: the header ``traceparent``, which names the place of a request in a trace.

An invalid header is ignored, as the standard wants it: a trace is never a reason to refuse a request.
"""

import re
import secrets
from typing import NamedTuple

HEADER = "traceparent"
UNSAMPLED, SAMPLED = 0, 1

_SHAPE = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NONE = frozenset("0")


class TraceParent(NamedTuple):
    """A place in a trace."""

    trace_id: int
    span_id: int
    flags: int

    def __str__(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.flags:02x}"


def parse(given: object) -> TraceParent | None:
    """The place that a header names; None if the header is not valid.

    A version that is not known yet is read like this one, and passed on as this one.
    """
    text = given.decode("ascii", "replace") if isinstance(given, bytes) else given
    found = _SHAPE.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or set(trace_id) == _NONE or set(span_id) == _NONE:
        return None
    return TraceParent(int(trace_id, 16), int(span_id, 16), int(flags, 16) & SAMPLED)


def mint() -> TraceParent:
    """A new trace, which is not recorded: its id only connects the events of one request."""
    return TraceParent(secrets.randbits(128) | 1, secrets.randbits(64) | 1, UNSAMPLED)
