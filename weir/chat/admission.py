"""Admits records of chat-requests: each is a request in its uid's partition, or is settled here."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from weir.chat import dead_letters
from weir.chat.audit import Audit, Caller
from weir.chat.dead_lettering import dead_letter, write_dead_letter
from weir.chat.kafka_door import is_moved, request_in
from weir.chat.request_writer import RequestWriter
from weir.chat.requests import ChatRequest
from weir.envelope import MalformedRecordError
from weir.errors import InvalidRequestError
from weir.events.ingress import Ingress
from weir.log.log import Delivered, Headers, LogRefusedError, LogReplacedError, record_of
from weir.log.retrying import until_answered
from weir.timing import Failure
from weir.worker import Worker

logger = logging.getLogger(__name__)

MOVES_MAX = 64  # requests being moved to their partitions at the same time; the next record waits

Own = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Admission:
    """Admits the records that come to one worker.

    Args:
        worker: the worker.
        writer: writes requests into the partitions of their uids.
        audit: gets the audit events of refused requests.
        own: starts a task that the worker waits for before it stops.
    """

    def __init__(self, worker: Worker, *, writer: RequestWriter, audit: Audit, own: Own) -> None:
        self._worker, self._writer, self._audit = worker, writer, audit
        self._own = own
        self._moves = asyncio.Semaphore(MOVES_MAX)

    async def admit(self, event: Delivered) -> ChatRequest | None:
        """Return the request of a record; None if the record is settled here, as a dead letter or by a move."""
        record = record_of(event.message)
        try:
            request = request_in(record, self._worker.settings)
        except MalformedRecordError as error:
            await dead_letter(self._worker, event, str(error))
            return None
        except InvalidRequestError as error:
            await self._refuse(event, error)
            return None
        if not is_moved(self._worker.log, record, request):
            return request
        await self._moves.acquire()
        self._own(self._move(event, request, record.headers))
        return None

    async def _move(self, event: Delivered, request: ChatRequest, headers: Headers) -> None:
        """Write a request into the partition of its uid.

        Not every client has the partitioner of Kafka's Java client: librdkafka's default is another one. In a wrong
        partition two workers would answer one uid, and readers would look for its answer in a partition that has none.
        """

        def waits(failure: Failure) -> None:
            logger.warning("request %s waits for the log: %s", request.uid, failure.error)

        try:
            await until_answered(lambda: self._writer.move(request, headers), tell=waits)
        except InvalidRequestError as error:
            await self._refuse(event, error)
        except (LogRefusedError, LogReplacedError) as error:
            await dead_letter(self._worker, event, str(error))
        else:
            self._worker.metrics.moved()
            event.ack()
        finally:
            self._moves.release()

    async def _refuse(self, event: Delivered, error: InvalidRequestError) -> None:
        """Write a dead letter for a request that a door would have refused: no client waits here for the error."""
        tenant = dead_letters.tenant_of(event.message.value)
        self._worker.metrics.refused(Ingress.KAFKA, error_code=error.error["code"], error_type=error.error["type"])
        self._audit.refused(Caller(ingress=Ingress.KAFKA), error, tenant=tenant)
        await write_dead_letter(self._worker, event, str(error), details={"error": error.error})
        event.ack()
