"""chat-dead-letters: the records that could not be processed, each with the reason: they block nothing and are kept."""

import base64

from weir import envelope, limits, topics
from weir.envelope import Json, new_id
from weir.events.base import derived_id
from weir.log.kafka.batches import UnreadableBatch
from weir.log.log import LogClient, Record, RecordTooLargeError
from weir.log.partitioner import partition_for

EVENT_TYPE = "chat.dead_letter"

# Limits of the key and the headers of a dead letter, which may be of any size as well.
KEY_BYTES = 1024
HEADERS = 32
HEADER_CHARS = 1024
DETAILS_BYTES = 65_536  # of further facts, as JSON


async def write(
    log: LogClient,
    record: Record,
    *,
    reason: str,
    tenant: str,
    value_max_bytes: int,
    details: Json | None = None,
) -> None:
    """Write a copy of a record to the dead letters, and wait until it is in the log.

    Args:
        log: the log client.
        record: the record that could not be processed; its bytes are kept as base64, as they may be anything.
        reason: one line for a person.
        tenant: the record's tenant, as far as it is known.
        value_max_bytes: a larger value is left out, as its base64 would not fit into a record; its origin is named.
        details: further facts: ``uid``, ``attempts``, ``error``.

    Until the letter fits into a record, these are left out, in this order: members of ``details`` (`limits.fitted`),
    and the value, which stays in its own topic.

    Raises:
        LogError: the letter may not be in the log; do not acknowledge the record.
    """
    value_bytes = record.value or b""
    kept = len(value_bytes) <= min(value_max_bytes, log.record_max_bytes(topics.CHAT_DEAD_LETTERS.name) // 2)
    headers = [[name[:HEADER_CHARS], base64.b64encode(value[:HEADER_CHARS]).decode()] for name, value in record.headers]
    data = {
        "reason": limits.cut(reason, limits.MESSAGE_CHARS),
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "key": base64.b64encode((record.key or b"")[:KEY_BYTES]).decode(),
        "value": base64.b64encode(value_bytes).decode() if kept else None,
        "size_bytes": len(value_bytes),
        "headers": headers[:HEADERS],
        **limits.fitted(details or {}, DETAILS_BYTES),
    }
    key, event_id = record.key or b"", new_id("evt")
    at = topics.CHAT_DEAD_LETTERS.name, partition_for(key, topics.CHAT_DEAD_LETTERS.partitions)
    try:
        await log.append(*at, key[:KEY_BYTES], envelope.encode(event_id, EVENT_TYPE, limits.cut(tenant), data))
    except RecordTooLargeError:  # the topic takes less than the settings say
        if not kept:
            raise
        bare = envelope.encode(event_id, EVENT_TYPE, limits.cut(tenant), {**data, "value": None})
        await log.append(*at, key[:KEY_BYTES], bare)


async def write_unreadable(log: LogClient, batch: UnreadableBatch, *, tenant: str) -> None:
    """Write a dead letter about unreadable records that were skipped; the log keeps what is left of them.

    The letter about a batch has the same event id from every worker.

    Raises:
        LogError: the letter may not be in the log.
    """
    event_id = derived_id("unreadable", *batch.at, batch.first)
    data = {
        "reason": f"unreadable: {batch.reason}",
        "topic": batch.at.topic,
        "partition": batch.at.partition,
        "offset": batch.first,
        "last_offset": batch.last,
        "key": "",
        "value": None,
        "size_bytes": 0,
        "headers": [],
    }
    value = envelope.encode(event_id, EVENT_TYPE, tenant, data)
    await log.append(topics.CHAT_DEAD_LETTERS.name, partition_for(b"", topics.CHAT_DEAD_LETTERS.partitions), b"", value)


def tenant_of(value: bytes | None) -> str | None:
    """Return the tenant that a record names; None if the record is not an event."""
    event = envelope.event_in(value)
    return None if event is None else event.tenant_id
