"""ai-insights: findings in windows of figures. Keyed by the tenant. One event per breach, and one when it clears."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from weir.events.base import EventData


class InsightType(StrEnum):
    """The kind of finding."""

    QUALITY_DROP = "quality_drop"
    ERROR_RATE = "error_rate"
    LATENCY = "latency"
    COST = "cost"
    FEEDBACK_DROUGHT = "feedback_drought"  # answers go out, and feedback on them has stopped


class InsightSeverity(StrEnum):
    """The importance of a finding."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class InsightStatus(StrEnum):
    """Whether a breach lasts."""

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
    value: float | None = Field(None, description="The value measured in the window.")
    threshold: float | None = Field(None, description="The limit for the value.")
    previous: float | None = Field(None, description="The value in the INSIGHT_BASELINE_WINDOWS windows before.")
    unit: str = Field(description="The unit of the three values: score, ratio, ms, USD, count.")
    count: int = Field(description="The number of measurements.")
    window_start: str = Field(description="The start of the window; ISO 8601, UTC.")
    window_end: str = Field(description="The end of the window; ISO 8601, UTC.")
    detected_at: str = Field(description="When the breach was first seen; ISO 8601, UTC.")
    rebuilt: str | None = Field(None, description="The run that found the breach when it rebuilt past windows.")

    def record_key(self, tenant: str) -> str:
        """The key of its record: the tenant."""
        return tenant


class InsightRaised(_Insight):
    """A threshold is breached."""

    EVENT_TYPE: ClassVar[str] = "insight.raised"


class InsightCleared(_Insight):
    """A threshold is not breached any more."""

    EVENT_TYPE: ClassVar[str] = "insight.cleared"
