"""What is added up in one window: integers only, so that it is the same in whichever order events come."""

from dataclasses import dataclass, field, fields

from weir.envelope import Json
from weir.events.feedback import FeedbackSource
from weir.events.metrics import MetricsRecorded
from weir.events.signals import SignalRecorded
from weir.insights.sketch import Sketch

NANO = 1_000_000_000  # of a US dollar
MICRO = 1_000_000  # of a signal's score and weight

_GIVEN = {FeedbackSource.EXPLICIT, FeedbackSource.IMPLICIT}  # by clients; the others are guesses of Weir


@dataclass(slots=True)
class Window:
    """The figures of one tenant and model in one span of time, or of several spans together."""

    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    latency: Sketch = field(default_factory=Sketch)  # of completed requests, door to end
    ttft: Sketch = field(default_factory=Sketch)  # of completed requests, LLM call to first token
    input_tokens: int = 0
    output_tokens: int = 0
    priced: int = 0  # requests whose cost is known
    cost_nano: int = 0
    signals: int = 0
    feedback: int = 0  # signals that stand for what a client said or did
    weight_micro: int = 0  # of all signals
    score_micro: int = 0  # the sum of score times weight
    input_counted: int = 0  # requests whose input tokens the LLM counted
    output_counted: int = 0

    # -- adding up

    def add_request(self, data: MetricsRecorded) -> None:
        """Count a request that has ended."""
        setattr(self, data.status, getattr(self, data.status) + 1)
        if data.input_tokens is not None:
            self.input_counted += 1
            self.input_tokens += data.input_tokens
        if data.output_tokens is not None:
            self.output_counted += 1
            self.output_tokens += data.output_tokens
        if data.cost_usd is not None:
            self.priced += 1
            self.cost_nano += round(data.cost_usd * NANO)
        if data.status != "completed":  # how long it took to fail, or until somebody gave up, says little of the model
            return
        if data.latency_ms is not None:
            self.latency.add(data.latency_ms)
        if data.ttft_ms is not None:
            self.ttft.add(data.ttft_ms)

    def add_signal(self, data: SignalRecorded) -> None:
        """Count a signal."""
        self.signals += 1
        self.feedback += data.feedback_source in _GIVEN
        self.weight_micro += round(data.weight * MICRO)
        self.score_micro += round(data.weight * data.score * MICRO)

    def merge(self, other: "Window") -> None:
        """Count what the other has counted as well."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latency.merge(other.latency)
        self.ttft.merge(other.ttft)

    # -- figures; None where there is nothing to divide by

    @property
    def answered(self) -> int:
        """Requests that the model ended: those that people or the clock ended are no errors of its."""
        return self.completed + self.failed

    @property
    def error_rate(self) -> float | None:
        """Failed ones among those."""
        return self.failed / self.answered if self.answered else None

    @property
    def latency_p95_ms(self) -> float | None:
        """Of completed requests."""
        return self.latency.quantile_ms(0.95)

    @property
    def cost_usd(self) -> float:
        """Of all requests whose cost is known."""
        return self.cost_nano / NANO

    @property
    def cost_per_request_usd(self) -> float | None:
        """Of those."""
        return self.cost_usd / self.priced if self.priced else None

    @property
    def score(self) -> float | None:
        """The mean score of the signals by their weight: -1 is bad, 1 is good."""
        return self.score_micro / self.weight_micro if self.weight_micro else None

    @property
    def feedback_rate(self) -> float | None:
        """Pieces of feedback for each completed request."""
        return self.feedback / self.completed if self.completed else None

    def figures(self) -> Json:
        """All of them, for people."""
        return {
            "requests": {name: getattr(self, name) for name in ("completed", "failed", "cancelled", "expired")},
            "error_rate": self.error_rate,
            "latency_p50_ms": _rounded(self.latency.quantile_ms(0.5), 1),
            "latency_p95_ms": _rounded(self.latency_p95_ms, 1),
            "ttft_p95_ms": _rounded(self.ttft.quantile_ms(0.95), 1),
            "input_tokens": _counted(self.input_tokens, self.input_counted),
            "output_tokens": _counted(self.output_tokens, self.output_counted),
            "cost_usd": self.cost_usd if self.priced else None,
            "cost_per_request_usd": self.cost_per_request_usd,
            "signals": self.signals,
            "score": _rounded(self.score, 6),
            "feedback": self.feedback,
        }

    # -- as a row

    def flat(self) -> list[int | list[int]]:
        """The fields in their order, short enough to be written for every event."""
        values = (getattr(self, each.name) for each in fields(self))
        return [value.flat() if isinstance(value, Sketch) else value for value in values]

    @classmethod
    def from_flat(cls, values: list[int | list[int]]) -> "Window":
        """From what ``flat`` gave. Fields that came later are at the end, and empty."""
        return cls(*(Sketch(value) if isinstance(value, list) else value for value in values))  # type: ignore[arg-type]


_COUNTS = tuple(each.name for each in fields(Window) if each.name not in {"latency", "ttft"})


def _counted(tokens: int, requests: int) -> int | None:
    """A sum of tokens; None where none were counted. Windows of former versions know the sum only."""
    return tokens if requests or tokens else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
