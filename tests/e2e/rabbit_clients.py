"""Clients of the RabbitMQ door on four connections, which note every message as it comes, and remove none."""

import asyncio
import contextlib
import itertools
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aio_pika
import orjson
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage, AbstractQueue

from demo.text import expected_content
from weir.settings import Settings

CONNECTIONS = 4
PREFIX = "response_"
EXPIRES: dict[str, Any] = {"x-expires": int(Settings().response_queue_expires_s * 1000)}
QUIET_S = 3.0  # after the last end: repeated messages would come now


@dataclass(frozen=True, slots=True)
class Got:
    """One message of a response queue."""

    at: float
    seq: int
    done: bool
    status: str
    body: bytes
    id: str


@dataclass(slots=True, eq=False)
class Ask:
    """One request, with the messages that came for it."""

    uid: str
    body: dict[str, Any]
    live: bool  # consumed from the start, as the seed's example does; else its queue is read at the end
    removed: bool = False  # its queue was removed, with part of the answer in it: the rest must come all the same
    got: list[Got] = field(default_factory=list)

    @property
    def queue(self) -> str:
        return PREFIX + self.uid

    @property
    def ended(self) -> bool:
        return any(one.done for one in self.got)

    @property
    def stall_s(self) -> float:
        """The longest silence between two messages."""
        return max((after.at - before.at for before, after in zip(self.got, self.got[1:], strict=False)), default=0.0)

    @property
    def repeated(self) -> list[int]:
        """Numbers of the messages that came more than once."""
        return [seq for seq, count in Counter(one.seq for one in self.got).items() if count > 1]

    def problem(self, *, repetitions: bool = False) -> str | None:
        """The problem of the answer, in one line; ``repetitions`` of the same message may be allowed."""
        got = self.got
        if repetitions:
            got = list({one.seq: one for one in self.got}.values())
        expected, text = expected_content(self.body), b"".join(one.body for one in got).decode("utf-8", "replace")
        first = got[0].seq if got and self.removed else 0
        wrong = [
            name
            for name, right in {
                "beginning": bool(first) == self.removed,
                "seq": [one.seq for one in got] == list(range(first, first + len(got))),
                "end": [one.done for one in got] == [False] * (len(got) - 1) + [True],
                "status": bool(got) and got[-1].status == "completed",
                "text": bool(text) and expected.endswith(text) if self.removed else text == expected,
                "empty": bool(got) and (not got[-1].body or not self.body["stream"]),
            }.items()
            if not right
        ]
        if not wrong:
            return None
        same = next((n for n, (a, b) in enumerate(zip(text, expected, strict=False)) if a != b), len(text))
        seqs = [f"{one.seq}{one.status and ':' + one.status}" for one in self.got]
        odd = next((n for n, one in enumerate(self.got) if one.seq != n), len(seqs))
        return (
            f"{self.uid} {'live' if self.live else 'late'}: {','.join(wrong)}; {len(text)} of {len(expected)} "
            f"characters, same up to {same}: {text[same:][:40]!r} for {expected[same:][:40]!r}; "
            f"{len(seqs)} messages, tail {seqs[-3:]}, out of order from {odd}: {seqs[odd:][:6]}"
        )


def asks(name: str, models: Sequence[str], *, live: int = 2, whole: int = 10) -> Iterator[Ask]:
    """Requests without end: every ``live``-th is consumed from the start, every ``whole``-th asks for one message."""
    for n in itertools.count():
        uid = f"{name}-{n}-{uuid.uuid4().hex[:8]}"
        body = {
            "model": models[n % len(models)],
            "messages": [{"role": "user", "content": f"{name} {n}"}],
            "stream": not (whole and n % whole == whole - 1),
            "username": "tester",
            "uid": uid,
        }
        yield Ask(uid, body, live=bool(live) and n % live == 0)


@dataclass(slots=True)
class _Line:
    """One connection."""

    connection: AbstractConnection
    sending: AbstractChannel
    taking: AbstractChannel
    consuming: dict[str, tuple[AbstractQueue, str]] = field(default_factory=dict)


