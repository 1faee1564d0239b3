"""Records of chat-requests that no door of Weir wrote, while the log is there, away, or refuses records."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import orjson
import pytest

from tests.defaults import CHAT_PARTITIONS
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog, tails_of
from tests.unit.weir.workers import worker_of
from weir import envelope, topics
from weir.chat import requests
from weir.chat.admission import Admission
from weir.chat.audit import Audit
from weir.chat.request_writer import RequestWriter
from weir.chat.requests import ACCEPTED, ChatRequest
from weir.envelope import Json
from weir.log import retrying
from weir.log.log import Headers, LogError, LogRefusedError, LogUnavailableError, Partition, RecordTooLargeError
from weir.log.partitioner import partition_for
from weir.log.tails import Tails
from weir.settings import Settings

UID = "by-kafka"
HOME = partition_for(UID.encode(), CHAT_PARTITIONS)
ELSEWHERE = (HOME + 1) % CHAT_PARTITIONS
AT_HOME = Partition(topics.CHAT_REQUESTS.name, HOME)
BODY: Json = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


class Event:
    """A delivery, as far as the admission needs it."""

    def __init__(self, body: Json, partition: int, headers: Headers = (), **data: Any) -> None:
        value = envelope.encode("evt-1", requests.EVENT_TYPE, "acme", {"uid": UID, "body": body, **data})
        self.message = self
        self.topic, self.partition, self.offset, self.timestamp = topics.CHAT_REQUESTS.name, partition, 7, 1000.0
        self.key, self.value, self.headers = UID.encode(), value, headers
        self.acked = asyncio.Event()

    def ack(self) -> None:
        self.acked.set()


class Stage:
    """The admission of a worker on a log in memory."""

    def __init__(self, log: MemoryLog, tails: Tails, settings: Settings | None = None) -> None:
        self.worker = worker_of(log, tails=tails, settings=settings)
        settings = self.worker.settings
        self.tasks: set[asyncio.Task[None]] = set()
        self.admission = Admission(
            self.worker,
            writer=RequestWriter(log, tails, value_max_bytes=settings.record_value_max_bytes),
            audit=Audit(self.worker.events, settings.default_tenant),
            own=self.own,
        )

    def own(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        return task

    async def admit(self, event: Any) -> ChatRequest | None:
        return await self.admission.admit(event)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def worker(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(retrying, "PAUSE_S", 0.001)
    async with tails_of(log) as tails:
        yield Stage(log, tails)


def letters(log: MemoryLog) -> list[Json]:
    found = [one for at in log.records if at.topic == topics.CHAT_DEAD_LETTERS.name for one in log.values(at)]
    return [envelope.decode(value).data for value in found]


async def settled(event: Event) -> None:
    async with asyncio.timeout(WAIT_S):
        await event.acked.wait()


async def test_a_request_in_its_partition_is_taken_as_a_door_would_have_it(worker: Stage, log: MemoryLog) -> None:
    body = {**BODY, "uid": "in the body", "username": "ada", "deadline_s": 60, "stream": True}
    event = Event(body, HOME)
    request = await worker.admit(event)
    assert request is not None
    assert (request.uid, request.username, request.stream, request.body) == (UID, "ada", True, {**BODY, "stream": True})
    assert request.deadline == envelope.utc_iso(1060.0)  # by the record's time: the same at each delivery
    assert request.fingerprint == requests.fingerprint(BODY)
    assert (event.acked.is_set(), log.values(AT_HOME)) == (False, [])


async def test_a_request_elsewhere_moves_with_its_headers_and_is_read_once_it_is_there(
    worker: Stage, log: MemoryLog
) -> None:
    log.put(Partition(topics.CHAT_CHUNKS.name, HOME), b"another", b"x")
    event = Event(BODY, ELSEWHERE, (("traceparent", b"00-1"),), chunks_from=99)
    assert await worker.admit(event) is None
    await settled(event)
    (record,) = log.records[AT_HOME]
    assert (record.key, record.headers) == (UID.encode(), (("traceparent", b"00-1"), *ACCEPTED))
    moved = requests.decode(record.value)
    assert (moved.uid, moved.event_id, moved.tenant, moved.body) == (UID, "evt-1", "acme", BODY)
    assert moved.chunks_from == 1  # of its own partition; the client's was of another one
    again = Event(BODY, HOME)
    again.value, again.headers = record.value or b"", record.headers
    assert await worker.admit(again) == moved
    assert letters(log) == []


async def test_a_request_waits_for_a_log_that_is_away_and_then_moves(
    worker: Stage, log: MemoryLog, caplog: pytest.LogCaptureFixture
) -> None:
    tries = 0

    def away(at: Partition, _: bytes | None) -> LogError | None:
        nonlocal tries
        tries += at == AT_HOME
        return LogUnavailableError("no broker") if at == AT_HOME and tries < 4 else None

    log.fail_append = away
    event = Event(BODY, ELSEWHERE)
    assert await worker.admit(event) is None
    await settled(event)
    assert (tries, len(log.values(AT_HOME)), letters(log)) == (4, 1, [])
    assert caplog.messages == [f"request {UID} waits for the log: no broker"] * 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RecordTooLargeError("1 MB at most"), "does not fit into one record"),
        (LogRefusedError("no, never"), "no, never"),
    ],
)
async def test_a_request_that_the_log_will_never_take_is_a_dead_letter(
    worker: Stage, log: MemoryLog, error: LogError, reason: str
) -> None:
    log.fail_append = lambda at, _: error if at == AT_HOME else None
    event = Event(BODY, ELSEWHERE)
    assert await worker.admit(event) is None
    await settled(event)
    (letter,) = letters(log)
    assert reason in letter["reason"]


@pytest.mark.parametrize("partition", [HOME, ELSEWHERE])
async def test_a_request_that_no_door_would_take_is_a_dead_letter_and_does_not_move(
    worker: Stage, log: MemoryLog, partition: int
) -> None:
    event = Event({"messages": []}, partition)
    assert await worker.admit(event) is None
    assert event.acked.is_set()
    (letter,) = letters(log)
    assert (letter["error"]["param"], letter["partition"]) == ("messages", partition)
    assert log.values(AT_HOME) == []


@pytest.mark.parametrize("timestamp", [1.8e12, -1e13, None])
@pytest.mark.parametrize("body", [BODY, {**BODY, "deadline_s": 60}])
async def test_a_record_whose_timestamp_is_none_is_a_dead_letter_that_says_so(
    worker: Stage, log: MemoryLog, timestamp: Any, body: Json
) -> None:
    """The timestamp is in microseconds in the place of milliseconds, say, where the broker takes them."""
    event = Event(body, HOME)
    event.timestamp = timestamp
    assert await worker.admit(event) is None
    (letter,) = letters(log)
    assert letter["error"]["param"] == "timestamp"


async def test_a_record_without_a_timestamp_is_taken(worker: Stage) -> None:
    event = Event(BODY, HOME)
    event.timestamp = -0.001  # what Kafka has for none
    assert await worker.admit(event) is not None


async def test_what_is_larger_than_any_door_takes_is_a_dead_letter_without_its_value(
    log: MemoryLog,
) -> None:
    settings = Settings(request_max_bytes=100_000)
    event = Event({**BODY, "x": "." * settings.record_value_max_bytes}, HOME)
    async with tails_of(log) as tails:
        assert await Stage(log, tails, settings).admit(event) is None
    (letter,) = letters(log)
    assert letter["error"]["code"] == "request_too_large"


async def test_what_a_door_has_accepted_is_not_checked_again(worker: Stage) -> None:
    """A newer version may refuse what an older one has accepted."""
    request = await worker.admit(Event({"messages": []}, ELSEWHERE, ACCEPTED))
    assert request is not None
    assert request.body == {"messages": []}


@pytest.mark.parametrize("value", [b"", b"{", b"[]", b'{"data":{}}', orjson.dumps({"event_id": "e" * 1000}), b"\xff"])
async def test_bytes_that_are_no_request_are_a_dead_letter(worker: Stage, log: MemoryLog, value: bytes) -> None:
    event = Event(BODY, HOME)
    event.value = value
    assert await worker.admit(event) is None
    assert (event.acked.is_set(), len(letters(log))) == (True, 1)
