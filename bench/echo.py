"""RabbitMQ alone: answers requests from a queue as the upstream would answer Weir, without Weir in between.

    python -m bench.echo PORT QUEUE

Same tokens, same pace, same headers; unconfirmed and not persistent, which is the least that RabbitMQ can be asked for.
The rates that generator and RabbitMQ reach with it are the most that they would let Weir reach.
"""

import heapq
import select
import sys
import time
from dataclasses import dataclass
from typing import Any

import orjson
from pamqp import commands

from bench.amqp import Connection, Message, publish
from bench.queue_load import PREFIX
from bench.upstream import STAMP, pace_of


@dataclass(slots=True, eq=False)
class Stream:
    """One answer under way."""

    uid: str
    tokens: int
    pace_s: float
    began_at: float
    said: int = 0

    @property
    def due_at(self) -> float:
        """The time of the next token; the end goes with the last."""
        return self.began_at + (self.said + 1) * self.pace_s


class Echo:
    """One connection, which takes requests and answers them."""

    def __init__(self, port: int, queue: str) -> None:
        self._connection = Connection(port, name="bench echo", channels=2)
        self._epoll = select.epoll()
        self._epoll.register(self._connection.sock, select.EPOLLIN)
        self._due: list[tuple[float, int, Stream]] = []
        self._serial = 0
        declare = commands.Queue.Declare(queue=queue, durable=True, nowait=True)
        self._connection.send(1, declare, commands.Basic.Consume(queue=queue, no_ack=True, nowait=True))

    def run(self) -> None:
        """Serve until killed."""
        while True:
            self.step()

    def step(self) -> None:
        """Send the tokens that are due, and take the messages that have arrived."""
        now = time.perf_counter()
        while self._due and self._due[0][0] <= now:
            self._say(heapq.heappop(self._due)[2])
        pause_s = max(0.0, self._due[0][0] - time.perf_counter()) if self._due else 1.0
        if self._epoll.poll(pause_s):
            for message in self._connection.read():
                self._take(message)

    def _take(self, message: Message) -> None:
        asked = orjson.loads(message.body)
        known = pace_of(asked["model"])
        if known is not None:
            self._schedule(Stream(asked["uid"], *known, time.perf_counter()))

    def _schedule(self, stream: Stream) -> None:
        self._serial += 1
        heapq.heappush(self._due, (stream.due_at, self._serial, stream))

    def _say(self, stream: Stream) -> None:
        text = b"%d" % stream.said + STAMP % int(time.perf_counter() * 1e6) + b" "
        self._send(stream, text, done=False)
        stream.said += 1
        if stream.said < stream.tokens:
            self._schedule(stream)
        else:
            self._send(stream, b"", done=True)

    def _send(self, stream: Stream, body: bytes, *, done: bool) -> None:
        headers: dict[str, Any] = {"uid": stream.uid, "seq": stream.said, "done": done}
        if done:
            headers |= {"status": "completed", "finish_reason": "stop"}
        properties = commands.Basic.Properties(content_type="text/plain", headers=headers)
        self._connection.send(2, *publish(PREFIX + stream.uid, body, properties))


if __name__ == "__main__":
    Echo(int(sys.argv[1]), sys.argv[2]).run()
