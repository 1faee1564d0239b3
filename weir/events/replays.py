"""chat-replays and chat-replay-results: what was processed again, and what came of it. Keyed by the run's id."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from weir.events.base import EventData


class _OfRun(EventData):
    run: str = Field(description="The run's id; it begins with the time of its start.")

    def record_key(self, tenant: str) -> str:
        """The run."""
        return self.run


class ReplayStarted(_OfRun):
    """A run is decided on: what it takes from where, so that whoever resumes it takes the same."""

    EVENT_TYPE: ClassVar[str] = "replay.started"
    TOPIC: ClassVar[str] = "chat-replays"

    kind: Literal["requests", "feedback", "dead-letters"]
    parameters: dict[str, Any] = Field(description="As they were asked for.")
    spans: list[dict[str, Any]] = Field(description="Offset ranges that it reads: topic, partition, start, end.")
    ends: dict[str, list[int]] = Field(description="Where other topics ended when it started, by partition.")
    started_at: str = Field(description="ISO 8601, UTC.")
    by: str = Field(description="Who started it: cli, or http.")


class ReplaySelected(_OfRun):
    """A run has chosen what it processes."""

    EVENT_TYPE: ClassVar[str] = "replay.selected"
    TOPIC: ClassVar[str] = "chat-replay-results"

    selected: int = Field(description="Requests.")
    passed_over: dict[str, int] = Field(description="Records that are not among them, by the reason.")


class ReplayEnded(_OfRun):
    """A run is over."""

    EVENT_TYPE: ClassVar[str] = "replay.ended"
    TOPIC: ClassVar[str] = "chat-replays"

    status: Literal["completed", "failed", "cancelled"]
    summary: dict[str, Any] = Field(description="Its report, in total.")
    ended_at: str = Field(description="ISO 8601, UTC.")


class ReplayCompared(_OfRun):
    """A request that was replayed, beside its original."""

    EVENT_TYPE: ClassVar[str] = "replay.compared"
    TOPIC: ClassVar[str] = "chat-replay-results"

    uid: str = Field(description="Of the replay.")
    replay_of: str = Field(description="Uid of the original.")
    original: dict[str, Any] = Field(description="How it went: status, times in milliseconds, tokens, cost.")
    replay: dict[str, Any] = Field(description="The same of the replay.")
    similarity: float | None = Field(None, description="ROUGE-L F1 of the two texts, 0 to 1.")
    identical: bool = Field(description="Whether the two texts are the same.")
    original_text: str | None = Field(None, description="What was said; only where the run was asked for texts.")
    replay_text: str | None = Field(None, description="The same of the replay.")


class ReplayRedriven(_OfRun):
    """What a dead letter was about was sent again."""

    EVENT_TYPE: ClassVar[str] = "replay.redriven"
    TOPIC: ClassVar[str] = "chat-replay-results"

    letter: str = Field(description="Event id of the dead letter.")
    topic: str = Field(description="Where its record went.")
    partition: int = Field(description="And where in that.")
    offset: int = Field(description="And where in that.")
    uid: str | None = Field(None, description="Of the request, if it is one.")
    reason: str = Field(description="Why it was a dead letter, without what people or models wrote.")
