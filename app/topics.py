"""Every topic, in one place: its name, key, partitions, retention, and who writes and reads it.

The topics around a request are keyed by its uid and have the same number of partitions, so that one worker owns a
request's input, state and output. They are created at start where they are missing; a topic that exists keeps its
settings, but for the number of partitions, which must be the one given here.
"""

from transports.log import TopicSpec

DAY = 86_400.0
CHAT_PARTITIONS = 6

CHAT_REQUESTS = TopicSpec(name="chat-requests", partitions=CHAT_PARTITIONS, retention_s=7 * DAY)
"""key uid; the accepted request; doors -> chat agent"""

CHAT_CHUNKS = TopicSpec(name="chat-chunks", partitions=CHAT_PARTITIONS, retention_s=7 * DAY)
"""key uid; frames: tokens and marks; chat agent -> readers (tails, no consumer group)"""

CHAT_DELIVERIES = TopicSpec(name="chat-deliveries", partitions=CHAT_PARTITIONS, retention_s=7 * DAY)
"""key uid; which queue of RabbitMQ is to get the answer; RabbitMQ door -> deliveries agent"""

CHAT_PROMPTS = TopicSpec(name="chat-prompts", partitions=CHAT_PARTITIONS, retention_s=DAY)
"""key tenant:user; the fingerprint of a prompt, never its text; doors -> retries agent"""

CHAT_DEAD_LETTERS = TopicSpec(name="chat-dead-letters", partitions=3, retention_s=30 * DAY)
"""key uid; what could not be processed, why, and where it came from; all -> replay"""

AI_FEEDBACK = TopicSpec(name="ai-feedback-events", partitions=CHAT_PARTITIONS, retention_s=7 * DAY)
"""key uid; feedback on an answer; web, Kafka -> feedback agent"""

AI_LEARNING_SIGNALS = TopicSpec(name="ai-learning-signals", partitions=3, retention_s=7 * DAY)
"""key tenant:model; processed signals; feedback agent -> insights agent, routing"""

AI_INSIGHTS = TopicSpec(name="ai-insights", partitions=3, retention_s=7 * DAY)
"""key tenant; analytical insights; insights agent -> alerting"""

AGENT_THINKING = TopicSpec(name="agent-thinking-events", partitions=CHAT_PARTITIONS, retention_s=7 * DAY)
"""key trace id = uid; reasoning traces; chat agent"""

AGENT_DECISIONS = TopicSpec(name="agent-decision-events", partitions=CHAT_PARTITIONS, retention_s=7 * DAY)
"""key uid; which route and model, and why; chat agent"""

AGENT_TRACES = TopicSpec(name="agent-trace-events", partitions=CHAT_PARTITIONS, retention_s=7 * DAY)
"""key uid; a request's lifecycle with timings; doors and chat agent -> requests table"""

AGENT_METRICS = TopicSpec(name="agent-metrics-events", partitions=3, retention_s=7 * DAY)
"""key tenant:model; time to first token, tokens, cost; chat agent -> insights agent"""

QUERY_LINEAGE = TopicSpec(name="query-lineage-events", partitions=3, retention_s=30 * DAY)
"""key uid; lineage of the SQL in an answer; chat agent"""

AUDIT = TopicSpec(name="audit-events", partitions=CHAT_PARTITIONS, retention_s=90 * DAY)
"""key tenant; who did what; doors, admin actions"""

CHAT_REPLAYS = TopicSpec(name="chat-replays", partitions=3, retention_s=30 * DAY)
"""key run; runs of a replay: what each takes from where, and how it ended; commands and POST /replays -> the same"""

CHAT_REPLAY_RESULTS = TopicSpec(name="chat-replay-results", partitions=3, retention_s=30 * DAY)
"""key run; what came of each thing that was processed again; commands -> reports"""

CHAT_REBUILDS = TopicSpec(name="chat-rebuilds", partitions=AGENT_METRICS.partitions, retention_s=DAY)
"""key row; rows of windows that were rebuilt, until their owner has taken them; commands -> insights agent"""

TOPICS: tuple[TopicSpec, ...] = (
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
