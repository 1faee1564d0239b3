"""Messages that are no requests go to the dead queue unchanged, and into the log; they block and repeat nothing."""

import base64
import gzip
import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiormq.abc import DeliveredMessage
from pamqp import encode
from pamqp.commands import Basic
from pamqp.common import FieldTable

from demo.text import expected_content
from tests.e2e.amqp import Client, Desk, Inbox, new_name, until_connected, values
from tests.unit.demo.helpers import body_of, calls
from weir.rabbitmq.wire import entries, join, split, table

pytestmark = pytest.mark.rabbitmq

MIB = 2**20
DEEP = 100_000
FRAME_MAX = 131_072  # RabbitMQ's, as shipped
KEPT_MAX = 4 * MIB  # bytes of a value that chat-dead-letters keeps: half of a record, for base64


def request(**more: Any) -> bytes:
    """A request with a wrong field."""
    return orjson.dumps({"model": "demo", "messages": [{"role": "user", "content": "poison"}], **more})


def within(message: str) -> bytes:
    """A request with this text as its content."""
    return b'{"model": "demo", "messages": [{"role": "user", "content": ' + message.encode() + b"}]}"


BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not valid JSON"),
    "only spaces": (b" \r\n\t ", "not valid JSON"),
    "null": (b"null", "object"),
    "a number": (b"42", "object"),
    "a boolean": (b"true", "object"),
    "a string": (b'"hello"', "object"),
    "an array": (b'[{"role": "user", "content": "hi"}]', "object"),
    "half a request": (request()[:-7], "not valid JSON"),
    "two requests": (request() * 2, "not valid JSON"),
    "truncated UTF-8": (within('"gr\\u00fc')[:-2] + "ü".encode()[:1], "not valid JSON"),
    "latin-1": (within('"grü"').decode().encode("latin-1"), "not valid JSON"),
    "a lone surrogate": (within('"\\ud800"'), "not valid JSON"),
    "half a character in a string": (within('"\\udc00x"'), "not valid JSON"),
    "NUL bytes": (b"\x00" * 100, "not valid JSON"),
    "a NUL within": (within('"a\x00b"'), "not valid JSON"),
    "a byte order mark": (b"\xef\xbb\xbf" + request(), "not valid JSON"),
    "UTF-16": (request().decode().encode("utf-16"), "not valid JSON"),
    "UTF-32": (request().decode().encode("utf-32"), "not valid JSON"),
    "gzip": (gzip.compress(request()), "not valid JSON"),
    "bytes of all values": (bytes(range(256)), "not valid JSON"),
    "many brackets": (b"[" * DEEP, "not valid JSON"),
    "deep nesting, closed": (b"[" * DEEP + b"]" * DEEP, "not valid JSON"),
    "deep nesting of objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "not valid JSON"),
    "deep nesting in a message": (within("[" * DEEP + "]" * DEEP), "not valid JSON"),
    "nesting that can be read but not written": (within("[" * 900 + "]" * 900), "content"),
    "the same beside the messages": (request()[:-1] + b', "x": ' + b"[" * 900 + b"]" * 900 + b"}", "nested"),
    "1e400 as content": (within("1e400"), ""),
    "10**5000 as content": (within("1" + "0" * 5000), ""),
    "NaN": (request()[:-1] + b', "temperature": NaN}', "not valid JSON"),
    "Infinity": (request()[:-1] + b', "temperature": -Infinity}', "not valid JSON"),
    "no messages": (b"{}", "messages"),
    "messages of null": (request(messages=None), "messages"),
    "messages of text": (request(messages="hi"), "messages"),
    "messages of an object": (request(messages={"role": "user"}), "messages"),
    "messages of none": (request(messages=[]), "messages"),
    "messages of numbers": (request(messages=[1, 2]), "messages[0]"),
    "too many messages": (request(messages=[{"role": "user", "content": ""}] * 10_001), "messages"),
    "an unknown role": (request(messages=[{"role": "boss", "content": "hi"}]), "messages[0].role"),
    "a role that is none": (request(messages=[{"role": ["user"], "content": "hi"}]), "messages[0].role"),
    "content of a number": (request(messages=[{"role": "user", "content": 7}]), "messages[0].content"),
    "two members of one name": (request()[:-1] + b', "messages": 1}', "messages"),
    "a model of a number": (request(model=5), "model"),
    "a model of 10,000 characters": (request(model="m" * 10_000), "model"),
    "stream of text": (request(stream="true"), "stream"),
    "n of a million": (request(n=1_000_000), "n"),
    "a uid of a number": (request(uid=5), "uid"),
    "a uid of a list": (request(uid=["a"]), "uid"),
    "a uid of true": (request(uid=True), "uid"),
    "a uid of 129 characters": (request(uid="u" * 129), "uid"),
    "a uid of two lines": (request(uid="a\nb"), "uid"),
    "9 MB, a request otherwise": (within('"' + "x" * (9 * MIB) + '"'), "REQUEST_MAX_BYTES"),
    "60 MB": (b"x" * (60 * MIB), "REQUEST_MAX_BYTES"),
}