class RabbitClients:
    """Publishes with confirms, on durable queues; notes what comes."""

    def __init__(self, url: str, to_ask: Iterator[Ask]) -> None:
        self._url = url
        self._to_ask = to_ask
        self._lines: list[_Line] = []
        self._may_send = asyncio.Event()
        self._sending = 0
        self.asked: list[Ask] = []
        self.sent: list[Ask] = []

    # -- connections

    async def connect(self) -> None:
        for _ in range(CONNECTIONS):
            connection = await aio_pika.connect(self._url)
            sending = await connection.channel(publisher_confirms=True)
            await sending.declare_queue("chat_incoming", durable=True)
            self._lines.append(_Line(connection, sending, await connection.channel()))
        for ask in self.sent:
            if ask.live:
                await self._consume(ask)
        self._may_send.set()

    async def leave(self) -> None:
        """Disconnect with no message on its way: a client may send a message twice that was not confirmed."""
        self._may_send.clear()
        while self._sending:
            await asyncio.sleep(0.01)
        for line in self._lines:
            for queue, tag in line.consuming.values():
                await queue.cancel(tag)  # messages sent before its confirmation have arrived before it
            await line.connection.close()
        self._lines.clear()

    # -- queues

    async def settle(self, *, but: Ask | None = None) -> None:
        """Make RabbitMQ keep the queues of all answers, even if it is killed at once; remove one with some messages.

        RabbitMQ on Mnesia (seen: 3.10.8, Erlang 25) may forget the queue that was declared last, with the messages that
        it has confirmed in it. It answers when Mnesia's log is on disk: "an attempt to minimise the risk of data loss",
        says its `mnesia_sync.erl`. But that the declaration is committed is logged by a process of its own (a cast, in
        `mnesia_recover:log_decision`), so perhaps later; and then it stays in the cache of `disk_log_1` until the next
        declaration, or for 2 s. A declaration that the log does not call committed is undone at the start.
        """
        await asyncio.gather(*(self._declare(ask) for ask in self.sent if not ask.removed))  # if Weir has not yet
        channel = self._lines[0].taking
        if but is not None:
            async with asyncio.timeout(60):
                while not (await self._declare(but)).declaration_result.message_count:
                    await asyncio.sleep(0.02)
            await channel.queue_delete(but.queue)
            but.removed = True
        # Each of the two declarations waits until the log before it is on disk.
        await channel.declare_queue("settled", durable=True)
        await channel.queue_delete("settled")

    # -- asking

    async def load(self, count: int, seconds: float) -> None:
        """Send so many requests, evenly."""
        for _ in range(count):
            await self._ask(next(self._to_ask))
            await asyncio.sleep(seconds / count)

    @contextlib.asynccontextmanager
    async def loading(self, count: int, seconds: float) -> AsyncIterator[None]:
        """Send ``count`` requests within so many seconds, and continue at that rate until the block ends."""
        over = asyncio.Event()

        async def send() -> None:
            while not (over.is_set() and len(self.sent) >= count):
                await self.load(1, seconds / count)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            yield
            over.set()

    async def _ask(self, ask: Ask) -> None:
        self.asked.append(ask)
        await self._may_send.wait()
        self._sending += 1
        try:
            if ask.live:
                await self._consume(ask)
            message = aio_pika.Message(orjson.dumps(ask.body), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await self._line(ask).sending.default_exchange.publish(message, "chat_incoming")
            self.sent.append(ask)
        finally:
            self._sending -= 1

    def _line(self, ask: Ask) -> _Line:
        return self._lines[self.asked.index(ask) % CONNECTIONS]

    # -- answers

    async def _consume(self, ask: Ask) -> None:
        queue = await self._declare(ask)
        self._line(ask).consuming[ask.uid] = (queue, await queue.consume(partial(self._note, ask), no_ack=True))

    async def _declare(self, ask: Ask) -> AbstractQueue:
        return await self._line(ask).taking.declare_queue(ask.queue, durable=True, arguments=EXPIRES)

    async def _note(self, ask: Ask, message: AbstractIncomingMessage) -> None:
        headers = message.headers
        assert headers["uid"] == ask.uid
        ask.got.append(
            Got(
                time.monotonic(),
                int(str(headers["seq"])),
                bool(headers["done"]),
                str(headers.get("status", "")),
                message.body,
                message.message_id or "",
            )
        )

    @property
    def under_way(self) -> int:
        """Answers that have begun and not ended, among those consumed from the start."""
        return sum(bool(ask.got) and not ask.ended for ask in self.sent)

    @property
    def open(self) -> int:
        """Answers that have not ended, as far as the test can know."""
        return sum(not ask.ended for ask in self.sent if ask.live)

    async def until(self, *, under_way: int, within_s: float = 60) -> None:
        """Wait until so many answers are under way."""
        async with asyncio.timeout(within_s):
            while self.under_way < under_way:
                await asyncio.sleep(0.02)

    async def finish(self, *, within_s: float = 90, repetitions: bool = False) -> None:
        """Read all queues to their ends, and a while longer; fails unless every answer is as expected."""
        for ask in self.sent:
            if not ask.live:
                ask.live = True
                await self._consume(ask)
        deadline = time.monotonic() + within_s
        while not all(ask.ended for ask in self.sent) and time.monotonic() < deadline:
            await asyncio.sleep(0.1)
        await asyncio.sleep(QUIET_S)
        await self.leave()
        problems = [problem for ask in self.asked if (problem := ask.problem(repetitions=repetitions))]
        assert not problems, "\n".join([f"{len(problems)} of {len(self.asked)} are wrong:", *problems[:20]])
