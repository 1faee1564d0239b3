"""ai-insights: what windows of figures show. Keyed by the tenant. One event per breach, and one when it clears."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from weir.events.base import EventData


class InsightType(StrEnum):
    """What is wrong."""

    QUALITY_DROP = "quality_drop"
    ERROR_RATE = "error_rate"
    LATENCY = "latency"
    COST = "cost"
    FEEDBACK_DROUGHT = "feedback_drought"  # answers go out, and nobody says anything of them any more


class InsightSeverity(StrEnum):
    """How much it matters."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class InsightStatus(StrEnum):
    """Whether it lasts."""

    ACTIVE = "active"
    RESOLVED = "resolved"


class _Insight(EventData):
    TOPIC: ClassVar[str] = "ai-insights"

    insight_id: str = Field(description="The same for a breach and its end.")
    insight_type: InsightType
    severity: InsightSeverity
    status: InsightStatus
    model: str
    title: str
    description: str
    recommendation: str | None = None
    value: float | None = Field(None, description="What was measured in the window.")
    threshold: float | None = Field(None, description="What it may be.")
    previous: float | None = Field(None, description="What it was in INSIGHT_BASELINE_WINDOWS windows before.")
    unit: str = Field(description="Of the three: score, ratio, ms, USD, count.")
    count: int = Field(description="How many were measured.")
    window_start: str = Field(description="ISO 8601, UTC.")
    window_end: str = Field(description="ISO 8601, UTC.")
    detected_at: str = Field(description="When it was first seen; ISO 8601, UTC.")
    rebuilt: str | None = Field(None, description="The run that found it when it rebuilt windows of the past.")

    def record_key(self, tenant: str) -> str:
        """The tenant."""
        return tenant


class InsightRaised(_Insight):
    """A threshold is breached."""

    EVENT_TYPE: ClassVar[str] = "insight.raised"


class InsightCleared(_Insight):
    """It is not breached any more."""

    EVENT_TYPE: ClassVar[str] = "insight.cleared"
