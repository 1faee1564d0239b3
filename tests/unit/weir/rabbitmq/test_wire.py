"""Properties as bytes: all that RabbitMQ lets through is read, and passed on as it came."""

import struct
from typing import Any

import pytest
from pamqp import encode
from pamqp.commands import Basic, Queue
from pamqp.header import ContentHeader

from weir.rabbitmq.wire import Forwarded, Incoming, entries, join, split, table

TABLE: Any = {
    "text": "Grüße",
    "number": 7,
    "large": 2**40,
    "nested": {"list": [1, "two", None, {"three": True}]},
    "CC": ["a"],
}
DOUBLE = b"d" + struct.pack(">d", 1e300)
BYTES = b"S" + len(b"\xff\xfe").to_bytes(4) + b"\xff\xfe"
ALL = {
    "content_type": encode.short_string("application/json"),
    "headers": table([*entries(encode.field_table(TABLE)), (b"double", DOUBLE), (b"bytes", BYTES)]),
    "delivery_mode": b"\x01",
    "priority": b"\x07",
    "correlation_id": encode.short_string("c"),
    "reply_to": encode.short_string("answers"),
    "expiration": encode.short_string("5000"),
    "message_id": encode.short_string("m"),
    "timestamp": (1_700_000_000).to_bytes(8),
    "message_type": encode.short_string("ask"),
    "user_id": encode.short_string("guest"),
    "app_id": encode.short_string("test"),
}
FRAME_MAX = 131_072


def came(properties: dict[str, bytes], body: bytes = b"?", frame_max: int = FRAME_MAX) -> Incoming:
    """A message as aiormq hands it over."""
    header = ContentHeader()
    header.unmarshal(struct.pack(">HHQ", Basic.frame_id, 0, len(body)) + join(properties))
    delivered = Delivered(header, body)
    delivered.channel.connection.connection_tune.frame_max = frame_max
    return Incoming(delivered)  # type: ignore[arg-type]


class Holder:
    """An object with any properties."""

    def __getattr__(self, name: str) -> Any:
        value = Holder()
        setattr(self, name, value)
        return value


class Delivered(Holder):
    def __init__(self, header: ContentHeader, body: bytes) -> None:
        self.header, self.body = header, body
        self.delivery_tag = 1


def sent(letter: Forwarded) -> dict[str, bytes]:
    """Return the properties that go over the wire."""
    return split(letter.properties.marshal())


def test_what_is_taken_apart_can_be_put_together() -> None:
    assert split(join(ALL)) == ALL
    assert split(join({})) == {}
    assert table(entries(ALL["headers"])) == ALL["headers"]


def test_properties_are_read_as_pamqp_reads_them() -> None:
    message = came(ALL)
    assert message.headers["nested"] == TABLE["nested"]
    assert (message.reply_to, message.correlation_id, message.priority) == ("answers", "c", 7)
    assert not message.unreadable


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timestamp", b"\xff" * 8),
        ("timestamp", (1_700_000_000_000_000).to_bytes(8)),  # microseconds
        ("reply_to", b"\x02\xff\xfe"),
        ("message_type", b"\x01\xfc"),
        ("headers", table([(b"at", b"T" + b"\xff" * 8)])),
        ("headers", table([(b"\xff", b"V")])),
    ],
)
def test_a_property_that_cannot_be_read_spoils_no_other(name: str, value: bytes) -> None:
    message = came({**ALL, name: value})
    assert message.unreadable.keys() == {name}
    assert message.correlation_id == "c"
    assert sent(Forwarded(message, {}))[name] == value


def test_nesting_too_deep_to_read_is_passed_on() -> None:
    value = b"V"
    for _ in range(5000):
        value = b"A" + len(value).to_bytes(4) + value
    headers = table([(b"deep", value)])
    message = came({"headers": headers})
    assert "headers" in message.unreadable
    assert (b"deep", value) in entries(sent(Forwarded(message, {"why": "deep"}))["headers"])


def test_what_is_passed_on_keeps_its_properties_to_the_byte() -> None:
    letter = sent(Forwarded(came(ALL), {"x-weir-reason": "because"}))
    changed = {"headers", "delivery_mode", "expiration", "user_id"}
    assert {name: value for name, value in letter.items() if name not in changed} == {
        name: value for name, value in ALL.items() if name not in changed
    }
    assert letter["delivery_mode"] == b"\x02"
    assert not {"expiration", "user_id"} & letter.keys()  # RabbitMQ would drop or refuse it
    headers = dict(entries(letter["headers"]))
    assert headers.pop(b"x-weir-reason") == b"S\x00\x00\x00\x07because"
    assert headers.pop(b"x-weir-CC") == dict(entries(ALL["headers"]))[b"CC"]  # else RabbitMQ sends copies
    assert headers == {name: value for name, value in entries(ALL["headers"]) if name != b"CC"}


def test_properties_that_fill_a_frame_get_no_more_headers() -> None:
    fills = len(join(ALL)) + 20
    for frame_max, added in ((fills, False), (fills + 200, True), (0, True)):
        letter = sent(Forwarded(came(ALL, frame_max=frame_max), {"x-weir-reason": "because"}))
        assert (b"x-weir-reason" in dict(entries(letter["headers"]))) == added
        assert not frame_max or len(join(letter)) + 20 <= frame_max


def test_any_name_may_name_a_queue() -> None:
    for name in ("response_Grüße 水", "amq.rabbitmq.reply-to.g1h2AA5yZXBseUA=.x==", 'q"\n'):
        assert Queue.Declare(queue=name).marshal()
