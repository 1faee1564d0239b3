"""The clients: each asks a worker; if that dies or answers 503, it asks another one again with the same uid.

A client that brought no uid learns the worker's from the head of the answer. Before that it does not know whether the
request was accepted; it asks anew, and an accepted request must come to its end all the same, without a reader.
"""

import asyncio
import random
import time
from typing import Any

import aiohttp
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from tests.fleet import stream
from tests.fleet.asks import Ask, Door
from tests.fleet.fleet import Fleet, Member
from tests.fleet.seen import AskAgainError, Interruption, Seen, WrongAnswerError, refused
from tests.fleet.stream import Reading, read_into
from weir.topics import CHAT_REQUESTS

GIVE_UP_S = 180.0  # for one answer, all tries together
SILENCE_S = 90.0  # on a connection: a JSON answer may wait for a dead worker, its lease, and then a whole call
PAUSE_S = (0.2, 1.0)  # before asking again
POLL_S = (1.0, 2.0)  # between two questions for a stored answer

# Ends of a stream after which a client asks again, and gets all of it.
AGAIN = stream.AGAIN | {"stream_restarted"}


class Clients:
    """All clients of one run."""

    def __init__(self, fleet: Fleet, session: aiohttp.ClientSession, producer: AIOKafkaProducer, *, seed: int) -> None:
        self._fleet = fleet
        self._session = session
        self._producer = producer
        self._chance = random.Random(seed)
        self.seen: list[Seen[Ask]] = []

    @property
    def in_flight(self) -> int:
        """Requests without an answer yet."""
        return sum(not seen.done_at for seen in self.seen)

    @property
    def failed(self) -> int:
        """Requests with a wrong answer, or none."""
        return sum(bool(seen.problem) for seen in self.seen)

    async def run(self, asks: list[Ask]) -> None:
        """Ask everything at its time; returns when all have their answers."""
        start = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for ask in asks:
                await asyncio.sleep(start + ask.at_s - time.monotonic())
                seen = Seen(ask=ask, uid=ask.name if ask.named else None, began_at=time.time())
                self.seen.append(seen)
                group.create_task(self._client(seen))

    async def _client(self, seen: Seen[Ask]) -> None:
        try:
            async with asyncio.timeout(GIVE_UP_S):
                if seen.ask.door is Door.KAFKA:
                    await self._through_kafka(seen)
                else:
                    await self._through_http(seen)
        except TimeoutError:
            seen.problem = f"no answer within {GIVE_UP_S:g} s"
        except WrongAnswerError as error:
            seen.problem = str(error)
        except Exception as error:  # noqa: BLE001 - one line in the table, and the other clients go on
            seen.problem = f"the client failed: {error!r}"
        seen.done_at = time.time()

    def _note(self, seen: Seen[Ask], member: Member | None, error: AskAgainError) -> None:
        excused = member is not None and member.gone
        seen.interruptions.append(
            Interruption(at=time.time(), member=member, reason=str(error), cut=error.cut, excused=excused)
        )

    # -- HTTP

    async def _through_http(self, seen: Seen[Ask]) -> None:
        member: Member | None = None
        while True:
            member = self._fleet.pick(self._chance, not_again=member)
            try:
                return await self._post(member, seen)
            except AskAgainError as error:
                self._note(seen, member, error)
                await asyncio.sleep(self._chance.uniform(*PAUSE_S))

    async def _post(self, member: Member, seen: Seen[Ask]) -> None:
        streams = seen.ask.door is Door.STREAM
        body = {**seen.ask.body, "stream": streams} | ({"uid": seen.uid} if seen.uid else {})
        try:
            async with self._session.post(f"{member.worker.url}/v1/chat/completions", json=body) as answer:
                if answer.status != 200:
                    raise refused(answer.status, await answer.read())
                seen.uid = answer.headers["X-Request-ID"]
                if streams:
                    await self._read_stream(answer, seen)
                else:
                    _check_whole(orjson.loads(await answer.read()), seen)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise AskAgainError(
                type(error).__name__, cut=not isinstance(error, aiohttp.ClientConnectorError)
            ) from error

    @staticmethod
    async def _read_stream(answer: aiohttp.ClientResponse, seen: Seen[Ask]) -> None:
        reading = Reading(seen.ask.expected, again=AGAIN)
        reading.uid = seen.uid
        await read_into(reading, answer.content)
        reading.check_whole()

    # -- Kafka

    async def _through_kafka(self, seen: Seen[Ask]) -> None:
        """Produce the smallest record that is a request, until Kafka confirms it; then ask for the stored answer."""
        ask = seen.ask
        record = orjson.dumps(
            {
                "event_id": f"evt-{ask.name}",
                "event_type": "chat.requested",
                "tenant_id": "cycle",
                "data": {"uid": ask.name, "body": ask.body},
            }
        )
        while True:
            try:
                await self._producer.send_and_wait(CHAT_REQUESTS.name, record, key=ask.name.encode())
                break
            except KafkaError as error:
                self._note(seen, None, AskAgainError(type(error).__name__))
        while not await self._stored(seen):
            await asyncio.sleep(self._chance.uniform(*POLL_S))

    async def _stored(self, seen: Seen[Ask]) -> bool:
        """Whether any worker has the whole answer."""
        member = self._fleet.pick(self._chance)
        try:
            async with self._session.get(f"{member.worker.url}/v1/chat/completions/{seen.uid}") as answer:
                body = await answer.read()
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            return False
        if answer.status == 200:
            _check_whole(orjson.loads(body), seen)
        elif answer.status not in {202, 404, 503}:
            raise WrongAnswerError(f"HTTP {answer.status} for a stored answer: {body[:300]!r}")
        return answer.status == 200


def _check_whole(body: dict[str, Any], seen: Seen[Ask]) -> None:
    choice = body["choices"][0]
    if body["id"] != f"chatcmpl-{seen.uid}" or choice["finish_reason"] != "stop":
        raise WrongAnswerError(f"the answer to {seen.uid} is {body}")
    if choice["message"]["content"] != seen.ask.expected:
        raise WrongAnswerError(f"the answer is {choice}, not {seen.ask.expected!r}")
