"""The checks of a starting worker in the log: its topics, and how long they keep records."""

import logging
from collections.abc import Iterable

from weir import topics
from weir.log.log import LogClient, LogRefusedError, OtherPartitionsError, Retentions, TopicSpec
from weir.settings import DAY, Settings
from weir.topics import Topic

logger = logging.getLogger(__name__)


async def make_topics(log: LogClient, settings: Settings, more: Iterable[TopicSpec] = ()) -> Retentions:
    """Create the topics that are missing, and check the others.

    Args:
        log: the log client, connected.
        settings: the worker's settings.
        more: topics besides Weir's own: those of the engine.

    Returns:
        How long each topic keeps its records, as far as the log knows.

    Raises:
        LogError: topics cannot be created, or are not as they must be; one line names the setting to change.
    """
    try:
        wanted = [*topics.specs(settings), *more]
        return await log.create_topics(wanted, replication=settings.kafka_replication_factor)
    except OtherPartitionsError as error:
        raise _other_partitions(error, settings) from None


async def make_missing_topics(log: LogClient, settings: Settings) -> None:
    """Create the topics that a command writes to; topics that exist stay as they are.

    An embedded log takes the retention of the settings; a command may run without those of its worker, which would then
    lose records that it is to keep.

    Raises:
        LogError: as for `make_topics`.
    """
    if settings.on_kafka:
        await make_topics(log, settings)
        return
    specs = topics.specs(settings)
    check_partitions(log, [(spec.name, spec.partitions) for spec in specs], settings)
    if missing := [spec for spec in specs if _partitions(log, spec.name) is None]:
        await log.create_topics(missing, replication=1)


def _partitions(log: LogClient, topic: str) -> int | None:
    """Return the number of partitions of a topic; None where there is no such topic yet."""
    try:
        return log.partitions(topic)
    except LogRefusedError:
        return None


def check_partitions(log: LogClient, expected: Iterable[tuple[str, int]], settings: Settings) -> None:
    """Check those topics that exist: of changelogs on the embedded log, Faust creates the others.

    Args:
        log: the log client, connected.
        expected: name and number of partitions of each topic.
        settings: the worker's settings.

    Raises:
        LogRefusedError: a topic has another number of partitions than is expected.
    """
    for name, count in expected:
        found = _partitions(log, name)
        if found is not None and found != count:
            raise _other_partitions(OtherPartitionsError(name, found, count), settings)


def check_retention(kept: Retentions, settings: Settings) -> None:
    """Log which topics keep their records for another time than the settings ask for; Kafka's operators decide.

    Raises:
        LogRefusedError: chat-chunks loses answers while clients may still wait for them.
    """
    other = [_difference(topic, kept[topic.name], settings) for topic in topics.TOPICS if topic.name in kept]
    if differences := [one for one in other if one]:
        logger.warning(
            "retention.ms of existing topics is left as it is, and differs from the settings: %s",
            "; ".join(differences),
        )
    chunks_s = kept.get(topics.CHAT_CHUNKS.name)
    if chunks_s is not None and chunks_s <= settings.answer_timeout_s:
        raise LogRefusedError(
            f"topic {settings.topic_prefix}{topics.CHAT_CHUNKS.name} keeps answers for {chunks_s:.15g} s, and clients "
            f"may wait for ANSWER_TIMEOUT_S={settings.answer_timeout_s:.15g} s: raise its retention.ms"
        )


def _difference(topic: Topic, kept_s: float | None, settings: Settings) -> str | None:
    wanted_s = topic.retention_s(settings)
    if kept_s == wanted_s:
        return None
    setting = f"{topic.kept.upper()} is" if topic.kept else "expected"
    found = "for ever" if kept_s is None else f"{kept_s / DAY:g} d"
    return f"{settings.topic_prefix}{topic.name} {found} ({setting} {wanted_s / DAY:g} d)"


def _other_partitions(error: OtherPartitionsError, settings: Settings) -> LogRefusedError:
    """Return one line with the remedy: the setting to set, or how to begin with new topics."""
    anew = "KAFKA_TOPIC_PREFIX" if settings.on_kafka else "WEIR_DATA_DIR"
    name = f"topic {settings.topic_prefix}{error.topic} has {error.found} partitions"
    small = {topic.name for topic in topics.TOPICS if isinstance(topic, topics.SmallTopic)}
    if error.topic in small or error.expected != settings.chat_partitions:
        return LogRefusedError(
            f"{name}, and it must have {error.expected}: keys are shared out by it. "
            f"Move it away, or begin with new topics under another {anew}"
        )
    return LogRefusedError(
        f"{name}, and CHAT_PARTITIONS is {settings.chat_partitions}: keys are shared out by it, so it is chosen once. "
        f"Set CHAT_PARTITIONS={error.found}, or begin with new topics under another {anew}"
    )
