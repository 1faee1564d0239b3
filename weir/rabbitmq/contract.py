"""The format of messages: the queue worker's contract, with additions in headers and properties only.

Requests: JSON ``{model, messages, stream, username, uid, …}`` on the queue of requests; OpenAI's other fields go to the
LLM. Answers: text as UTF-8 on ``{prefix}{uid}``, an empty body at the end. Properties of a request that are honoured:
``reply_to`` (instead of the prefixed queue), ``correlation_id`` (comes back), ``message_id`` (the uid if the body has
none), ``priority``, ``expiration`` (from when the message was taken), and the headers ``X-Tenant-ID``, ``X-Think-Tags``
and ``traceparent``.
"""

import hashlib
import time
from dataclasses import dataclass
from typing import Any

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractIncomingMessage
from pamqp import encode

from weir.chat.frames import Status, Terminal
from weir.chat.requests import THINK_TAGS_HEADER
from weir.chat.validation import check_uid
from weir.envelope import Json, utc_iso
from weir.errors import ApiError, InvalidRequestError
from weir.telemetry.traceparent import HEADER

NAME_MAX = 128  # characters of a uid: with its prefix, it must fit into the 255 bytes of a queue's name
QUEUE_MAX_BYTES = 255  # AMQP 0-9-1: a short string
HEADER_MAX_BYTES = 32_768  # of one header
# of all headers about an answer: headers must fit into one AMQP frame, of 128 KiB by default
HEADERS_MAX_BYTES = 98_304
TENANT_HEADER = "x-tenant-id"
EXPIRATION_MAX_S = 365 * 86400.0


@dataclass(frozen=True, slots=True)
class Reply:
    """The queue to which the answer goes, and the name of the request in it."""

    queue: str
    name: str  # the client's name for its request
    declare: bool  # Weir creates the queue
    correlation_id: str | None


@dataclass(frozen=True, slots=True)
class DeliveryProgress:
    """How far a delivery has come: its last message tells this to the worker that continues it."""

    seq: int = 0  # number of the next message
    position: int = 0  # bytes of the answer's text in the messages so far
    crc: int = 0  # CRC-32 of these bytes
    ended: bool = False  # the last message was sent


def reply_of(message: AbstractIncomingMessage, body: Any, prefix: str, minted: str = "") -> Reply | None:
    """The queue in which the sender of a message looks for its answer; None if the message does not say.

    Args:
        message: the message.
        body: its JSON, or any other value.
        prefix: the prefix of response queues.
        minted: the name for a request that brings none.
    """
    given = body.get("uid") if isinstance(body, dict) else None
    name = given if isinstance(given, str) and given else message.message_id or minted
    correlation_id = message.correlation_id or None
    if message.reply_to:
        return Reply(message.reply_to, name, declare=False, correlation_id=correlation_id)
    queue = prefix + name
    # RabbitMQ removes line breaks from the name of a queue that it makes, and then does not find the name with them.
    if not name or len(name) > NAME_MAX or len(queue.encode()) > QUEUE_MAX_BYTES or "\n" in queue or "\r" in queue:
        return None
    return Reply(queue, name, declare=True, correlation_id=correlation_id)


def uid_of(name: str) -> str:
    """The uid of a request that its client calls ``name``: the name, unless it could not be a key or part of a path."""
    try:
        check_uid(name)
    except InvalidRequestError:
        return f"rmq-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return name


def deadline_of(message: AbstractIncomingMessage) -> str | None:
    """The time after which the client has no use for the answer.

    Counted from now: RabbitMQ has dropped messages that expired in the queue, and a client's clock may be wrong.
    """
    expiration = message.expiration
    if expiration is None:
        return None
    seconds = float(expiration) if isinstance(expiration, int | float) else EXPIRATION_MAX_S
    return utc_iso(time.time() + min(seconds, EXPIRATION_MAX_S))


def tenant_of(message: AbstractIncomingMessage) -> str | None:
    """The tenant of a request, if the message names one."""
    return _header(message, TENANT_HEADER)


def think_tags_of(message: AbstractIncomingMessage) -> str | None:
    """The handling of ``<think>`` tags in the answer, if the message asks for one."""
    return _header(message, THINK_TAGS_HEADER.lower())


def traceparent_of(message: AbstractIncomingMessage) -> str | None:
    """The place of the request in a trace, if the message names one."""
    return _header(message, HEADER)


def _header(message: AbstractIncomingMessage, wanted: str) -> str | None:
    for name, value in message.headers.items():
        if name.lower() == wanted:
            return value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
    return None


# -- answers


def message_id(submission: str, place: DeliveryProgress) -> str:
    """The id of the message after which a delivery is at ``place``; `place_of` reads it."""
    return f"{submission}:{place.seq}:{place.position}:{place.crc:08x}{':end' if place.ended else ''}"


def place_of(given: str | None) -> tuple[str, DeliveryProgress] | None:
    """The submission and the place in a message's id; None if the id is not from Weir."""
    match (given or "").split(":"):
        case [submission, seq, position, crc, *end] if end in ([], ["end"]):
            try:
                return submission, DeliveryProgress(int(seq), int(position), int(crc, 16), bool(end))
            except ValueError:
                return None
    return None


def answer(body: bytes, headers: dict[str, Any], *, message_id: str | None, correlation_id: str | None) -> Message:
    """One message of an answer."""
    return Message(
        body,
        headers=headers,
        content_type="text/plain",
        content_encoding="utf-8",
        delivery_mode=DeliveryMode.PERSISTENT,
        message_id=message_id,
        correlation_id=correlation_id,
        timestamp=int(time.time()),
        app_id="weir",
    )


def said(name: str, seq: int) -> dict[str, Any]:
    """Headers of any message but the last."""
    return {"uid": name, "seq": seq, "done": False}


def ended(name: str, seq: int, terminal: Terminal, beside: Json | None = None) -> dict[str, Any]:
    """Headers of the last message. Headers that are too large are left out, with their names in ``omitted``.

    Args:
        name: the client's name for its request.
        seq: the number of the message.
        terminal: how the request ended.
        beside: the parts of the answer that are not text: tool calls, a refusal.
    """
    headers: dict[str, Any] = {"uid": name, "seq": seq, "done": True, "status": str(terminal.status)}
    more = {
        "finish_reason": terminal.finish_reason,
        "weir_finish": terminal.weir_finish,
        "usage": terminal.usage,
        "error": terminal.error,
        **(beside or {}),
    }
    room, omitted = HEADERS_MAX_BYTES, list[str]()
    for header, value in more.items():
        if value is None:
            continue
        size = _size(value)
        if size is None or size > min(room, HEADER_MAX_BYTES):
            omitted.append(header)
        else:
            headers[header] = value
            room -= size
    return {**headers, "omitted": omitted} if omitted else headers


def failed(error: ApiError) -> Terminal:
    """The end of a refused request, in the form that the log has for the end of an accepted one."""
    return Terminal(status=Status.FAILED, error={**error.error, "status": error.status})


def _size(value: Any) -> int | None:
    """Bytes of a value in an AMQP table; None for a value that no table can hold."""
    try:
        return len(encode.encode_table_value(value))
    except (TypeError, OverflowError, RecursionError, UnicodeEncodeError):
        return None
