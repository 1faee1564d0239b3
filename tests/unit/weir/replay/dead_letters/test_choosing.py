"""The dead letters that are chosen, and why others are not sent again."""

import asyncio
from typing import Any

import pytest

from tests.unit.weir.log.memory_log import MemoryLog
from tests.unit.weir.replay.dead_letters.letters import (
    LETTERS,
    REQUESTS,
    a_request,
    by_rabbitmq,
    dead_letter_of_request,
    put_dead_letter,
)
from weir import envelope, timing
from weir.chat import requests
from weir.events.ingress import Ingress
from weir.log.log import Bounds, LogRefusedError, Partition, Record
from weir.ranges.checks import LIMIT_MAX, TEXT_MAX
from weir.ranges.errors import NothingError, UsageError
from weir.ranges.offset_ranges import OffsetRange
from weir.replay.dead_letters.choosing import (
    CUT,
    ELSEWHERE,
    NONE,
    REASON_MAX,
    REPLAY,
    Choice,
    Wanted,
    choose,
    look_for_one,
    wanted_from,
)
from weir.replay.dead_letters.letters import Letter


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


def spans_of(log: MemoryLog) -> list[OffsetRange]:
    return [OffsetRange(Partition(LETTERS, n), 0, len(log.records.get(Partition(LETTERS, n), []))) for n in range(3)]


async def chosen(log: MemoryLog, **wanted: Any) -> Choice:
    return await choose(log, spans_of(log), Wanted(**wanted))


async def test_letters_are_told_apart_by_what_they_are_about(log: MemoryLog) -> None:
    failed = await dead_letter_of_request(log, by_rabbitmq(1))
    malformed = await put_dead_letter(log, b"no JSON")
    feedback = await put_dead_letter(log, b"{}", topic="ai-feedback-events", reason="not an event")
    choice = await chosen(log)
    assert [(one.id, one.topic, one.uid, one.ordered, one.reason) for one in choice.chosen] == [
        (failed, REQUESTS, "u-1", "evt-1", "failed: upstream_unavailable"),
        (malformed, REQUESTS, None, None, "not JSON"),
        (feedback, "ai-feedback-events", None, None, "not an event"),
    ]


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({}, 4),
        ({"reason": "CONNECTION"}, 2),
        ({"reason": "too long"}, 1),
        ({"topic": "ai-feedback-events"}, 1),
        ({"where": {"uid": "u-2"}}, 1),
        ({"where": {"code": "upstream_unavailable", "model": "other"}}, 1),
        ({"where": {"tenant": "acme"}}, 3),
        ({"where": {"ingress": "kafka", "username": "ada"}}, 1),
        ({"limit": 3}, 3),
    ],
)
async def test_some_are_meant_and_others_are_not(log: MemoryLog, wanted: dict[str, Any], count: int) -> None:
    await dead_letter_of_request(log, a_request(1, body={"model": "other", "messages": []}))
    await dead_letter_of_request(log, a_request(2, ingress=Ingress.KAFKA, username="ada"))
    await dead_letter_of_request(
        log, a_request(3), error={"message": "The prompt is too long.", "type": "invalid_request_error"}
    )
    await put_dead_letter(log, b"{}", topic="ai-feedback-events")
    choice = await chosen(log, **wanted)
    assert len(choice.chosen) == count
    assert choice.chosen == sorted(choice.chosen, key=lambda one: one.written_at)


async def test_a_letter_belongs_to_its_records_tenant_and_a_malformed_one_to_none(log: MemoryLog) -> None:
    """Workers wrote the default tenant where they did not look."""
    mine = await put_dead_letter(
        log, envelope.encode("e", "feedback.given", "acme", {}), topic="ai-feedback-events", tenant="default"
    )
    await put_dead_letter(log, b"no JSON", tenant="default")
    assert [one.id for one in (await chosen(log, where={"tenant": "acme"})).chosen] == [mine]
    with pytest.raises(NothingError):
        await chosen(log, where={"tenant": "default"})


async def test_the_last_letter_about_a_request_counts(log: MemoryLog) -> None:
    """There are several letters after a crash, and where the request was sent again and failed again."""
    await dead_letter_of_request(log, a_request(1))
    await dead_letter_of_request(log, a_request(1), offset=5)
    last = await dead_letter_of_request(
        log, a_request(1, event_id="evt-again"), error={"message": "no", "code": "other"}
    )
    choice = await chosen(log)
    assert ([one.id for one in choice.chosen], choice.repeated) == ([last], 2)
    with pytest.raises(NothingError):
        await chosen(log, reason="connection")  # its last letter gives another reason


async def test_the_last_letter_about_a_malformed_record_counts(log: MemoryLog) -> None:
    first = await put_dead_letter(log, b"no JSON", offset=5)
    again = await put_dead_letter(log, b"no JSON", offset=5)
    assert [one.id for one in (await chosen(log)).chosen] == [again]
    marks = [("weir-redriven", f"run/{letter}".encode()) for letter in (first, again)]
    third = await put_dead_letter(log, b"no JSON", offset=9, headers=marks)
    choice = await chosen(log)
    assert ([one.id for one in choice.chosen], choice.repeated) == ([third], 2)