# -- the messages


@dataclass(frozen=True)
class Poison:
    """One message, as bytes on the wire."""

    body: bytes
    reason: str
    properties: dict[str, bytes] = field(default_factory=dict)


def properties(**headers: Any) -> dict[str, bytes]:
    """All properties that a client may set, as bytes on the wire."""
    return {
        "content_type": encode.short_string("application/json"),
        "headers": encode.field_table(
            {"mine": "Grüße", "nested": {"a": [1, {"b": None}]}, "reply_to": "r" * 1000, **headers}
        ),
        "priority": b"\x03",
        "correlation_id": encode.short_string("c-1"),
        "timestamp": (1_700_000_000).to_bytes(8),
        "message_type": encode.short_string("ask"),
        "app_id": encode.short_string("poison"),
    }


def odd_headers() -> bytes:
    """Values that no Python type can hold exactly."""
    values = {
        b"a double": b"d" + struct.pack(">d", 1e300),
        b"a float": b"f" + struct.pack(">f", 0.1),
        b"bytes": b"S\x00\x00\x00\x02\xff\xfe",
        b"an array of bytes": b"x\x00\x00\x00\x02\xff\xfe",
        b"a decimal": b"D\x02\xff\xff\xff\xff",
        b"a small number": b"l" + (1).to_bytes(8),
        b"nothing": b"V",
        b"no": b"t\x00",
    }
    return table(list(values.items()))


def deep_headers() -> bytes:
    value = b"V"
    for _ in range(5000):
        value = b"A" + len(value).to_bytes(4) + value
    return table([(b"deep", value)])


def filling_a_frame() -> dict[str, bytes]:
    """Headers that leave no room for another one."""
    mode = {"delivery_mode": b"\x01"}
    room = FRAME_MAX - 20 - len(join({**properties(large=""), **mode}))
    return {**properties(large="h" * room), **mode}


def poisons(queue: str) -> Iterator[tuple[str, Poison]]:
    for name, (body, reason) in BODIES.items():
        yield name, Poison(body, reason, properties())
    bad, good = request(messages=[]), request()
    yield "bare", Poison(bad, "messages")
    yield "headers of all types", Poison(bad, "messages", {"headers": odd_headers()})
    yield "headers of 5000 levels", Poison(good, "headers", {"headers": deep_headers()})
    yield "a header that is no UTF-8", Poison(good, "headers", {"headers": table([(b"\xff", b"V")])})
    yield (
        "a date in a header after the last one",
        Poison(good, "headers", {"headers": table([(b"t", b"T" + b"\xff" * 8)])}),
    )
    yield "a reply_to that is no UTF-8", Poison(good, "reply_to", {"reply_to": b"\x02\xff\xfe"})
    yield "a message_id that is no UTF-8", Poison(good, "message_id", {"message_id": b"\x02\xff\xfe"})
    yield "a date after the last one", Poison(bad, "messages", {"timestamp": b"\xff" * 8})
    yield "copies to the queue itself", Poison(bad, "messages", properties(CC=[queue]))
    yield (
        "one that expires",
        Poison(bad, "messages", {"expiration": encode.short_string("3600000"), "priority": b"\x01"}),
    )
    yield "one with its user", Poison(bad, "messages", {"user_id": encode.short_string("guest"), "priority": b"\x02"})
    yield "a reply_to that is nowhere", Poison(bad, "messages", {"reply_to": encode.short_string("no-such-queue")})
    yield "a reply_to beyond ASCII", Poison(bad, "messages", {"reply_to": encode.short_string("Grüße")})
    huge = {"reply_to": encode.short_string("no-such-queue")}
    yield "a uid of 200 KB with a reply_to", Poison(request(uid="u" * 200_000), "uid", huge)
    yield "a tenant that is none", Poison(good, "X-Tenant-ID", properties(**{"X-Tenant-ID": "no spaces"}))
    yield "headers that fill a frame", Poison(bad, "", filling_a_frame())


class _Raw(Basic.Properties):
    """Properties that are bytes already."""

    raw: bytes

    def marshal(self) -> bytes:
        return self.raw


async def send(client: Client, poison: Poison) -> None:
    given = _Raw()
    given.raw = join(poison.properties)
    channel = await client.channel.get_underlay_channel()
    await channel.basic_publish(poison.body, routing_key=client.queue, properties=given, mandatory=True)


# -- the dead queue


@dataclass(frozen=True)
class Dead:
    """A message of the dead queue."""

    body: bytes
    properties: dict[str, bytes]

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(entries(self.properties["headers"]))

    def is_what_became_of(self, poison: Poison) -> bool:
        """Whether this message is the dead one of a poison, to the byte."""
        if self.body != poison.body:
            return False
        own = {name: value for name, value in self.headers.items() if not name.startswith(b"x-weir-")}
        if b"x-weir-CC" in self.headers:  # RabbitMQ would send a copy of this one, too
            own[b"CC"] = self.headers[b"x-weir-CC"]
        changed = {"headers", "expiration", "user_id", "delivery_mode"}
        if "message_id" not in poison.properties:
            changed.add("message_id")
        return own == dict(entries(poison.properties.get("headers", b""))) and all(
            poison.properties.get(name) == self.properties.get(name)
            for name in (poison.properties.keys() | self.properties.keys()) - changed
        )

    def text(self, name: str) -> str:
        """A header that Weir added."""
        return self.headers[name.encode()][5:].decode()


