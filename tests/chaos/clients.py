"""The clients: they ask, lose their connection, go on with another worker, and want every token once."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.chaos.http import EXPIRED, Http
from tests.chaos.mailboxes import Mailboxes
from tests.chaos.plan import Leave, Manner, Other, Way
from tests.chaos.seen import Watched
from tests.fleet.asks import Door
from tests.fleet.fleet import Member
from tests.fleet.seen import AskAgainError, Interruption, WrongAnswerError
from tests.fleet.stream import Reading
from weir.envelope import utc_iso
from weir.topics import CHAT_REQUESTS

GIVE_UP_S = 120.0  # after the last fault; before it, no time is promised
PAUSE_S = (0.1, 0.4)  # before asking again; each time twice that, up to
PAUSE_MAX_S = 3.0

T = TypeVar("T")


class Clients:
    """All clients of one run."""

    def __init__(self, http: Http, producer: AIOKafkaProducer, mailboxes: Mailboxes, *, seed: int) -> None:
        self._http = http
        self._producer = producer
        self._mailboxes = mailboxes
        self._chance = random.Random(f"clients of {seed}")
        self._doors = {
            Door.STREAM: self._by_stream,
            Door.WHOLE: self._by_whole,
            Door.KAFKA: self._by_kafka,
            Door.RABBITMQ: self._by_rabbitmq,
        }
        self._ways = {
            Way.AGAIN: self._again,
            Way.START: self._from_start,
            Way.MIDDLE: self._from_middle,
            Way.CONFLICT: self._conflict,
        }
        self._deadline = 0.0  # by the loop's clock
        self.seen: list[Watched] = []

    @property
    def in_flight(self) -> int:
        """Requests without an answer yet."""
        return sum(not seen.done_at for seen in self.seen)

    @property
    def failed(self) -> int:
        """Requests with a wrong answer, or none."""
        return sum(bool(seen.problem) for seen in self.seen)

    @property
    def interruptions(self) -> Counter[str]:
        """Why clients had to ask again, how often."""
        return Counter(each.reason for seen in self.seen for each in seen.interruptions)

    async def run(self, asks: list[Manner], seconds: float) -> None:
        """Ask everything at its time, within so many seconds; returns when all have their answers."""
        start = time.monotonic()
        self._deadline = asyncio.get_running_loop().time() + seconds + GIVE_UP_S
        async with asyncio.TaskGroup() as group:
            for ask in asks:
                await asyncio.sleep(start + ask.at_s - time.monotonic())
                uid = ask.name if ask.named and not ask.keyed else None
                seen = Watched(ask=ask, uid=uid, began_at=time.time())
                self.seen.append(seen)
                group.create_task(self._client(seen))

    async def _client(self, seen: Watched) -> None:
        """Run the client of a request, and all others that use it."""
        doing = [self._doors[seen.ask.door](seen), *(self._other(seen, other) for other in seen.ask.others)]
        if seen.ask.cancel_s is not None:
            doing.append(self._cancel(seen, seen.ask.cancel_s))
        try:
            async with asyncio.timeout_at(self._deadline):
                await asyncio.gather(*(self._told(seen, each) for each in doing))
        except TimeoutError:
            seen.problem = seen.problem or f"no answer {GIVE_UP_S:g} s after the last fault"
        seen.done_at = time.time()

    @staticmethod
    async def _told(seen: Watched, doing: Awaitable[None]) -> None:
        """Note a failure as one line in the table; the other clients go on."""
        try:
            await doing
        except WrongAnswerError as error:
            seen.problem = seen.problem or str(error)
        except Exception as error:  # noqa: BLE001 - noted as above
            seen.problem = seen.problem or f"the client failed: {error!r}"

    async def _surely(self, seen: Watched, do: Callable[[Member], Awaitable[T]]) -> T:
        """Do it with one worker after the other, until one answers."""
        member: Member | None = None
        for tries in itertools.count():
            try:
                member = self._http.pick(not_again=member)
                return await do(member)
            except AskAgainError as error:
                await self._rest(seen, member, error, tries)
        raise AssertionError  # mypy does not know that there is no last number

    async def _rest(self, seen: Watched, member: Member | None, error: AskAgainError, tries: int = 0) -> None:
        excused = member is not None and (member.gone or bool(member.pauses))
        seen.interruptions.append(
            Interruption(at=time.time(), member=member, reason=str(error), cut=error.cut, excused=excused)
        )
        await asyncio.sleep(min(PAUSE_MAX_S, 2 ** min(tries, 10) * self._chance.uniform(*PAUSE_S)))

    # -- streams

    def _reading(self, seen: Watched) -> Reading:
        ends = frozenset({EXPIRED}) if seen.ask.deadline_s is not None else frozenset[str]()
        reading = Reading(seen.ask.expected, ends=ends)
        seen.readings.append(reading)
        return reading

    async def _read(self, seen: Watched, reading: Reading, *, posts: bool, leaves: tuple[Leave, ...] = ()) -> None:
        """Read to the end, with as many workers as that takes, and hang up when the plan says so."""
        member: Member | None = None
        waiting, tries, before = list(leaves), 0, 0

        def enough() -> bool:
            return bool(waiting) and reading.events >= waiting[0].events and not reading.done

        while not reading.done:
            try:
                member = self._http.pick(not_again=member)
                if posts and reading.last_id is None and self._asks_again(seen):
                    await self._http.ask(member, seen, reading, enough)
                else:
                    seen.resumed += reading.last_id is not None
                    await self._http.resume(member, seen, reading, enough)
            except AskAgainError as error:
                tries, before = 0 if reading.events > before else tries + 1, reading.events
                await self._rest(seen, member, error, tries)
                continue
            if not reading.done:
                leave = waiting.pop(0)
                seen.left += 1
                if leave.away_s is None:
                    return
                await asyncio.sleep(leave.away_s)

    def _asks_again(self, seen: Watched) -> bool:
        """Whether a client sends its request again, or asks for its stream. Without a name for it, it asks anew."""
        return not seen.known.is_set() or (seen.ask.named and self._chance.random() < 0.5)

    async def _by_stream(self, seen: Watched) -> None:
        await self._read(seen, self._reading(seen), posts=True, leaves=seen.ask.leaves)

    # -- answers in one piece

    async def _by_whole(self, seen: Watched) -> None:
        if seen.uid is not None:
            seen.known.set()  # other clients may come before the answer does
        seen.wholes.append(await self._surely(seen, lambda member: self._http.whole(member, seen)))

    # -- Kafka

    async def _by_kafka(self, seen: Watched) -> None:
        """Produce the smallest record that is a request, until Kafka confirms it; then read its stream, or wait."""
        ask = seen.ask
        data: dict[str, Any] = {"uid": ask.name, "body": ask.body}
        if ask.deadline_s is not None:
            data["deadline"] = utc_iso(time.time() + ask.deadline_s)
        record = orjson.dumps(
            {"event_id": f"evt-{ask.name}", "event_type": "chat.requested", "tenant_id": "default", "data": data}
        )
        while True:
            seen.sent += 1
            try:
                await self._producer.send_and_wait(CHAT_REQUESTS.name, record, key=ask.name.encode())
                break
            except KafkaError as error:
                await self._rest(seen, None, AskAgainError(type(error).__name__))
        seen.known.set()
        if self._chance.random() < 0.5:
            await self._from_start(seen)
        else:
            seen.wholes.append(await self._surely(seen, lambda member: self._http.stored(member, seen)))

    # -- RabbitMQ

    async def _by_rabbitmq(self, seen: Watched) -> None:
        ask = seen.ask
        box = seen.mailbox = await self._mailboxes.open(ask.name)
        # The property `expiration` would let RabbitMQ drop a message that waits for too long, without an answer.
        body = {**ask.body, **ask.extra, "uid": ask.name, "stream": ask.streams, "username": "chaos"}
        while True:
            seen.sent += 1
            if await self._mailboxes.send(body):
                break
            await self._rest(seen, None, AskAgainError("not confirmed"))
        seen.known.set()
        await box.complete.wait()

    # -- other clients of a request

    async def _other(self, seen: Watched, other: Other) -> None:
        await asyncio.sleep(other.after_s)
        if other.way is not Way.AGAIN:
            await seen.known.wait()
            if seen.uid is None:
                return  # refused before its name was known
        await self._ways[other.way](seen)

    async def _again(self, seen: Watched) -> None:
        """Send the same request once more, as a client that knows nothing of the first one."""
        if seen.ask.door is Door.WHOLE:
            await self._by_whole(seen)
        else:
            await self._read(seen, self._reading(seen), posts=True)

    async def _from_start(self, seen: Watched) -> None:
        await self._read(seen, self._reading(seen), posts=False)

    async def _from_middle(self, seen: Watched) -> None:
        """Read from the first reader's present position on."""
        if not seen.readings or seen.readings[0].done:
            return await self._from_start(seen)
        reading = seen.readings[0].going_on()
        seen.readings.append(reading)
        return await self._read(seen, reading, posts=False)

    async def _conflict(self, seen: Watched) -> None:
        await self._surely(seen, lambda member: self._http.conflict(member, seen))

    async def _cancel(self, seen: Watched, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await seen.known.wait()
        if seen.uid is not None:
            seen.cancelled = await self._surely(seen, lambda member: self._http.cancel(member, seen))
