"""Requests from the queue into the log.

A message is acknowledged when its request is in chat-requests and its delivery is ordered in chat-deliveries, so who
dies before leaves it to another worker. The same message may therefore be taken twice: with a ``uid`` or a
``message_id``, its second request attaches to the first one, and no second answer is sent.

What is no request goes to ``{queue}.dead`` as it came, with its reason, and to chat-dead-letters; its sender is told
where one can be found. It is then acknowledged: it never blocks the queue and never comes again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import AMQPError, ChannelPreconditionFailed

from weir import topics
from weir.chat import dead_letters
from weir.chat.accept import Door, parse
from weir.chat.audit import CANCEL, Audit, Caller
from weir.chat.cancelling import Cancelled
from weir.chat.requests import ChatRequest, chunks_of
from weir.envelope import Json, new_id
from weir.errors import ApiError, InvalidRequestError, NotFoundError, UnavailableError
from weir.events.ingress import Ingress
from weir.log.log import LogClient, LogError, LogRefusedError, Record
from weir.log.partitioner import partition_for
from weir.rabbitmq import contract, orders
from weir.rabbitmq.contract import Reply
from weir.rabbitmq.link import HEARTBEAT_S, LINK_ERRORS, open_channel
from weir.rabbitmq.orders import Order
from weir.rabbitmq.queues import Queues
from weir.rabbitmq.wire import Forwarded, Incoming
from weir.settings import Settings
from weir.telemetry.tracing import tracing
from weir.telemetry.worker_metrics import Metrics
from weir.timing import Failure, endless, retry

logger = logging.getLogger(__name__)

ROOM_S = 0.1  # between two looks at whether the worker can take more
LOG_RETRY_S = (0.2, 0.5, 1.0, 3.0)  # while the log is away; the last one repeats, and the message is held
HAND_BACK_S = 1.0  # before a message is given back to RabbitMQ, which delivers it again at once
BURY_TRIES = 3
REASON_MAX = 1024  # characters of a reason in a header

# Properties that a request is not taken without, if they are there; the others are read by nobody here.
USED = ("headers", "reply_to", "correlation_id", "message_id", "expiration")


class QueueGoneError(ConnectionError):
    """The queue of requests was removed, or its channel closed; a new session makes both again."""


class Intake:
    """Takes requests from RabbitMQ, for one worker."""

    def __init__(
        self,
        *,
        door: Door,
        log: LogClient,
        settings: Settings,
        queues: Callable[[], Queues | None],
        has_room: Callable[[], bool],
        metrics: Metrics,
        cancel: Callable[[str], Awaitable[Cancelled]],
        audit: Audit,
    ) -> None:
        """A door for messages.

        Args:
            door: takes requests in.
            log: where orders and dead letters go.
            settings: of the worker.
            queues: sends errors and dead letters, and makes response queues; None while RabbitMQ is away for sending.
            has_room: whether the worker can do with more requests now.
            metrics: of the worker.
            cancel: cancels a request, by its uid.
            audit: is told of what is cancelled or refused.
        """
        self._door = door
        self._log = log
        self._settings = settings
        self._queues = queues
        self._has_room = has_room
        self._metrics = metrics
        self._cancel = cancel
        self._audit = audit
        self._in_hand: set[asyncio.Task[None]] = set()
        self._asking: set[asyncio.Future[bool]] = set()
        self.taking = False

    # -- taking and leaving

    async def use(self, connection: AbstractConnection) -> None:
        """Consume while there is room, until the connection is lost. For `Link.keep`.

        Raises:
            LINK_ERRORS: RabbitMQ is away, or does not permit it.
        """
        channel, gone = await self._open(connection)
        try:
            while True:
                while not self._ready():
                    await self._look(gone)
                # Below aio-pika, which keeps nothing of the properties as they came. And not by their own `timeout`,
                # which is asyncio.wait_for: see pyproject.toml.
                tag = new_id("weir")
                async with asyncio.timeout(self._settings.rabbitmq_timeout_s):
                    await channel.basic_consume(self._settings.rabbitmq_queue, self._on_message, consumer_tag=tag)
                self.taking = True
                while self._ready():
                    await self._look(gone)
                self.taking = False
                async with asyncio.timeout(self._settings.rabbitmq_timeout_s):
                    await channel.basic_cancel(tag)
        finally:
            self.taking = False
            # What is in hand has lost its channel, and cannot be acknowledged any more.
            for task in self._in_hand:
                task.cancel()
            await asyncio.gather(*self._in_hand, return_exceptions=True)

    async def _look(self, gone: asyncio.Event) -> None:
        """Wait a moment: nobody tells of room in the worker. A queue or a channel that is gone ends the session."""
        if gone.is_set():
            raise QueueGoneError(f"the queue {self._settings.rabbitmq_queue}, or its channel, was closed")
        await asyncio.sleep(ROOM_S)

    def _ready(self) -> bool:
        return self._has_room() and self._queues() is not None

    async def _open(self, connection: AbstractConnection) -> tuple[AbstractChannel, asyncio.Event]:
        """A channel that consumes the queue of requests: made if it is missing, else taken as it is."""
        name, gone = self._settings.rabbitmq_queue, asyncio.Event()
        async with asyncio.timeout(self._settings.rabbitmq_timeout_s):
            channel = await open_channel(connection, publisher_confirms=False)
            try:
                await channel.declare_queue(name, durable=True)
            except ChannelPreconditionFailed:  # it has other arguments
                channel = await open_channel(connection, publisher_confirms=False)
                await channel.declare_queue(name, passive=True)
            await channel.set_qos(prefetch_count=self._settings.rabbitmq_prefetch)
            # RabbitMQ closes one that has kept a message for half an hour, while the log was away.
            channel.close_callbacks.add(lambda *_: gone.set())
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(lambda *_: gone.set())
        return underlay, gone

    async def drain(self, seconds: float) -> None:
        """Bring what is in hand into the log; `use` takes nothing new once the worker has no room."""
        if self._in_hand:
            await asyncio.wait(set(self._in_hand), timeout=seconds)

    async def _on_message(self, delivered: DeliveredMessage) -> None:
        message, task = Incoming(delivered), asyncio.current_task()
        if task is not None:
            self._in_hand.add(task)
            task.add_done_callback(self._in_hand.discard)
        try:
            await self._take(message)
            await message.ack()
        except LINK_ERRORS as error:
            logger.warning("a request from RabbitMQ is not acknowledged: %s: %s", type(error).__name__, error)
            await self._hand_back(message)
        except Exception:
            logger.exception("a message from RabbitMQ is not acknowledged")
            await self._hand_back(message)

    async def _hand_back(self, message: Incoming) -> None:
        """Let it come again. Kept unacknowledged, a few like it would fill what may be taken at once."""
        await asyncio.sleep(HAND_BACK_S)
        with suppress(*LINK_ERRORS):  # its channel is gone: then it comes again by itself
            await message.reject(requeue=True)

    # -- one message

    async def _take(self, message: Incoming) -> None:
        body = None
        try:
            body = self._parse(message)
            self._check_properties(message)
            reply = self._reply_of(message, body)
            if body.get("cancel") is True:
                return await self._withdraw(reply)
            self._make_queue(reply)
            given = contract.traceparent_of(message)
            with tracing.message(self._settings.rabbitmq_queue, given) as span:
                await self._accept(message, body, reply, span.traceparent)
        except ApiError as error:
            await self._refuse(message, body, error)
        except LINK_ERRORS:
            raise
        except Exception:
            logger.exception("a message from RabbitMQ")
            await self._refuse(message, body, ApiError("a defect in taking it", status=500, kind="server_error"))

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
        if reply is None or len(reply.name) > contract.QUEUE_MAX_BYTES:  # it stands in a header of each message
            raise InvalidRequestError(
                f"'uid' names no queue: it must be one line, of at most {contract.NAME_MAX} characters.", param="uid"
            )
        return reply

    async def _withdraw(self, reply: Reply) -> None:
        """Cancel an earlier request, which may be on its way still. Its answer ends with a message that says so."""
        uid, errors = contract.uid_of(reply.name), (UnavailableError, LogError, NotFoundError)
        try:
            done = await retry(lambda: self._cancel(uid), errors, pauses_s=LOG_RETRY_S)
        except (UnavailableError, LogError) as error:
            raise ConnectionError("it cannot be cancelled now") from error  # the message comes again
        self._audit.record(CANCEL, Caller(ingress=Ingress.RABBITMQ), tenant=done.tenant, resource_id=uid)

    async def _accept(self, message: Incoming, body: Json, reply: Reply, traceparent: str | None) -> None:
        """Into the log, however long that takes."""
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
            # A worker that was frozen for so long has lost its connection, and the message went to another one.
            late = time.monotonic() - taken_at > HEARTBEAT_S
            await self._order(request, reply, again=again or late)

        def waits(failure: Failure) -> None:
            nonlocal again
            again = True  # it may have been taken all the same
            level = logging.WARNING if failure.failures == 1 else logging.DEBUG
            logger.log(level, "a request from RabbitMQ waits for the log: %s", failure.error)

        errors, pauses_s = (UnavailableError, LogError, TimeoutError), endless(LOG_RETRY_S)
        try:
            await retry(accept, errors, but=LogRefusedError, pauses_s=pauses_s, tell=waits)
        except LogRefusedError as error:
            raise ApiError(f"The log refuses it: {error}", status=500, kind="server_error") from error

    async def _order(self, request: ChatRequest, reply: Reply, *, again: bool) -> None:
        """Order the delivery: after its request, for an order whose request is nowhere would wait for ever."""
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
        """Make the response queue at once: a client may look for it before there is anything in it."""
        queues = self._queues()
        if queues is not None and reply.declare:
            asking = asyncio.ensure_future(queues.reach(reply.queue, declare=True))
            self._asking.add(asking)
            asking.add_done_callback(self._asked)

    def _asked(self, asking: "asyncio.Future[bool]") -> None:
        self._asking.discard(asking)
        asking.cancelled() or asking.exception()  # whoever delivers asks for the queue again, and complains

    # -- what is no request

    async def _refuse(self, message: Incoming, body: object, error: ApiError) -> None:
        """Tell the sender, and put the message where it can be looked at."""
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
        """Tell the sender, if that is possible: one who is gone is no reason to keep the message."""
        reply = contract.reply_of(message, body, self._settings.response_queue_prefix)
        cancels = isinstance(body, dict) and body.get("cancel") is True
        if reply is None or (cancels and reply.declare):  # what is to be cancelled has its answer in that queue
            return
        headers = contract.ended(reply.name[: contract.QUEUE_MAX_BYTES], 0, contract.failed(error))
        told = contract.answer(b"", headers, message_id=None, correlation_id=reply.correlation_id)
        try:
            if await queues.reach(reply.queue, declare=reply.declare):
                await queues.publish(told, reply.queue)
        except LINK_ERRORS as failure:
            logger.warning("%s cannot be told: %s: %s", reply.queue, type(failure).__name__, failure)

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
        for _ in range(BURY_TRIES):
            try:
                await queues.keep(name)
                return await queues.publish(letter, name)
            except AMQPError as failure:
                logger.warning("not in %s: %s: %s", name, type(failure).__name__, failure)
        raise ConnectionError(f"{name} does not take it")
