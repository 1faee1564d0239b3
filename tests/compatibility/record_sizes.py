"""Large requests and chunks, where topics take records of at most 1 MB, as Kafka creates them."""

from dataclasses import dataclass
from typing import Final

from tests.compatibility.cases import Case, Sheet

TOPIC_BYTES: Final = 1_048_588  # max.message.bytes as shipped
KIB: Final = 1024
MIB: Final = 1024 * KIB
REFUSED: Final = "413 `request_too_large` on every door; the LLM is not called"
ENDED: Final = "the answer up to it, then one error; the LLM is called once"
ANSWERED: Final = "the answer, whole"


@dataclass(frozen=True, kw_only=True)
class SizeCase(Case):
    """A request, and the contents of the chunks of its answer."""

    request: str = "Say it."
    chunks: tuple[str, ...] = ("Yes", ".")
    error: str | None = None  # the error code
    text: str | None = None  # the text of the answer; None where the request is refused


def _request(name: str, does: str, content: str, error: str | None = None) -> SizeCase:
    return SizeCase(
        id=f"request-of-{name}",
        peer="any client",
        does=f"sends a request of {does}",
        gets=REFUSED if error else ANSWERED,
        request=content,
        error=error,
        text=None if error else "Yes.",
    )


def _answer(name: str, does: str, chunks: tuple[str, ...], error: str | None = None) -> SizeCase:
    return SizeCase(
        id=f"answer-with-{name}",
        peer="any LLM server",
        does=f"sends {does}",
        gets=ENDED if error else ANSWERED,
        chunks=chunks,
        error=error,
        text="".join(chunk for chunk in chunks if len(chunk.encode()) < TOPIC_BYTES) if not error else chunks[0],
    )


TOO_LARGE: Final = "request_too_large"
INVALID: Final = "upstream_invalid_response"

SHEET = Sheet(
    title="Record sizes",
    about="Topics that exist already may take smaller records than KAFKA_MAX_MESSAGE_BYTES; Weir asks each topic for "
    "its `max.message.bytes` at start. Tested with the 1 MB of a topic that Kafka has created by itself.",
    cases=(
        _request("half-a-megabyte", "half a megabyte", "x" * (512 * KIB)),
        _request("just-under-a-megabyte", "a little less than the topic takes", "x" * (TOPIC_BYTES - 4 * KIB)),
        _request("a-megabyte", "exactly what the topic takes, before the envelope", "x" * TOPIC_BYTES, TOO_LARGE),
        _request("two-megabytes", "2 MB", "x" * (2 * MIB), TOO_LARGE),
        _request("escapes", "400 KB that JSON escapes to 2.4 MB", "\x01" * (400 * KIB), TOO_LARGE),
        _request("wide-characters", "600,000 characters of three bytes", "字" * 600_000, TOO_LARGE),
        _answer("a-large-chunk", "a chunk of 900 KB", ("a", "x" * (900 * KIB), "b")),
        _answer("many-large-chunks", "twelve chunks of 200 KB at once", ("a", *("x" * (200 * KIB),) * 12, "b")),
        _answer("a-huge-chunk", "a chunk of 2 MB", ("a", "x" * (2 * MIB), "b"), INVALID),
        _answer("escapes", "a chunk of 400 KB that JSON escapes to 2.4 MB", ("a", "\x01" * (400 * KIB), "b"), INVALID),
    ),
)
