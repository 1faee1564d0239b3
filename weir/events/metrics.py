"""agent-metrics-events: what an answer took and cost, and how good it was. Keyed by tenant and model."""

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
    error_code: str | None = Field(None, description="OpenAI's error code, of one that failed.")
    ended_at: str = Field(description="When it ended; ISO 8601, UTC. The time that windows go by.")
    attempts: int = Field(description="LLM calls that were begun for it.")
    queue_ms: float | None = Field(None, description="From the door to the last LLM call, in milliseconds.")
    ttft_ms: float | None = Field(None, description="From the last LLM call to its first token, in milliseconds.")
    latency_ms: float | None = Field(None, description="From the door to the end, in milliseconds.")
    tokens_per_second: float | None = Field(None, description="Output tokens by the time from the first to the end.")
    input_tokens: int | None = Field(None, description="Tokens of the prompt.")
    cached_tokens: int | None = Field(None, description="Tokens of the prompt that came from the LLM's cache.")
    output_tokens: int | None = Field(None, description="Tokens of the answer, thinking included.")
    reasoning_tokens: int | None = Field(None, description="Tokens of thinking among them.")
    cost_usd: float | None = Field(None, description="By the price table; null where the model has no price.")
    replay: str | None = Field(None, description="The run that asked it again; no client waited for the answer.")


class QualityMeasured(AboutModel):
    """What feedback says of one answer."""

    EVENT_TYPE: ClassVar[str] = "metrics.quality"
    TOPIC: ClassVar[str] = "agent-metrics-events"

    uid: str
    score: float = Field(ge=0, le=1, description="0 is bad, 1 is good: half of one more than the signal's score.")
    feedback_id: str = Field(description="The event id of the feedback.")
    feedback_type: str


class QualityRebuilt(EventData):
    """The windows of a partition were rebuilt beside the live ones: its owner puts them in their place, once.

    A record of the partition that it is about, for a table is changed under an event only.
    """

    EVENT_TYPE: ClassVar[str] = "quality.rebuilt"
    TOPIC: ClassVar[str] = "agent-metrics-events"

    run: str = Field(pattern=RUN_ID, description="The run that rebuilt them.")
    first: int = Field(ge=0, description="Offset of the first of the rows, in this partition of chat-rebuilds.")
    end: int = Field(ge=0, description="Offset behind the last one.")
    count: int = Field(ge=1, description="How many rows of the run lie between.")
    metrics: int = Field(ge=0, description="Records of agent-metrics-events before this offset are in the rows.")
    signals: int = Field(ge=0, description="Records of ai-learning-signals before this offset are in the rows.")
    after: int = Field(ge=-1, description="Offset of the rebuild that these rows were made beside; -1 for none.")
    formula: str = Field(description="Digest of the formula and the settings by which they were made.")
    emit: bool = Field(description="Whether insights of windows that were judged before are told, too.")

    def record_key(self, tenant: str) -> str:
        """The run; it is written to a partition, whatever its key."""
        return self.run


class MetricsTick(EventData):
    """The clock says that nothing older will come: windows that end before it may close, where nobody sends events.

    A record like any other, so that whoever reads the topic again comes to the same windows.
    """

    EVENT_TYPE: ClassVar[str] = "metrics.tick"
    TOPIC: ClassVar[str] = "agent-metrics-events"

    at: str = Field(description="ISO 8601, UTC.")

    def record_key(self, tenant: str) -> str:
        """The tenant; a tick is written to a partition, whatever its key."""
        return tenant
