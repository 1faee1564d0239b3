"""The figures added up in one window: integers only, so that the order of events makes no difference."""

from dataclasses import dataclass, field, fields

from weir.envelope import Json
from weir.events.feedback import FeedbackSource
from weir.events.metrics import MetricsRecorded
from weir.events.signals import SignalRecorded
from weir.insights.sketch import Sketch

NANO = 1_000_000_000  # of a US dollar
MICRO = 1_000_000  # of a signal's score and weight

_GIVEN = {FeedbackSource.EXPLICIT, FeedbackSource.IMPLICIT}  # by clients; the other sources are guesses of Weir


@dataclass(slots=True)
class WindowFigures:
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
    feedback: int = 0  # signals from a client's word or action
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
        # the time until a failure, or until a client gave up, says little about the model
        if data.status != "completed":
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

    def merge(self, other: "WindowFigures") -> None:
        """Add the counts of another window."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.latency.merge(other.latency)
        self.ttft.merge(other.ttft)

    # -- figures; None where the divisor is 0

    @property
    def answered(self) -> int:
        """Requests that the model ended: those that a client or the clock ended are not its errors."""
        return self.completed + self.failed

    @property
    def error_rate(self) -> float | None:
        """The share of failed requests among those that the model ended."""
        return self.failed / self.answered if self.answered else None

    @property
    def latency_p95_ms(self) -> float | None:
        """The 95th percentile of the latency of completed requests."""
        return self.latency.quantile_ms(0.95)

    @property
    def cost_usd(self) -> float:
        """The cost of all requests whose cost is known."""
        return self.cost_nano / NANO

    @property
    def cost_per_request_usd(self) -> float | None:
        """The mean cost of requests whose cost is known."""
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
        """All figures, for people."""
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
    def from_flat(cls, values: list[int | list[int]]) -> "WindowFigures":
        """The window that ``flat`` was called on. Fields of later versions are at the end, and empty."""
        return cls(*(Sketch(value) if isinstance(value, list) else value for value in values))  # type: ignore[arg-type]


_COUNTS = tuple(each.name for each in fields(WindowFigures) if each.name not in {"latency", "ttft"})


def _counted(tokens: int, requests: int) -> int | None:
    """A sum of tokens; None if no tokens were counted. Windows of former versions hold only the sum."""
    return tokens if requests or tokens else None


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
