"""chat-replays and chat-replay-results: which records were processed again, with results. Keyed by the run's id."""

from typing import Any, ClassVar, Literal

from pydantic import Field

from weir.events.base import EventData


class _OfRun(EventData):
    run: str = Field(description="The run's id; it begins with the time of its start.")

    def record_key(self, tenant: str) -> str:
        """The key of its record: the run."""
        return self.run


class ReplayStarted(_OfRun):
    """A run is decided on, with the ranges that it reads, so that a resumed run reads the same."""

    EVENT_TYPE: ClassVar[str] = "replay.started"
    TOPIC: ClassVar[str] = "chat-replays"

    kind: Literal["requests", "feedback", "dead-letters"]
    parameters: dict[str, Any] = Field(description="The parameters of the run, as they were given.")
    spans: list[dict[str, Any]] = Field(description="Offset ranges that the run reads: topic, partition, start, end.")
    ends: dict[str, list[int]] = Field(description="The ends of other topics when the run started, by partition.")
    started_at: str = Field(description="When the run started; ISO 8601, UTC.")
    by: str = Field(description="How the run was started: cli, or http.")


class ReplaySelected(_OfRun):
    """A run has chosen the records that it processes."""

    EVENT_TYPE: ClassVar[str] = "replay.selected"
    TOPIC: ClassVar[str] = "chat-replay-results"

    selected: int = Field(description="Requests.")
    passed_over: dict[str, int] = Field(description="Records in the range that were not chosen, by the reason.")


class ReplayEnded(_OfRun):
    """A run is over."""

    EVENT_TYPE: ClassVar[str] = "replay.ended"
    TOPIC: ClassVar[str] = "chat-replays"

    status: Literal["completed", "failed", "cancelled"]
    summary: dict[str, Any] = Field(description="The totals of its report.")
    ended_at: str = Field(description="When the run ended; ISO 8601, UTC.")


class ReplayCompared(_OfRun):
    """A replayed request, beside its original."""

    EVENT_TYPE: ClassVar[str] = "replay.compared"
    TOPIC: ClassVar[str] = "chat-replay-results"

    uid: str = Field(description="Uid of the replay.")
    replay_of: str = Field(description="Uid of the original.")
    original: dict[str, Any] = Field(description="The original: status, times in milliseconds, tokens, cost.")
    replay: dict[str, Any] = Field(description="The replay: the same figures.")
    similarity: float | None = Field(None, description="ROUGE-L F1 of the two texts, 0 to 1.")
    identical: bool = Field(description="Whether the two texts are the same.")
    original_text: str | None = Field(None, description="The original answer; only if the run was asked for texts.")
    replay_text: str | None = Field(None, description="The answer of the replay; likewise.")


class ReplayRedriven(_OfRun):
    """The record in a dead letter was sent again."""

    EVENT_TYPE: ClassVar[str] = "replay.redriven"
    TOPIC: ClassVar[str] = "chat-replay-results"

    letter: str = Field(description="Event id of the dead letter.")
    topic: str = Field(description="Topic to which its record was sent.")
    partition: int = Field(description="Partition of that topic.")
    offset: int = Field(description="Offset in that partition.")
    uid: str | None = Field(None, description="Uid of the request, if the record is one.")
    reason: str = Field(description="Why it was a dead letter, without what people or models wrote.")
