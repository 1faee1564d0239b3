"""Sends records that an agent cannot process to the dead letters, so that they do not block its partition."""

import logging

from weir.chat import dead_letters
from weir.envelope import Json
from weir.log.log import Delivered, record_of
from weir.log.retrying import until_written
from weir.worker import Worker

logger = logging.getLogger(__name__)


async def dead_letter(worker: Worker, event: Delivered, reason: str) -> None:
    """Write an event's record to the dead letters, and acknowledge the event."""
    await write_dead_letter(worker, event, reason)
    event.ack()


async def write_dead_letter(
    worker: Worker,
    event: Delivered,
    reason: str,
    *,
    log_reason: str | None = None,
    tenant: str | None = None,
    details: Json | None = None,
) -> None:
    """Write an event's record to the dead letters.

    Args:
        worker: the worker; its log is open.
        event: the event of the record.
        reason: one line for a person.
        log_reason: the text for Weir's log lines, if the reason is not to be logged.
        tenant: the record's tenant; None: the one that the record names, or else the default tenant.
        details: further facts.
    """
    record = record_of(event.message, worker.settings.topic_prefix)
    logger.warning(
        "%s %d at %d goes to the dead letters: %s", record.topic, record.partition, record.offset, log_reason or reason
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
