"""AMQP 0-9-1 over one blocking socket: the part of it that load generator and echo need, without an event loop.

pamqp knows the frames. This module cuts them out of the stream, puts messages together, and opens channels. A message
costs some 20 µs to read; with a client library made for applications the generator would use the core that the measured
programs need.
"""

import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pamqp import commands, frame, header
from pamqp.body import ContentBody
from pamqp.frame import FrameTypes
from pamqp.header import ContentHeader

READ_BYTES = 262_144
TIMEOUT_S = 20.0  # for RabbitMQ to answer, or to take what is sent
USER = b"\0guest\0guest"
_HEAD = struct.Struct(">BHI")  # of a frame: type, channel, size; a frame ends with one more byte


class BrokenError(Exception):
    """RabbitMQ closed the connection or a channel, or sent a frame that is not expected."""


@dataclass(slots=True)
class Message:
    """One delivery."""

    channel: int
    tag: str  # of its consumer
    headers: dict[str, Any]
    size: int
    body: bytes = b""


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, FrameTypes]]:
        """The frames that are complete now, each with its channel. Must be exhausted."""
        if self._rest:
            data = self._rest + data
        at = 0
        while len(data) - at >= _HEAD.size:
            end = at + _HEAD.size + _HEAD.unpack_from(data, at)[2] + 1
            if end > len(data):
                break
            _, channel, found = frame.unmarshal(data[at:end])
            yield channel, found
            at = end
        self._rest = data[at:]


@dataclass(slots=True)
class Inbox:
    """Puts messages together: each has a method, a header, and as many bodies as it needs."""

    _tags: dict[int, str] = field(default_factory=dict)  # of the message that arrives on a channel
    _parts: dict[int, Message] = field(default_factory=dict)

    def take(self, channel: int, found: FrameTypes) -> Message | None:
        """The message that this frame completes.

        Raises:
            BrokenError: RabbitMQ has closed the channel or the connection.
        """
        if isinstance(found, commands.Basic.Deliver):
            self._tags[channel] = found.consumer_tag or ""
            return None
        if isinstance(found, ContentHeader):
            headers = dict(found.properties.headers or {})
            message = self._parts[channel] = Message(channel, self._tags.pop(channel), headers, found.body_size)
        elif isinstance(found, ContentBody):
            message = self._parts[channel]
            message.body += found.value or b""
        else:
            _check(found)
            return None
        return self._parts.pop(channel) if len(message.body) >= message.size else None


class Connection:
    """One connection to a RabbitMQ on this machine."""

    def __init__(self, port: int, *, name: str, channels: int) -> None:
        """Connect, and open channels 1 to ``channels``."""
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._frames = Frames()
        self._inbox = Inbox()
        self._shake_hands(name, channels)

    def send(self, channel: int, *frames: FrameTypes) -> None:
        """Send frames, in one write."""
        self.sock.sendall(b"".join(frame.marshal(each, channel) for each in frames))

    def read(self) -> list[Message]:
        """The messages that are complete now; waits for data.

        Raises:
            BrokenError: the connection is closed.
        """
        taken = [self._inbox.take(channel, found) for channel, found in self._received()]
        return [message for message in taken if message is not None]

    def close(self) -> None:
        """Close the connection, after RabbitMQ has read everything sent."""
        self.send(0, commands.Connection.Close(reply_code=200, class_id=0, method_id=0))
        while not any(isinstance(found, commands.Connection.CloseOk) for _, found in self._received()):
            pass
        self.sock.close()

    def _received(self) -> list[tuple[int, FrameTypes]]:
        data = self.sock.recv(READ_BYTES)
        if not data:
            raise BrokenError("RabbitMQ has hung up")
        return list(self._frames.feed(data))

    def _shake_hands(self, name: str, channels: int) -> None:
        self.send(0, header.ProtocolHeader())
        self._await(commands.Connection.Start, 1)
        properties: Any = {"connection_name": name}
        self.send(
            0, commands.Connection.StartOk(client_properties=properties, mechanism="PLAIN", response=USER.decode())
        )
        tune = self._await(commands.Connection.Tune, 1)
        if not isinstance(tune, commands.Connection.Tune):
            raise BrokenError(f"{tune!r} instead of a Tune")
        # No heartbeats: a generator that hangs is ended from outside.
        self.send(
            0, commands.Connection.TuneOk(tune.channel_max or 0, tune.frame_max or 0, 0), commands.Connection.Open()
        )
        self._await(commands.Connection.OpenOk, 1)
        for channel in range(1, channels + 1):
            self.send(channel, commands.Channel.Open())
        self._await(commands.Channel.OpenOk, channels)

    def _await(self, kind: type[object], count: int) -> FrameTypes | None:
        """Read until as many frames of this kind have arrived; returns the last one."""
        last = None
        while count > 0:
            for _, found in self._received():
                if not isinstance(found, kind):
                    _check(found)
                    raise BrokenError(f"{found!r} instead of {kind.__name__}")
                last, count = found, count - 1
        return last


def _check(found: FrameTypes) -> None:
    if isinstance(found, commands.Connection.Close | commands.Channel.Close):
        raise BrokenError(f"closed: {found.reply_code} {found.reply_text}")


def publish(queue: str, body: bytes, properties: commands.Basic.Properties) -> list[FrameTypes]:
    """The frames of one message to a queue."""
    content = [ContentBody(body)] if body else []
    return [commands.Basic.Publish(routing_key=queue), ContentHeader(0, len(body), properties), *content]
