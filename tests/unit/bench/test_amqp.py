"""The small AMQP client: frames cut everywhere, messages put together from them, RabbitMQ's refusals."""

from typing import Any

import pytest
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.frame import FrameTypes
from pamqp.header import ContentHeader

from bench.amqp import BrokenError, Frames, Inbox, Message, publish
from bench.queue_load import EXPIRES_MS, PREFIX
from weir.settings import Settings

HEADERS: dict[str, Any] = {"uid": "u", "seq": 3, "done": False}


def delivery(body: bytes, *, tag: str = "t") -> list[FrameTypes]:
    _, *content = publish("response_u", body, commands.Basic.Properties(headers={**HEADERS}))
    return [commands.Basic.Deliver(tag, 1, False, "", "response_u"), *content]


def wire(frames: list[FrameTypes], channel: int = 7) -> bytes:
    return b"".join(frame.marshal(each, channel) for each in frames)


def read(*parts: bytes) -> list[Message]:
    frames, inbox = Frames(), Inbox()
    taken = [inbox.take(channel, found) for part in parts for channel, found in frames.feed(part)]
    return [message for message in taken if message is not None]


def test_a_message_may_be_cut_at_every_byte() -> None:
    data = wire(delivery(b"0@00000000000001 "))
    for cut in range(len(data)):
        (message,) = read(data[:cut], data[cut:])
        assert (message.channel, message.tag, message.headers, message.body) == (7, "t", HEADERS, b"0@00000000000001 ")


def test_an_empty_message_has_no_body_frame() -> None:
    assert [message.body for message in read(wire([*delivery(b""), *delivery(b"x")]))] == [b"", b"x"]


def test_a_message_may_come_in_many_bodies() -> None:
    parts: list[FrameTypes] = [commands.Basic.Deliver("t", 1, False, "", "q"), ContentHeader(0, 4)]
    parts += [ContentBody(b"ab"), ContentBody(b"cd")]
    assert [message.body for message in read(wire(parts))] == [b"abcd"]


def test_messages_of_two_channels_may_be_interleaved() -> None:
    first, second = delivery(b"a", tag="one"), delivery(b"b", tag="two")
    mixed = b"".join(frame.marshal(x, 1) + frame.marshal(y, 2) for x, y in zip(first, second, strict=True))
    assert [(m.channel, m.tag, m.body) for m in read(mixed)] == [(1, "one", b"a"), (2, "two", b"b")]


@pytest.mark.parametrize("closing", [commands.Channel.Close, commands.Connection.Close])
def test_what_rabbitmq_closes_is_told(closing: type[commands.Channel.Close] | type[commands.Connection.Close]) -> None:
    with pytest.raises(BrokenError, match="406 PRECONDITION"):
        read(wire([closing(406, "PRECONDITION_FAILED", 50, 10)]))


def test_the_response_queue_is_declared_as_weir_does_it() -> None:
    settings = Settings()
    assert (settings.response_queue_prefix, settings.response_queue_expires_s * 1000) == (PREFIX, EXPIRES_MS)


def test_a_publication_is_what_a_message_needs() -> None:
    kinds = [type(each).__name__ for each in publish("q", b"x", commands.Basic.Properties())]
    assert kinds == ["Publish", "ContentHeader", "ContentBody"]