async def test_what_cannot_be_sent_again_is_skipped_and_says_why(log: MemoryLog) -> None:
    replay = envelope.decode(requests.encode(a_request(1)))
    await dead_letter_of_request(
        log, a_request(1), value=envelope.encode("e", replay.event_type, "t", {**replay.data, "replay": "r"})
    )
    await put_dead_letter(log, b"poison", topic="chat_incoming", offset=-1)
    await put_dead_letter(log, b"frames", topic="chat-chunks")
    await put_dead_letter(log, b"x" * 100, value_max_bytes=50)
    log.put(Partition(LETTERS, 0), b"k", b"another writer's")
    log.put(Partition(LETTERS, 0), b"k", envelope.encode("e", "chat.dead_letter", "t", {"reason": "r", "headers": 5}))
    choice = await chosen(log)
    assert (choice.chosen, choice.skipped) == ([], {REPLAY: 1, ELSEWHERE: 2, CUT: 1, NONE: 2})


async def test_a_letter_that_was_cut_is_about_the_record_that_the_log_still_has(log: MemoryLog) -> None:
    request, at = a_request(1), Partition(REQUESTS, 1)
    offset = log.put(at, request.key, requests.encode(request))
    await dead_letter_of_request(log, request, offset=offset, value_max_bytes=10)
    (one,) = (await chosen(log)).chosen
    assert one.uid == "u-1"


async def test_where_nothing_is_meant_that_is_an_error(log: MemoryLog) -> None:
    await put_dead_letter(log, b"no JSON")
    with pytest.raises(NothingError, match="no dead letter in this range matches"):
        await chosen(log, topic="chat-deliveries")


async def test_a_record_that_is_no_letter_is_not_meant(log: MemoryLog) -> None:
    await put_dead_letter(log, b"no JSON")
    log.put(Partition(LETTERS, 0), b"k", b"another writer's")
    for look in (choose, look_for_one):
        with pytest.raises(NothingError):
            await look(log, spans_of(log), Wanted(topic="chat-deliveries"))
    await look_for_one(log, spans_of(log), Wanted())


@pytest.mark.parametrize(("partition", "offset"), [(99, 5), (-1, 5), (1, (1 << 63) - 1)])
async def test_a_letter_from_a_place_that_the_log_does_not_have_is_skipped_alone(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch, partition: int, offset: int
) -> None:
    read, bounds = log.read, log.bounds

    async def strict_read(at: Partition, position: int, *, limit: int = 500) -> list[Record]:
        if position > 1000:
            raise LogRefusedError(f"no offset {position}")
        return await read(at, position, limit=limit)

    async def strict_bounds(at: Partition) -> Bounds:
        if not 0 <= at.partition < 6:
            raise LogRefusedError(f"no partition {at}")
        return await bounds(at)

    monkeypatch.setattr(log, "read", strict_read)
    monkeypatch.setattr(log, "bounds", strict_bounds)
    await put_dead_letter(log, b"x" * 100, value_max_bytes=50, partition=partition, offset=offset)
    other = await put_dead_letter(log, b"no JSON")
    choice = await chosen(log)
    assert ([one.id for one in choice.chosen], choice.skipped) == ([other], {CUT: 1})


async def test_a_record_that_no_decoder_can_hold_stops_nothing(log: MemoryLog) -> None:
    """A uid may be nested as deep as JSON can be read, which is deeper than it can be made a text of."""
    record = requests.encode(a_request(1)).replace(b'"u-1"', b"[" * 1020 + b"]" * 1020)
    letter = await put_dead_letter(log, record, reason="a defect in taking it")
    assert [(one.id, one.uid) for one in (await chosen(log)).chosen] == [(letter, None)]


async def test_others_have_their_turn_while_letters_are_looked_through(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker looks through letters, too."""
    monkeypatch.setattr(timing, "TURN_S", 0.0)
    for number in range(60):
        await dead_letter_of_request(log, a_request(number))
    turns, done = 0, False

    async def other() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await chosen(log)
    done = True
    await task
    assert turns >= 60


async def test_a_look_whether_there_is_a_letter_reads_no_further(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        await dead_letter_of_request(log, a_request(number))
    looked: list[Letter] = []

    def has(_: Wanted, letter: Letter) -> bool:
        looked.append(letter)
        return len(looked) == 2

    monkeypatch.setattr(Wanted, "has", has)
    await look_for_one(log, spans_of(log), Wanted())
    assert len(looked) == 2


def test_what_is_wanted_can_be_written_down() -> None:
    wanted = Wanted(reason="r", topic=REQUESTS, where={"uid": "a=b"}, limit=4)
    assert wanted_from(wanted.as_json()) == wanted
    assert wanted_from({**wanted.as_json(), "where": [["uid", "a=b"]]}) == wanted  # of an older version


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"limit": 0}, "--limit: 1 to "),
        ({"limit": -1}, "--limit: 1 to "),
        ({"limit": LIMIT_MAX + 1}, "--limit: 1 to "),
        ({"reason": ""}, "--reason: 1 to "),
        ({"reason": "x" * (REASON_MAX + 1)}, "--reason: 1 to "),
        ({"topic": "chat-request"}, "--topic: .*'chat-request'.* chat-requests, chat-deliveries, ai-feedback-events"),
        ({"where": {"uid": "x" * (TEXT_MAX + 1)}}, "--where: 1 to "),
        ({"where": {"mood": "bad"}}, "--where: .* uid, tenant, model, username, ingress, code"),
        ({"where": {"": "x"}}, "--where: there is no field"),
        ({"where": {"uid": "\udc80"}}, "--where: .* is not text"),
    ],
)
def test_what_cannot_be_wanted_is_refused(wanted: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=f"^{reason}"):
        Wanted(**wanted)
