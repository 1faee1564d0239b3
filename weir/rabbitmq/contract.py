"""What the messages mean: the queue worker's contract, and what was added to it in headers and properties only.

Requests: JSON ``{model, messages, stream, username, uid, …}`` on the queue of requests; what OpenAI knows besides goes
to the LLM. Answers: text as UTF-8 on ``{prefix}{uid}``, an empty body at the end. Properties of a request that are
honoured: ``reply_to`` (instead of the prefixed queue), ``correlation_id`` (comes back), ``message_id`` (the uid where
the body has none), ``priority``, ``expiration`` (from when it was taken), and the headers ``X-Tenant-ID``,
``X-Think-Tags`` and ``traceparent``.
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
HEADERS_MAX_BYTES = 98_304  # of all that tell of an answer: headers must fit into one AMQP frame, of 128 KiB by default
TENANT_HEADER = "x-tenant-id"
EXPIRATION_MAX_S = 365 * 86400.0


@dataclass(frozen=True, slots=True)
class Reply:
    """Where the answer goes, and under which name."""

    queue: str
    name: str  # what the client calls its request
    declare: bool  # the queue is ours to create
    correlation_id: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """How far a delivery has come: what its last message tells to whoever goes on with it."""

    seq: int = 0  # number of the next message
    position: int = 0  # bytes of the answer's text in the messages so far
    crc: int = 0  # CRC-32 of these bytes
    ended: bool = False  # the last message is out


def reply_of(message: AbstractIncomingMessage, body: Any, prefix: str, minted: str = "") -> Reply | None:
    """Where the sender of a message looks for its answer; None if that cannot be told.

    Args:
        message: what came.
        body: its JSON, or anything else.
        prefix: of the response queues.
        minted: the name of a request that brings none.
    """
    given = body.get("uid") if isinstance(body, dict) else None
    name = given if isinstance(given, str) and given else message.message_id or minted
    correlation_id = message.correlation_id or None
    if message.reply_to:
        return Reply(message.reply_to, name, declare=False, correlation_id=correlation_id)
    queue = prefix + name
    # RabbitMQ takes line breaks out of the name of a queue that it makes, and then finds none by the name with them.
    if not name or len(name) > NAME_MAX or len(queue.encode()) > QUEUE_MAX_BYTES or "\n" in queue or "\r" in queue:
        return None
    return Reply(queue, name, declare=True, correlation_id=correlation_id)


def uid_of(name: str) -> str:
    """The uid of a request that its client calls ``name``: that, unless it could not be a key or part of a path."""
    try:
        check_uid(name)
    except InvalidRequestError:
        return f"rmq-{hashlib.sha256(name.encode()).hexdigest()[:32]}"
    return name


def deadline_of(message: AbstractIncomingMessage) -> str | None:
    """When the answer is of no use any more.

    Counted from now: RabbitMQ has dropped what expired in the queue, and a client's clock is its own.
    """
    expiration = message.expiration
    if expiration is None:
        return None
    seconds = float(expiration) if isinstance(expiration, int | float) else EXPIRATION_MAX_S
    return utc_iso(time.time() + min(seconds, EXPIRATION_MAX_S))


def tenant_of(message: AbstractIncomingMessage) -> str | None:
    """Who a request belongs to, if it says so."""
    return _header(message, TENANT_HEADER)


def think_tags_of(message: AbstractIncomingMessage) -> str | None:
    """What is to become of ``<think>`` tags in its answer, if it says so."""
    return _header(message, THINK_TAGS_HEADER.lower())


def traceparent_of(message: AbstractIncomingMessage) -> str | None:
    """What it is part of, if it says so."""
    return _header(message, HEADER)


def _header(message: AbstractIncomingMessage, wanted: str) -> str | None:
    for name, value in message.headers.items():
        if name.lower() == wanted:
            return value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
    return None


# -- answers


def message_id(submission: str, place: Place) -> str:
    """The id of the message that brings a delivery to ``place``; `place_of` reads it."""
    return f"{submission}:{place.seq}:{place.position}:{place.crc:08x}{':end' if place.ended else ''}"


def place_of(given: str | None) -> tuple[str, Place] | None:
    """The submission and the place that a message's id tells; None if it is none of ours."""
    match (given or "").split(":"):
        case [submission, seq, position, crc, *end] if end in ([], ["end"]):
            try:
                return submission, Place(int(seq), int(position), int(crc, 16), bool(end))
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
    """Headers of a message that is not the last."""
    return {"uid": name, "seq": seq, "done": False}


def ended(name: str, seq: int, terminal: Terminal, beside: Json | None = None) -> dict[str, Any]:
    """Headers of the last message. The names of those that are too large for a header are in ``omitted``.

    Args:
        name: what the client calls its request.
        seq: of the message.
        terminal: how the request ended.
        beside: what of the answer is no text: tool calls, a refusal.
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
    """The end of what a door refuses, as the log tells the end of what it took."""
    return Terminal(status=Status.FAILED, error={**error.error, "status": error.status})


def _size(value: Any) -> int | None:
    """Bytes of a value in a table of AMQP; None for one that has no room in any."""
    try:
        return len(encode.encode_table_value(value))
    except (TypeError, OverflowError, RecursionError, UnicodeEncodeError):
        return None