async def dead_letters(client: Client, count: int) -> list[Dead]:
    """So many messages of the dead queue, which must be all messages in it."""
    queue = f"{client.queue}.dead"
    await client.counts(queue, count, within_s=60)
    channel, inbox = await client.channel.get_underlay_channel(), Inbox[DeliveredMessage]()
    await channel.basic_consume(queue, inbox.queue.put, no_ack=True, consumer_tag="dead")
    came = [await inbox.take() for _ in range(count)]
    await channel.basic_cancel("dead")
    return [Dead(one.body, split(one.header.__dict__["raw"])) for one in came]


async def in_the_log(desk: Desk) -> list[dict[str, Any]]:
    events = [event["data"] for event in await values(desk.worker, "chat-dead-letters")]
    return [data for data in events if data["topic"] == desk.queue]


async def test_each_ends_in_the_dead_queue_as_it_came_and_holds_nothing_up(desk: Desk) -> None:
    sent = dict(poisons(desk.queue))
    good = [body_of("demo:tokens=10", f"good {n}", uid=new_name("good")) for n in range(len(sent) // 8)]
    async with desk.client() as client:
        for n, poison in enumerate(sent.values()):
            await send(client, poison)
            if n % 8 == 0 and n // 8 < len(good):
                await client.send(good[n // 8])
        for body in good:
            assert (await client.answer(f"response_{body['uid']}")).text == expected_content(body)

        dead = await dead_letters(client, len(sent))
        for name, poison in sent.items():
            found = [letter for letter in dead if letter.is_what_became_of(poison)]
            assert len(found) == 1, f"{name} is there {len(found)} times"
            (letter,) = found
            if name != "headers that fill a frame":
                assert poison.reason in letter.text("x-weir-reason"), name
                assert letter.text("x-weir-queue") == desk.queue
                assert letter.text("x-weir-code")
            assert letter.properties["delivery_mode"] == b"\x02"
            assert not {"expiration", "user_id"} & letter.properties.keys()  # it must stay, and belongs to Weir now

        logged = await in_the_log(desk)
        assert Counter(data["size_bytes"] for data in logged) == Counter(len(poison.body) for poison in sent.values())
        kept = Counter(base64.b64decode(data["value"]) for data in logged if data["value"] is not None)
        assert kept == Counter(poison.body for poison in sent.values() if len(poison.body) <= KEPT_MAX)
        assert all(data["reason"] for data in logged)
        by_key: Any = (await calls(desk.upstream))["by_key"]
        assert by_key.keys() == {f"good {n}" for n in range(len(good))}

        # RabbitMQ takes back messages that a worker has not acknowledged.
        assert await desk.worker.stop() == 0
        assert await client.count(desk.queue) == 0
        await until_connected(desk.worker)
        again = body_of("demo:tokens=10", "after", uid=new_name("after"))
        await client.send(again)
        assert (await client.answer(f"response_{again['uid']}")).text == expected_content(again)
        assert await client.count(f"{desk.queue}.dead") == 0
        assert len(await in_the_log(desk)) == len(sent)


async def test_a_sender_that_is_gone_blocks_nothing(desk: Desk) -> None:
    """The queue existed a moment ago, so it is not looked for again."""
    async with desk.client() as client:
        mine = await client.channel.declare_queue(new_name("mine"), durable=True)
        for there in (True, False):
            mark = new_name("mark")
            await client.send({"uid": mark}, reply_to=mine.name)
            await client.buried(mark)
            if there:
                await client.counts(mine.name, 1)
                await mine.delete(if_unused=False, if_empty=False)
        await client.counts(desk.queue, 0)


async def test_a_sender_whose_queue_is_full_holds_up_nothing(desk: Desk) -> None:
    full: FieldTable = {"x-max-length": 1, "x-overflow": "reject-publish"}
    async with desk.client() as client:
        mine = await client.channel.declare_queue(new_name("mine"), durable=True, arguments=full)
        for _ in range(3):
            mark = new_name("mark")
            await client.send({"uid": mark}, reply_to=mine.name)
            await client.buried(mark)
        await mine.delete(if_unused=False, if_empty=False)


async def test_more_of_them_than_are_taken_at_once_hold_up_nothing(desk: Desk) -> None:
    async with desk.client() as client:
        for n in range(200):
            await client.send(b"poison %d" % n)
        body = body_of("demo:tokens=10", "last", uid=new_name("last"))
        await client.send(body)
        assert (await client.answer(f"response_{body['uid']}")).text == expected_content(body)
        found = await dead_letters(client, 200)
    assert {letter.body for letter in found} == {b"poison %d" % n for n in range(200)}
