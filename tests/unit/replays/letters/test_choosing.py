"""Which dead letters are meant, and why others are not sent again."""

from typing import Any

import pytest

from answers import envelope
from app import requests
from app.requests import Ingress
from replays.errors import NothingError, UsageError
from replays.letters.choosing import CUT, ELSEWHERE, NONE, REPLAY, Choice, Wanted, choose, condition, wanted_from
from replays.spans import Span
from tests.unit.app.memory_log import MemoryLog
from tests.unit.replays.letters.letters import LETTERS, REQUESTS, a_request, bury, bury_request, by_rabbitmq
from transports.log import Partition


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


async def chosen(log: MemoryLog, **wanted: Any) -> Choice:
    spans = [Span(Partition(LETTERS, n), 0, len(log.records.get(Partition(LETTERS, n), []))) for n in range(3)]
    return await choose(log, spans, Wanted(**wanted))


async def test_letters_are_told_apart_by_what_they_are_about(log: MemoryLog) -> None:
    failed = await bury_request(log, by_rabbitmq(1))
    malformed = await bury(log, b"no JSON")
    feedback = await bury(log, b"{}", topic="ai-feedback-events", reason="not an event")
    choice = await chosen(log)
    assert [(one.id, one.topic, one.uid, one.ordered, one.told) for one in choice.chosen] == [
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
        ({"where": [("uid", "u-2")]}, 1),
        ({"where": [("code", "upstream_unavailable"), ("model", "other")]}, 1),
        ({"where": [("tenant", "acme")]}, 4),
        ({"where": [("ingress", "kafka"), ("username", "ada")]}, 1),
        ({"limit": 3}, 3),
    ],
)
async def test_some_are_meant_and_others_are_not(log: MemoryLog, wanted: dict[str, Any], count: int) -> None:
    await bury_request(log, a_request(1, body={"model": "other", "messages": []}))
    await bury_request(log, a_request(2, ingress=Ingress.KAFKA, username="ada"))
    await bury_request(log, a_request(3), error={"message": "The prompt is too long.", "type": "invalid_request_error"})
    await bury(log, b"{}", topic="ai-feedback-events")
    choice = await chosen(log, **wanted)
    assert len(choice.chosen) == count
    assert choice.chosen == sorted(choice.chosen, key=lambda one: one.written_at)


async def test_the_last_letter_about_a_request_counts(log: MemoryLog) -> None:
    """There are several after a crash, and where it was sent again and failed again."""
    await bury_request(log, a_request(1))
    await bury_request(log, a_request(1), offset=5)
    last = await bury_request(log, a_request(1, event_id="evt-again"), error={"message": "no", "code": "other"})
    choice = await chosen(log)
    assert ([one.id for one in choice.chosen], choice.repeated) == ([last], 2)
    with pytest.raises(NothingError):
        await chosen(log, reason="connection")  # its last letter gives another reason


async def test_the_last_letter_about_a_malformed_record_counts(log: MemoryLog) -> None:
    first = await bury(log, b"no JSON", offset=5)
    again = await bury(log, b"no JSON", offset=5)
    assert [one.id for one in (await chosen(log)).chosen] == [again]
    marks = [("weir-redriven", f"run/{letter}".encode()) for letter in (first, again)]
    third = await bury(log, b"no JSON", offset=9, headers=marks)
    choice = await chosen(log)
    assert ([one.id for one in choice.chosen], choice.repeated) == ([third], 2)


async def test_what_cannot_be_sent_again_is_skipped_and_says_why(log: MemoryLog) -> None:
    replay = envelope.decode(requests.encode(a_request(1)))
    await bury_request(
        log, a_request(1), value=envelope.encode("e", replay.event_type, "t", {**replay.data, "replay": "r"})
    )
    await bury(log, b"poison", topic="chat_incoming", offset=-1)
    await bury(log, b"frames", topic="chat-chunks")
    await bury(log, b"x" * 100, value_max_bytes=50)
    log.put(Partition(LETTERS, 0), b"k", b"somebody else's")
    log.put(Partition(LETTERS, 0), b"k", envelope.encode("e", "chat.dead_letter", "t", {"reason": "r", "headers": 5}))
    choice = await chosen(log)
    assert (choice.chosen, choice.skipped) == ([], {REPLAY: 1, ELSEWHERE: 2, CUT: 1, NONE: 2})


async def test_a_letter_that_was_cut_is_about_the_record_that_the_log_still_has(log: MemoryLog) -> None:
    request, at = a_request(1), Partition(REQUESTS, 1)
    offset = log.put(at, request.key, requests.encode(request))
    await bury_request(log, request, offset=offset, value_max_bytes=10)
    (one,) = (await chosen(log)).chosen
    assert one.uid == "u-1"


async def test_where_nothing_is_meant_that_is_an_error(log: MemoryLog) -> None:
    await bury(log, b"no JSON")
    with pytest.raises(NothingError, match="no dead letter in this range is meant"):
        await chosen(log, topic="chat-deliveries")


def test_what_is_wanted_can_be_written_down() -> None:
    wanted = Wanted(reason="r", topic="t", where=[("uid", "a=b")], limit=4)
    assert wanted_from(wanted.as_json()) == wanted
    assert condition("uid=a=b") == ("uid", "a=b")


@pytest.mark.parametrize("text", ["", "uid", "mood=bad", "=x"])
def test_a_condition_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--where: .* uid, tenant, model, username, ingress, code"):
        condition(text)
