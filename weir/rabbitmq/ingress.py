"""Takes requests from the queue into the log.

A message is acknowledged when its request is in chat-requests and its delivery is ordered in chat-deliveries, so a
worker that dies before leaves it to another one. The same message may therefore be taken twice: with a ``uid`` or a
``message_id``, its second request attaches to the first one, and no second answer is sent.

``consumer.py`` takes the messages and acknowledges them; a message that is not a request is refused (``refusing.py``).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from weir import topics
from weir.chat.accept import Door, parse
from weir.chat.audit import CANCEL, Audit, Caller
from weir.chat.cancelling import Cancelled
from weir.chat.requests import ChatRequest, chunks_of
from weir.envelope import Json
from weir.errors import ApiError, InvalidRequestError, NotFoundError, UnavailableError
from weir.events.ingress import Ingress
from weir.log.log import LogClient, LogError, LogRefusedError
from weir.rabbitmq import contract, orders
from weir.rabbitmq.contract import Reply
from weir.rabbitmq.link import HEARTBEAT_S, LINK_ERRORS
from weir.rabbitmq.orders import Order
from weir.rabbitmq.queues import Queues
from weir.rabbitmq.refusing import LOG_RETRY_S, Refusing
from weir.rabbitmq.wire import Incoming
from weir.settings import Settings
from weir.telemetry.tracing import tracing
from weir.timing import Failure, endless, retry

logger = logging.getLogger(__name__)

# Properties that must be readable if they are there; Weir does not read the others.
USED = ("headers", "reply_to", "correlation_id", "message_id", "expiration")


class Intake:
    """Takes requests from RabbitMQ, for one worker."""

    def __init__(
        self,
        *,
        door: Door,
        log: LogClient,
        settings: Settings,
        queues: Callable[[], Queues | None],
        cancel: Callable[[str], Awaitable[Cancelled]],
        audit: Audit,
        refusing: Refusing,
    ) -> None:
        """Make the intake.

        Args:
            door: accepts requests.
            log: the log; orders are written to it.
            settings: the worker's settings.
            queues: returns the means to make response queues; None while RabbitMQ is away for sending.
            cancel: cancels a request, by its uid.
            audit: records cancels.
            refusing: refuses messages that are not requests.
        """
        self._door = door
        self._log = log
        self._settings = settings
        self._queues = queues
        self._cancel = cancel
        self._audit = audit
        self._refusing = refusing
        self._asking: set[asyncio.Future[bool]] = set()

    async def take(self, message: Incoming) -> None:
        """Bring a message's request and its order into the log, however long that takes, or refuse it.

        Raises:
            LINK_ERRORS: the message can be neither taken nor refused now; it is to be delivered again.
        """
        body = None
        try:
            body = self._parse(message)
            self._check_properties(message)
            reply = self._reply_of(message, body)
            if body.get("cancel") is True:
                return await self._cancel_earlier(reply)
            self._make_queue(reply)
            given = contract.traceparent_of(message)
            with tracing.message(self._settings.rabbitmq_queue, given) as span:
                await self._accept(message, body, reply, span.traceparent)
        except ApiError as error:
            await self._refusing.refuse(message, body, error)
        except LINK_ERRORS:
            raise
        except Exception:
            logger.exception("a message from RabbitMQ")
            defect = ApiError("a defect in Weir while taking the message", status=500, kind="server_error")
            await self._refusing.refuse(message, body, defect)

    def _parse(self, message: Incoming) -> Json:
        if len(message.body) > self._settings.request_max_bytes:
            raise InvalidRequestError(
                f"The body has {len(message.body)} bytes, more than REQUEST_MAX_BYTES.",
                code="request_too_large",
                status=413,
            )
        body = parse(message.body)
        if not isinstance(body, dict):
            raise InvalidRequestError("The body must be a JSON object.")
        return body

    def _check_properties(self, message: Incoming) -> None:
        for name in USED:
            if name in message.unreadable:
                raise InvalidRequestError(
                    f"The property '{name}' cannot be read: {message.unreadable[name]}", param=name
                )

    def _reply_of(self, message: Incoming, body: Json) -> Reply:
        reply = contract.reply_of(message, body, self._settings.response_queue_prefix, self._door.mint_uid())
        if reply is None or len(reply.name) > contract.QUEUE_MAX_BYTES:  # the name is in a header of each message
            raise InvalidRequestError(
                f"'uid' names no queue: it must be one line, of at most {contract.NAME_MAX} characters.", param="uid"
            )
        return reply

    async def _cancel_earlier(self, reply: Reply) -> None:
        """Cancel an earlier request, which may be on its way still. Its answer ends with a message about that."""
        uid, errors = contract.uid_of(reply.name), (UnavailableError, LogError, NotFoundError)
        try:
            done = await retry(lambda: self._cancel(uid), errors, pauses_s=LOG_RETRY_S)
        except (UnavailableError, LogError) as error:
            raise ConnectionError("the request cannot be cancelled now") from error  # the message comes again
        self._audit.record(CANCEL, Caller(ingress=Ingress.RABBITMQ), tenant=done.tenant, resource_id=uid)

    async def _accept(self, message: Incoming, body: Json, reply: Reply, traceparent: str | None) -> None:
        """Write the request of a message into the log, however long that takes."""
        body, again, taken_at = dict(body), bool(message.redelivered), time.monotonic()
        if isinstance(body.get("uid"), str | None):
            body["uid"] = contract.uid_of(reply.name)
        deadline, tenant = contract.deadline_of(message), contract.tenant_of(message)
        request: ChatRequest | None = None

        async def accept() -> None:
            nonlocal request
            if request is None:
                request = await self._door.accept(
                    body,
                    ingress=Ingress.RABBITMQ,
                    tenant=tenant,
                    priority=message.priority or 0,
                    deadline=deadline,
                    traceparent=traceparent,
                    think_tags=contract.think_tags_of(message),
                )
            # A worker that was frozen for so long has lost its connection, and the message went to another worker.
            late = time.monotonic() - taken_at > HEARTBEAT_S
            await self._order(request, reply, again=again or late)

        def waits(failure: Failure) -> None:
            nonlocal again
            again = True  # the request may be in the log all the same
            level = logging.WARNING if failure.failures == 1 else logging.DEBUG
            logger.log(level, "a request from RabbitMQ waits for the log: %s", failure.error)

        errors, pauses_s = (UnavailableError, LogError, TimeoutError), endless(LOG_RETRY_S)
        try:
            await retry(accept, errors, but=LogRefusedError, pauses_s=pauses_s, tell=waits)
        except LogRefusedError as error:
            raise ApiError(f"The log refuses the request: {error}", status=500, kind="server_error") from error

    async def _order(self, request: ChatRequest, reply: Reply, *, again: bool) -> None:
        """Order the delivery, after the request: an order without a request in the log would wait for ever."""
        order = Order(
            uid=request.uid,
            submission=request.event_id,
            tenant=request.tenant,
            fingerprint=request.fingerprint,
            chunks_from=request.chunks_from,
            chunks_topic_id=request.chunks_topic_id,
            stream=request.stream,
            name=reply.name,
            queue=reply.queue,
            declare=reply.declare,
            again=again,
            correlation_id=reply.correlation_id,
        )
        partition = chunks_of(self._log, request.uid).partition
        async with asyncio.timeout(self._settings.accept_timeout_s):
            await self._log.append(topics.CHAT_DELIVERIES.name, partition, order.key, orders.encode(order))

    def _make_queue(self, reply: Reply) -> None:
        """Make the response queue at once: a client may look for it before it has a message."""
        queues = self._queues()
        if queues is not None and reply.declare:
            asking = asyncio.ensure_future(queues.reach(reply.queue, declare=True))
            self._asking.add(asking)
            asking.add_done_callback(self._asked)

    def _asked(self, asking: "asyncio.Future[bool]") -> None:
        self._asking.discard(asking)
        # mark the exception as retrieved: the delivery asks for the queue again, and reports the error
        asking.cancelled() or asking.exception()
