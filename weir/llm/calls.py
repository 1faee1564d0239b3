"""The options of one call to an upstream, and the limits of an upstream. Free of I/O."""

from dataclasses import dataclass

from weir.options import ThinkTags


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long an upstream may be silent, in seconds."""

    connect_s: float
    first_token_s: float
    idle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """How large an answer may become; the fields are named like the settings that limit them."""

    max_bytes: int = 1 << 62  # of the answer as the upstream sends it
    max_tokens: int = 1 << 62  # chunks with content
    max_s: float = float(1 << 30)  # from the start of the answer to its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """The options with which one answer is requested."""

    streamed: bool = True  # the client asked for a stream, so that an upstream that cannot stream is an error
    # Retries start within so many seconds; None: within the time for the first token.
    retry_within_s: float | None = None
    think_tags: ThinkTags = ThinkTags.SPLIT
    allowance: Allowance = Allowance()


PLAIN_CALL = Call()
