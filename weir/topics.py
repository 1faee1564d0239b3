"""Every topic, in one place: its name, key, partitions, retention, writers and readers.

The names are those that Weir, its metrics and its events use. On the brokers of Kafka each has KAFKA_TOPIC_PREFIX in
front, so that several installations share a cluster: the log client adds it (docs/decisions/0021).

The topics around a request are keyed by its uid and have the same number of partitions, CHAT_PARTITIONS, so that one
worker owns a request's input, state and output. A start creates missing topics. An existing topic must have the number
of partitions that is expected here: it decides the partition of each key.
"""

from dataclasses import dataclass
from enum import StrEnum

from weir.log.log import TopicSpec
from weir.settings import DAY, Settings


class RetentionSetting(StrEnum):
    """The setting with the retention of a topic, in lower case."""

    REQUESTS = "retention_requests_s"
    EVENTS = "retention_events_s"
    HISTORY = "retention_history_s"
    AUDIT = "retention_audit_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic with CHAT_PARTITIONS partitions; the log client has that number (``partition_of``)."""

    name: str
    kept: RetentionSetting | None  # None: a day

    def partitions_by(self, settings: Settings) -> int:
        """The number of partitions that the topic must have."""
        return settings.chat_partitions

    def retention_s(self, settings: Settings) -> float:
        """How long the topic keeps a record, in seconds."""
        return DAY if self.kept is None else float(getattr(settings, self.kept))

    def spec(self, settings: Settings) -> TopicSpec:
        """Name, partitions and retention that the topic must have in the log."""
        return TopicSpec(
            name=self.name, partitions=self.partitions_by(settings), retention_s=self.retention_s(settings)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallTopic(Topic):
    """A topic with a fixed number of partitions: keyed by tenant, model or run, or with few readers."""

    partitions: int = 3

    def partitions_by(self, settings: Settings) -> int:
        """The number of partitions that the topic must have."""
        del settings
        return self.partitions


CHAT_REQUESTS = Topic(name="chat-requests", kept=RetentionSetting.REQUESTS)
"""key uid; the accepted request; doors -> chat agent"""

CHAT_CHUNKS = Topic(name="chat-chunks", kept=RetentionSetting.REQUESTS)
"""key uid; frames: tokens and marks; chat agent -> readers (tails, no consumer group)"""

CHAT_DELIVERIES = Topic(name="chat-deliveries", kept=RetentionSetting.REQUESTS)
"""key uid; delivery orders: which queue of RabbitMQ gets the answer; RabbitMQ door -> deliveries agent"""

CHAT_PROMPTS = Topic(name="chat-prompts", kept=None)
"""key tenant:user; fingerprints of prompts, never their text; doors -> retries agent"""

CHAT_DEAD_LETTERS = SmallTopic(name="chat-dead-letters", kept=RetentionSetting.HISTORY)
"""key uid; records that could not be processed, with reason and origin; all -> replay"""

AI_FEEDBACK = Topic(name="ai-feedback-events", kept=RetentionSetting.EVENTS)
"""key uid; feedback on an answer; web, Kafka -> feedback agent"""

AI_LEARNING_SIGNALS = SmallTopic(name="ai-learning-signals", kept=RetentionSetting.EVENTS)
"""key tenant:model; processed signals; feedback agent -> insights agent, routing"""

AI_INSIGHTS = SmallTopic(name="ai-insights", kept=RetentionSetting.EVENTS)
"""key tenant; analytical insights; insights agent -> alerting"""

AGENT_THINKING = Topic(name="agent-thinking-events", kept=RetentionSetting.EVENTS)
"""key trace id = uid; reasoning traces; chat agent"""

AGENT_DECISIONS = Topic(name="agent-decision-events", kept=RetentionSetting.EVENTS)
"""key uid; decisions: which route and model, and why; chat agent"""

AGENT_TRACES = Topic(name="agent-trace-events", kept=RetentionSetting.EVENTS)
"""key uid; a request's lifecycle with timings; doors and chat agent -> requests table"""

AGENT_METRICS = SmallTopic(name="agent-metrics-events", kept=RetentionSetting.EVENTS)
"""key tenant:model; time to first token, tokens, cost; chat agent -> insights agent"""

QUERY_LINEAGE = SmallTopic(name="query-lineage-events", kept=RetentionSetting.HISTORY)
"""key uid; lineage of the SQL in an answer; chat agent"""

AUDIT = Topic(name="audit-events", kept=RetentionSetting.AUDIT)
"""key tenant; actions of clients and operators; doors, commands"""

CHAT_REPLAYS = SmallTopic(name="chat-replays", kept=RetentionSetting.HISTORY)
"""key run; runs of replays: what each reads, and how it ended; commands and POST /replays -> the same"""

CHAT_REPLAY_RESULTS = SmallTopic(name="chat-replay-results", kept=RetentionSetting.HISTORY)
"""key run; the result for each record that was processed again; commands -> reports"""

CHAT_REBUILDS = SmallTopic(name="chat-rebuilds", kept=None, partitions=AGENT_METRICS.partitions)
"""key row; rows of rebuilt windows, until their owner has loaded them; commands -> insights agent"""

TOPICS: tuple[Topic, ...] = (
    CHAT_REQUESTS,
    CHAT_CHUNKS,
    CHAT_DELIVERIES,
    CHAT_PROMPTS,
    CHAT_DEAD_LETTERS,
    AI_FEEDBACK,
    AI_LEARNING_SIGNALS,
    AI_INSIGHTS,
    AGENT_THINKING,
    AGENT_DECISIONS,
    AGENT_TRACES,
    AGENT_METRICS,
    QUERY_LINEAGE,
    AUDIT,
    CHAT_REPLAYS,
    CHAT_REPLAY_RESULTS,
    CHAT_REBUILDS,
)


def specs(settings: Settings) -> list[TopicSpec]:
    """Name, partitions and retention that each topic must have in the log."""
    return [topic.spec(settings) for topic in TOPICS]


def retention_of(name: str, settings: Settings) -> float | None:
    """How long a topic keeps a record, in seconds; None for a topic that is not Weir's."""
    return next((topic.retention_s(settings) for topic in TOPICS if topic.name == name), None)
