"""An original beside its replay: the figures of both, as the run publishes them for its report."""

from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from weir.envelope import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOutcome:
    """The result of one request."""

    model: str
    status: str  # completed, failed, cancelled, expired; "running" if it had not ended
    finish_reason: str | None = None
    error_code: str | None = None
    attempts: int = 0  # LLM calls
    latency_ms: float | None = None  # from the door to the end
    ttft_ms: float | None = None  # from the LLM call to its first token
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    chars: int = 0  # of the answer's text


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """An original beside its replay."""

    uid: str  # of the replay
    replay_of: str  # uid of the original
    tenant: str
    original: AnswerOutcome
    replay: AnswerOutcome
    similarity: float | None  # ROUGE-L F1 of the two texts, 0 to 1; None if one of them completed without text
    identical: bool  # whether the two texts are the same, to the character
    original_text: str | None = None  # only if texts were asked for
    replay_text: str | None = None

    def as_json(self) -> Json:
        """The pair as JSON, for ``compared_from``."""
        return asdict(self)


_COMPARED = TypeAdapter(Compared)


def compared_from(json: Json) -> Compared:
    """The pair that ``as_json`` was called on; unknown fields, of a later version, are left out.

    Raises:
        ValueError: a field is missing or malformed; the message names it.
    """
    return _COMPARED.validate_python(json)
