"""What agents do with a record that they cannot process: it goes to the dead letters, and blocks nothing."""

import logging

from weir.chat import dead_letters
from weir.envelope import Json
from weir.log.log import Delivered, record_of
from weir.log.retrying import until_written
from weir.worker import Worker

logger = logging.getLogger(__name__)


async def dead_letter(worker: Worker, event: Delivered, reason: str) -> None:
    """Put an event's record among the dead letters, and acknowledge it."""
    await write_dead_letter(worker, event, reason)
    event.ack()


async def write_dead_letter(
    worker: Worker,
    event: Delivered,
    reason: str,
    *,
    told: str | None = None,
    tenant: str | None = None,
    details: Json | None = None,
) -> None:
    """Put an event's record among the dead letters.

    Args:
        worker: with a log that is open.
        event: its record.
        reason: one line for a person.
        told: what stands in the log in the place of the reason.
        tenant: whose it is; None: the record's own, or the default one where that says nothing.
        details: what else is known.
    """
    record = record_of(event.message, worker.settings.topic_prefix)
    logger.warning(
        "%s %d at %d goes to the dead letters: %s", record.topic, record.partition, record.offset, told or reason
    )
    settings = worker.settings
    await until_written(
        lambda: dead_letters.write(
            worker.log,
            record,
            reason=reason,
            tenant=tenant or dead_letters.tenant_of(record.value) or settings.default_tenant,
            value_max_bytes=settings.kafka_max_message_bytes // 2,
            details=details,
        )
    )
