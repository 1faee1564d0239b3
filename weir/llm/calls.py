"""What a caller of an upstream decides about one call, and the limits of an upstream. Free of I/O."""

from dataclasses import dataclass
from enum import StrEnum


class ThinkTags(StrEnum):
    """What becomes of ``<think>`` tags at the start of an answer's text."""

    SPLIT = "split"  # what is between them becomes `reasoning_content`
    KEEP = "keep"  # they stay in the text, for clients that take them apart themselves


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long an upstream may be silent, in seconds."""

    connect_s: float
    first_token_s: float
    idle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How much an answer may become; the names are those of the settings that limit it."""

    max_bytes: int = 1 << 62  # of the answer as the upstream sends it
    max_tokens: int = 1 << 62  # chunks that say something
    max_s: float = float(1 << 30)  # from now to its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How one answer is asked for."""

    streamed: bool = True  # the client asked for a stream, so that an upstream that cannot stream is an error
    # Retries begin within so many seconds; None: within the time for the first token.
    retry_within_s: float | None = None
    think_tags: ThinkTags = ThinkTags.SPLIT
    allowance: Allowance = Allowance()


PLAIN_CALL = Call()
