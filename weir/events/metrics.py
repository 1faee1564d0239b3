"""agent-metrics-events: the time and cost of an answer, and its quality. Keyed by tenant and model."""

from typing import ClassVar, Literal

from pydantic import Field

from weir.events.base import RUN_ID, AboutModel, EventData


class MetricsRecorded(AboutModel):
    """The figures of one request that has ended."""

    EVENT_TYPE: ClassVar[str] = "metrics.recorded"
    TOPIC: ClassVar[str] = "agent-metrics-events"

    uid: str
    route: str = Field("default", description="The route that answered.")
    status: Literal["completed", "failed", "cancelled", "expired"]
    error_code: str | None = Field(None, description="OpenAI's error code, if the request failed.")
    ended_at: str = Field(description="When the request ended; ISO 8601, UTC. Windows use this time.")
    attempts: int = Field(description="LLM calls that were begun for the request.")
    queue_ms: float | None = Field(None, description="From the door to the last LLM call, in milliseconds.")
    ttft_ms: float | None = Field(None, description="From the last LLM call to its first token, in milliseconds.")
    latency_ms: float | None = Field(None, description="From the door to the end, in milliseconds.")
    tokens_per_second: float | None = Field(None, description="Output tokens by the time from the first to the end.")
    input_tokens: int | None = Field(None, description="Tokens of the prompt.")
    cached_tokens: int | None = Field(None, description="Tokens of the prompt that came from the LLM's cache.")
    output_tokens: int | None = Field(None, description="Tokens of the answer, thinking included.")
    reasoning_tokens: int | None = Field(None, description="Tokens of thinking among them.")
    cost_usd: float | None = Field(None, description="The cost by the price table; null where the model has no price.")
    replay: str | None = Field(None, description="The run that replayed it; no client waited for the answer.")


class QualityMeasured(AboutModel):
    """The quality of one answer, according to one piece of feedback."""

    EVENT_TYPE: ClassVar[str] = "metrics.quality"
    TOPIC: ClassVar[str] = "agent-metrics-events"

    uid: str
    score: float = Field(ge=0, le=1, description="0 is bad, 1 is good: (1 + the signal's score) / 2.")
    feedback_id: str = Field(description="The event id of the feedback.")
    feedback_type: str


class QualityRebuilt(EventData):
    """The windows of a partition were rebuilt beside the live ones: the partition's owner replaces its windows, once.

    A record of the partition that it is about, for a table is changed under an event only.
    """

    EVENT_TYPE: ClassVar[str] = "quality.rebuilt"
    TOPIC: ClassVar[str] = "agent-metrics-events"

    run: str = Field(pattern=RUN_ID, description="The run that rebuilt them.")
    first: int = Field(ge=0, description="Offset of the first of the rows, in this partition of chat-rebuilds.")
    end: int = Field(ge=0, description="Offset behind the last of the rows.")
    count: int = Field(ge=1, description="How many rows of the run lie between.")
    metrics: int = Field(ge=0, description="Records of agent-metrics-events before this offset are in the rows.")
    signals: int = Field(ge=0, description="Records of ai-learning-signals before this offset are in the rows.")
    after: int = Field(ge=-1, description="Offset of the previous rebuild when these rows were made; -1 for none.")
    formula: str = Field(description="Digest of the formula and the settings that made the rows.")
    emit: bool = Field(description="Whether insights of windows that were judged before are published, too.")

    def record_key(self, tenant: str) -> str:
        """The key of its record: the run. The partition does not depend on the key."""
        return self.run


class MetricsTick(EventData):
    """The clock says that no older record will come: windows that end before it may close, also where no events arrive.

    It is a record like any other, so that every reader of the topic comes to the same windows.
    """

    EVENT_TYPE: ClassVar[str] = "metrics.tick"
    TOPIC: ClassVar[str] = "agent-metrics-events"

    at: str = Field(description="The time of the clock; ISO 8601, UTC.")

    def record_key(self, tenant: str) -> str:
        """The key of its record: the tenant. The partition does not depend on the key."""
        return tenant
