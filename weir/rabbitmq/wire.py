"""Reads properties as they came over the wire, including values that pamqp refuses although RabbitMQ takes them.

RabbitMQ reads few properties and passes all of them on as they came. pamqp refuses a date after the year 9999 or a text
that is not UTF-8, and aiormq gives up the connection then: RabbitMQ delivers the message again over the next one,
endlessly. Nor does pamqp write what it has read: a float loses half of its digits, and bytes are refused.

So a message with unreadable properties is taken with its readable ones, and `Incoming` names the others; properties are
passed on as bytes, by `Forwarded`. The reading holds for the whole process, as soon as this module is imported.
"""

import re
import uuid
from collections.abc import Mapping

from aio_pika import DeliveryMode, IncomingMessage, Message
from aiormq.abc import DeliveredMessage
from pamqp import constants, decode, encode
from pamqp.commands import Basic
from pamqp.header import ContentHeader

# Any UTF-8 is a name to RabbitMQ; its own for direct replies has a "=" in it, which pamqp does not accept.
constants.DOMAIN_REGEX["queue-name"] = re.compile(r".*", re.DOTALL)

_HEAD_BYTES = 12  # of a content header frame, before the properties
_FRAME_BYTES = 8  # of any frame, around its payload
_NAMES = Basic.Properties.__slots__  # in their order on the wire
_FLAGS = Basic.Properties.flags

# Sizes of the values of a table, by their type; None: the next four bytes hold the size.
_SIZES: dict[bytes, int | None] = {
    **dict.fromkeys((b"t", b"b", b"B"), 1),
    **dict.fromkeys((b"s", b"u"), 2),
    **dict.fromkeys((b"I", b"i", b"f"), 4),
    **dict.fromkeys((b"l", b"L", b"d", b"T"), 8),
    **dict.fromkeys((b"S", b"A", b"F", b"x")),
    b"D": 5,
    b"V": 0,
}


def split(raw: bytes) -> dict[str, bytes]:
    """The properties of a content header by name, each as its bytes in the header."""
    flags, at, found = int.from_bytes(raw[:2]), 2, {}
    for name in _NAMES:
        if flags & _FLAGS[name]:
            size = _size(Basic.Properties.amqp_type(name), raw, at)
            found[name] = raw[at : at + size]
            at += size
    return found


def join(properties: Mapping[str, bytes]) -> bytes:
    """The opposite of `split`."""
    names = [name for name in _NAMES if name in properties]
    flags = sum(_FLAGS[name] for name in names)
    return flags.to_bytes(2) + b"".join(properties[name] for name in names)


def _size(kind: str, raw: bytes, at: int) -> int:
    match kind:
        case "octet":
            return 1
        case "timestamp":
            return 8
        case "table":
            return 4 + int.from_bytes(raw[at : at + 4])
    return 1 + raw[at]


def entries(table: bytes) -> list[tuple[bytes, bytes]]:
    """The names and values of a table, each as its bytes in the table."""
    at, found = 4, []
    while at < len(table):
        name = table[at + 1 : at + 1 + table[at]]
        at += 1 + len(name)
        size = _SIZES[table[at : at + 1]]
        end = at + 1 + (4 + int.from_bytes(table[at + 1 : at + 5]) if size is None else size)
        found.append((name, table[at:end]))
        at = end
    return found


def table(of: list[tuple[bytes, bytes]]) -> bytes:
    """The opposite of `entries`."""
    content = b"".join(len(name).to_bytes() + name + value for name, value in of)
    return len(content).to_bytes(4) + content


# -- reading


def _read(self: ContentHeader, data: bytes) -> None:
    """Replaces ``ContentHeader.unmarshal``: never fails, and keeps the bytes that it has read."""
    raw, unreadable = data[_HEAD_BYTES:], {}
    try:
        _unmarshal(self, data)
    except Exception:  # noqa: BLE001 - any error: dates, UTF-8, types, a nesting too deep
        self.properties = Basic.Properties()
        for name, value in split(raw).items():
            try:
                setattr(self.properties, name, decode.by_type(value, Basic.Properties.amqp_type(name))[1])
            except Exception as error:  # noqa: BLE001 -- likewise
                unreadable[name] = f"{type(error).__name__}: {error}"
    self.__dict__.update(raw=raw, unreadable=unreadable)


_unmarshal = ContentHeader.unmarshal
ContentHeader.unmarshal = _read  # type: ignore[method-assign]


class Incoming(IncomingMessage):
    """A received message, with its properties as bytes."""

    def __init__(self, delivered: DeliveredMessage) -> None:
        super().__init__(delivered)
        fields = delivered.header.__dict__
        self.raw: bytes = fields["raw"]
        self.unreadable: Mapping[str, str] = fields["unreadable"]  # the properties that cannot be read, with the reason
        self.frame_max = delivered.channel.connection.connection_tune.frame_max


# -- passing on

# RabbitMQ acts upon these: it drops an expired message, refuses another user's name, and sends copies.
_LEFT_OUT = ("expiration", "user_id")
_COPIES = b"CC"


class Forwarded(Message):
    """A received message, to be published again with its own properties and a few more headers."""

    def __init__(self, came: Incoming, more: Mapping[str, str]) -> None:
        """Adds no header of ``more`` if the properties then exceed the frame."""
        # aiormq identifies a message that RabbitMQ returns by its id.
        super().__init__(came.body, message_id=came.message_id or uuid.uuid4().hex)
        given = {name: value for name, value in split(came.raw).items() if name not in _LEFT_OUT}
        headers = entries(given.get("headers", b""))
        kept = [(name, value) for name, value in headers if name != _COPIES]
        copies = [(b"x-weir-" + name, value) for name, value in headers if name == _COPIES]
        added = [(name.encode(), encode.encode_table_value(value)) for name, value in more.items()]
        own = {"delivery_mode": encode.octet(DeliveryMode.PERSISTENT)}
        given["headers"] = table(kept)
        full = {
            "message_id": encode.short_string(str(self.message_id)),
            **given,
            **own,
            "headers": table(kept + copies + added),
        }
        fitting = (one for one in (full, given | own) if _fits(one, came.frame_max))
        self._raw = next(fitting, given)

    @property
    def properties(self) -> Basic.Properties:
        """The properties that aio-pika sends."""
        properties = _Raw(message_id=self.message_id)
        properties.raw = join(self._raw)
        return properties


def _fits(properties: Mapping[str, bytes], frame_max: int) -> bool:
    return not frame_max or len(join(properties)) + _HEAD_BYTES + _FRAME_BYTES <= frame_max


class _Raw(Basic.Properties):
    """Properties that are bytes already."""

    raw: bytes

    def marshal(self) -> bytes:
        return self.raw
