"""What agents do with a record that they cannot process: it goes to the dead letters, and blocks nothing."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from weir.chat import dead_letters
from weir.envelope import Json
from weir.log.log import Delivered, LogError, LogRefusedError, LogReplacedError, record_of
from weir.worker import Worker

logger = logging.getLogger(__name__)

RETRY_S = 1.0  # pause before a write is tried again


async def bury(worker: Worker, event: Delivered, reason: str) -> None:
    """Put an event's record among the dead letters, and acknowledge it."""
    await mourn(worker, event, reason)
    event.ack()


async def mourn(
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
    await surely(
        lambda: dead_letters.bury(
            worker.log,
            record,
            reason=reason,
            tenant=tenant or dead_letters.tenant_of(record.value) or settings.default_tenant,
            value_max_bytes=settings.kafka_max_message_bytes // 2,
            details=details,
        )
    )


async def surely(write: Callable[[], Awaitable[object]]) -> None:
    """Write until the log has it. What can never be written is told once: it must not block the others."""
    while True:
        try:
            await write()
        except (LogRefusedError, LogReplacedError):
            logger.exception("not written")
        except LogError as error:
            logger.warning("waiting for the log: %s", error)
            await asyncio.sleep(RETRY_S)
            continue
        return
