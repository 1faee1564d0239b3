"""Refuses messages that are not requests: the sender gets an error, and the message is kept for inspection.

Such a message goes to ``{queue}.dead`` as it came, with its reason, and to chat-dead-letters. It is then acknowledged:
it never blocks the queue and never comes again.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from aiormq.exceptions import AMQPError

from weir import topics
from weir.chat import dead_letters
from weir.chat.audit import Audit, Caller
from weir.errors import ApiError
from weir.events.ingress import Ingress
from weir.log.log import LogClient, LogError, LogRefusedError, Record
from weir.log.partitioner import partition_for
from weir.rabbitmq import contract
from weir.rabbitmq.link import LINK_ERRORS
from weir.rabbitmq.queues import Queues
from weir.rabbitmq.wire import Forwarded, Incoming
from weir.settings import Settings
from weir.telemetry.worker_metrics import Metrics
from weir.timing import Failure, retry

logger = logging.getLogger(__name__)

LOG_RETRY_S = (0.2, 0.5, 1.0, 3.0)  # while the log is away; the last one repeats, and the message is held
DEAD_LETTER_TRIES = 3
REASON_MAX = 1024  # characters of a reason in a header


class Refusing:
    """Refuses messages.

    Args:
        log: the log; dead letters are written to it.
        settings: the worker's settings.
        queues: sends errors and dead letters; None while RabbitMQ is away for sending.
        metrics: the worker's metrics.
        audit: records refusals.
    """

    def __init__(
        self,
        *,
        log: LogClient,
        settings: Settings,
        queues: Callable[[], Queues | None],
        metrics: Metrics,
        audit: Audit,
    ) -> None:
        self._log = log
        self._settings = settings
        self._queues = queues
        self._metrics = metrics
        self._audit = audit

    async def refuse(self, message: Incoming, body: object, error: ApiError) -> None:
        """Send the error to the sender, and keep the message for inspection."""
        logger.warning("a message from RabbitMQ is refused: %s", error)
        self._metrics.refused(Ingress.RABBITMQ, error_code=error.error["code"], error_type=error.error["type"])
        self._audit.refused(Caller(ingress=Ingress.RABBITMQ), error, tenant=contract.tenant_of(message))
        queues = self._queues()
        if queues is None:
            raise ConnectionError("RabbitMQ is away for sending")
        await self._tell(message, body, error, queues)
        await self._write_dead_letter(message, str(error))
        await self._dead_letter(message, error, queues)

    async def _tell(self, message: Incoming, body: object, error: ApiError, queues: Queues) -> None:
        """Send the error to the sender, if that is possible: a sender that is gone is no reason to keep the message."""
        reply = contract.reply_of(message, body, self._settings.response_queue_prefix)
        cancels = isinstance(body, dict) and body.get("cancel") is True
        if reply is None or (cancels and reply.declare):  # the answer to the request to be cancelled goes to that queue
            return
        headers = contract.ended(reply.name[: contract.QUEUE_MAX_BYTES], 0, contract.failed(error))
        failed = contract.answer(b"", headers, message_id=None, correlation_id=reply.correlation_id)
        try:
            if await queues.reach(reply.queue, declare=reply.declare):
                await queues.publish(failed, reply.queue)
        except LINK_ERRORS as failure:
            logger.warning("%s cannot get an error: %s: %s", reply.queue, type(failure).__name__, failure)

    async def _write_dead_letter(self, message: Incoming, reason: str) -> None:
        key = (message.message_id or "").encode()
        at = partition_for(key, topics.CHAT_DEAD_LETTERS.partitions)
        headers = [(name, str(value).encode()) for name, value in message.headers.items()]
        record = Record(self._settings.rabbitmq_queue, at, -1, time.time(), key, message.body, headers)

        async def write() -> None:
            async with asyncio.timeout(self._settings.accept_timeout_s):
                await dead_letters.write(
                    self._log,
                    record,
                    reason=reason,
                    tenant=self._settings.default_tenant,
                    value_max_bytes=self._settings.kafka_max_message_bytes // 2,
                )

        def waits(failure: Failure) -> None:
            logger.warning("a dead letter waits for the log: %s", failure.error)

        try:
            await retry(write, (LogError, TimeoutError), but=LogRefusedError, pauses_s=LOG_RETRY_S, tell=waits)
        except LogRefusedError:
            logger.exception("not among the dead letters of the log")
        except (LogError, TimeoutError) as error:
            raise ConnectionError("the log is away") from error

    async def _dead_letter(self, message: Incoming, error: ApiError, queues: Queues) -> None:
        name = f"{self._settings.rabbitmq_queue}.dead"
        reasons = {
            "x-weir-reason": str(error)[:REASON_MAX],
            "x-weir-code": str(error.error.get("code") or error.error.get("type")),
            "x-weir-queue": self._settings.rabbitmq_queue,
        }
        letter = Forwarded(message, reasons)
        for _ in range(DEAD_LETTER_TRIES):
            try:
                await queues.keep(name)
                return await queues.publish(letter, name)
            except AMQPError as failure:
                logger.warning("not in %s: %s: %s", name, type(failure).__name__, failure)
        raise ConnectionError(f"{name} does not take the message")
