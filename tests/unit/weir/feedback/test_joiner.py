"""Feedback and its request, in either order of arrival; repeated, late and foreign feedback."""

import asyncio
import base64
import logging
import time
from collections import Counter
from dataclasses import replace
from typing import Any, cast

import orjson
import pytest

from tests.defaults import CHAT_PARTITIONS
from tests.unit.weir import workers
from tests.unit.weir.feedback.helpers import REQUEST
from tests.unit.weir.log.memory_log import AWAY, WAIT_S, MemoryLog
from tests.unit.weir.workers import FakeMembership, FakeMessage
from weir import envelope, topics
from weir.chat.ends import EndedRequest
from weir.chat.lifecycle import Happening
from weir.envelope import Event, Json, utc_iso
from weir.events.feedback import FeedbackExpired, FeedbackRescored, FeedbackSubmitted
from weir.feedback import keyed_executor, pieces
from weir.feedback.joiner import Joiner
from weir.feedback.rules import Count
from weir.log import retrying
from weir.log.log import Partition
from weir.log.partitioner import partition_for
from weir.settings import Settings

UID = "req-1"
PARTITION = partition_for(UID.encode(), CHAT_PARTITIONS)
RUNNING = {**REQUEST, "state": "running"}
LONG_AGO, FAR_AHEAD = "2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"


class FakeEvent(workers.FakeEvent):
    """An event of ai-feedback-events."""

    def __init__(self, value: bytes | None, *, generation: int = 1, partition: int = PARTITION) -> None:
        super().__init__(
            FakeMessage(
                value=value,
                topic=topics.AI_FEEDBACK.name,
                partition=partition,
                key=UID.encode(),
                headers={"event_type": b"feedback.submitted"},
                generation_id=generation,
            )
        )


def submitted(
    event_id: str = "evt-1", tenant: str = "acme", *, generation: int = 1, partition: int = PARTITION, **data: Any
) -> Any:
    fields = {"uid": UID, "response_id": UID, "feedback_type": "thumbs_up", **data}
    value = envelope.encode(event_id, FeedbackSubmitted.EVENT_TYPE, tenant, fields)
    return FakeEvent(value, generation=generation, partition=partition)


def expiry(waiting_before: str, known_before: str = LONG_AGO) -> Any:
    data = {"uid": UID, "waiting_before": waiting_before, "known_before": known_before}
    return FakeEvent(envelope.encode("evt-x", FeedbackExpired.EVENT_TYPE, "acme", data))


def rescored(signals: Json, *, generation: int = 1) -> Any:
    data = {"uid": UID, "run": "20261121T120000Z-3f2a91c4", "signals": signals}
    return FakeEvent(envelope.encode("evt-y", FeedbackRescored.EVENT_TYPE, "acme", data), generation=generation)


def trace(happening: str) -> Event:
    return Event("evt-9", happening, "acme", "2026-01-31T12:00:00Z", "weir", {"uid": UID, "rid": "evt-r"})


class Stage:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.membership, self.counts = FakeMembership(), Counter[Count]()
        self.requests, self.ends = workers.requests_in_memory(), workers.ends_in_memory()
        self.rows = workers.feedback_in_memory()
        worker = workers.worker_of(self.log, membership=self.membership, settings=Settings(feedback_per_request_max=3))
        self.joiner = Joiner(worker, requests=self.requests, ends=self.ends, rows=self.rows, counts=self.counts)

    async def take(self, *events: Any) -> None:
        for event in events:
            await self.joiner.take(event)
        await self.joiner.drain(WAIT_S)

    async def end(self, state: str = "completed") -> Any:
        """End the request; return the event of its end."""
        self.requests.put(UID, {**RUNNING, "state": state})
        event = FakeEvent(None)
        if not self.joiner.ended(cast("Any", event), trace(f"request.{state}")):
            event.ack()
        await self.joiner.drain(WAIT_S)
        return event

    def told(self, topic: str) -> list[Event]:
        found = [record for at, log in self.log.records.items() if at.topic == topic for record in log]
        return [envelope.decode(record.value) for record in found]

    @property
    def signals(self) -> list[Event]:
        return self.told(topics.AI_LEARNING_SIGNALS.name)

    @property
    def letters(self) -> list[Json]:
        return [event.data for event in self.told(topics.CHAT_DEAD_LETTERS.name)]

    @property
    def states(self) -> list[str]:
        return [piece.state for piece in pieces.pieces(self.rows.get(UID))]


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_feedback_on_an_answer_that_has_ended_is_a_signal_and_a_quality_figure_at_once(stage: Stage) -> None:
    stage.requests.put(UID, REQUEST)
    event = submitted(feedback_type="rating", rating=4)
    await stage.take(event)
    (signal,), (quality,) = stage.signals, stage.told(topics.AGENT_METRICS.name)
    assert (signal.event_type, signal.tenant_id, signal.data["score"]) == ("signal.recorded", "acme", 0.5)
    assert (quality.event_type, quality.data["score"]) == ("metrics.quality", 0.75)
    assert signal.data["feedback_id"] == quality.data["feedback_id"] == "evt-1"
    assert (stage.states, event.acks) == (["joined"], 1)
    (kept,) = pieces.pieces(stage.rows.get(UID))
    assert kept.signal is not None
    assert (kept.signal["id"], kept.signal["score"]) == (signal.event_id, 0.5)


@pytest.mark.parametrize("row", [None, RUNNING])
async def test_feedback_that_comes_first_waits_for_the_end(stage: Stage, row: Json | None) -> None:
    if row is not None:
        stage.requests.put(UID, row)
    event = submitted()
    await stage.take(event)
    assert (stage.signals, stage.states, event.acks) == ([], ["waiting"], 1)
    end = await stage.end()
    assert (len(stage.signals), stage.states, end.acks) == (1, ["joined"], 1)


async def test_either_order_gives_the_same_ids(stage: Stage) -> None:
    await stage.take(submitted())
    await stage.end()
    other, again = Stage(), Stage()  # workers that learned of the end before
    for one in (other, again):
        one.requests.put(UID, REQUEST)
    await other.take(submitted("evt-other"))
    assert other.signals[0].event_id != stage.signals[0].event_id
    await again.take(submitted())
    assert again.signals[0].event_id == stage.signals[0].event_id


@pytest.mark.parametrize("happening", [Happening.ACCEPTED, Happening.ATTEMPTED, Happening.FORGOTTEN, "thinking.step"])
async def test_only_an_end_is_an_end(stage: Stage, happening: str) -> None:
    stage.requests.put(UID, RUNNING)
    await stage.take(submitted())
    assert not stage.joiner.ended(cast("Any", FakeEvent(None)), trace(happening))


async def test_an_end_that_nothing_waits_for_is_left_to_its_agent(stage: Stage) -> None:
    stage.requests.put(UID, REQUEST)
    assert not stage.joiner.ended(cast("Any", FakeEvent(None)), trace(Happening.COMPLETED))


async def test_what_comes_twice_counts_once(stage: Stage) -> None:
    stage.requests.put(UID, REQUEST)
    again = submitted()
    await stage.take(submitted(), again, submitted(feedback_type="thumbs_down"))
    assert (len(stage.signals), again.acks) == (1, 1)
    assert +stage.counts == {"received": 1, "joined": 1, "duplicate": 2}


async def test_what_waits_and_comes_again_is_joined_once(stage: Stage) -> None:
    await stage.take(submitted(), submitted())
    await stage.end()
    await stage.take(submitted())
    assert len(stage.signals) == 1


async def test_after_a_crash_between_signal_and_row_the_same_ids_are_told_again(stage: Stage) -> None:
    stage.requests.put(UID, REQUEST)
    await stage.take(submitted())
    (piece,) = pieces.pieces(stage.rows.get(UID))
    stage.rows.put(UID, pieces.row_of(UID, [replace(piece, state=pieces.Standing.WAITING, signal=None)]) or {})
    await stage.take(submitted())
    assert len(stage.signals) == 2
    assert len({signal.event_id for signal in stage.signals}) == 1


async def test_the_end_told_again_joins_what_was_left_waiting(stage: Stage) -> None:
    await stage.take(submitted())
    stage.requests.put(UID, REQUEST)  # and the worker dies before it has told
    assert stage.joiner.ended(cast("Any", FakeEvent(None)), trace(Happening.COMPLETED))
    await stage.joiner.drain(WAIT_S)
    assert len(stage.signals) == 1


@pytest.mark.parametrize("timestamp", [1.8e12, -1e13, None])
async def test_feedback_whose_record_has_no_time_is_a_dead_letter_that_says_so(stage: Stage, timestamp: Any) -> None:
    event = submitted()
    event.message.timestamp = timestamp
    await stage.take(event)
    assert [letter["reason"] for letter in stage.letters] == ["the record's timestamp is not a time in milliseconds"]
    assert event.acks == 1


async def test_a_log_that_is_away_is_waited_for(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PAUSE_S", 0.01)
    stage.requests.put(UID, REQUEST)
    tries = [AWAY, AWAY, AWAY]
    stage.log.fail_append = lambda *_: tries.pop() if tries else None
    event = submitted()
    await stage.take(event)
    assert (len(stage.signals), len(stage.told(topics.AGENT_METRICS.name)), event.acks) == (1, 1, 1)


async def test_another_formula_gives_signals_other_numbers_and_nothing_else(stage: Stage) -> None:
    await stage.take(submitted("evt-2"))
    await stage.take(rescored({"evt-2": {"score": 0.5, "weight": 0.5}}))
    assert stage.states == ["waiting"]  # it gets its numbers when it is joined
    await stage.end()
    before = pieces.pieces(stage.rows.get(UID))
    event = rescored({"evt-2": {"score": 0.25, "weight": 0.5}, "evt-gone": {"score": 1.0, "weight": 1.0}})
    await stage.take(event, rescored({"evt-2": {"score": 0.25, "weight": 0.5}}))
    (piece,) = pieces.pieces(stage.rows.get(UID))
    assert piece.signal is not None
    assert before == [replace(piece, signal={**piece.signal, "score": 1.0, "weight": 1.0})]
    assert (piece.signal["score"], piece.signal["weight"], event.acks) == (0.25, 0.5, 1)
    assert len(stage.signals) == 1
    await stage.take(rescored({"evt-2": {"score": -1.0, "weight": 0.5}}, generation=0))  # a former owner
    assert pieces.pieces(stage.rows.get(UID)) == [piece]


async def test_a_former_owner_writes_no_row(stage: Stage) -> None:
    await stage.take(submitted(generation=0))
    assert stage.rows.get(UID) is None
    stage.requests.put(UID, REQUEST)
    await stage.take(submitted())
    stage.membership.generation = 2
    await stage.take(submitted("evt-2"))
    assert stage.states == ["joined"]


async def test_another_tenants_feedback_is_counted_and_neither_kept_nor_joined(stage: Stage) -> None:
    await stage.take(submitted("evt-1", "other"), submitted("evt-2"))  # before the request is known
    await stage.end()
    await stage.take(submitted("evt-3", "other"))  # and after
    assert [signal.data["feedback_id"] for signal in stage.signals] == ["evt-2"]
    assert [piece.feedback_id for piece in pieces.pieces(stage.rows.get(UID))] == ["evt-2"]
    assert stage.counts[Count.FOREIGN] == 2
    assert stage.letters == []


async def test_what_waits_for_too_long_is_given_up_and_counted(stage: Stage) -> None:
    await stage.take(submitted())
    await stage.take(expiry(LONG_AGO))
    assert stage.states == ["waiting"]
    await stage.take(expiry(FAR_AHEAD))
    assert (stage.states, stage.counts[Count.EXPIRED]) == (["expired"], 1)
    await stage.end()
    assert stage.signals == []
    await stage.take(expiry(FAR_AHEAD, FAR_AHEAD))
    assert stage.rows.get(UID) is None


async def test_an_end_whose_word_was_lost_is_found_before_feedback_is_given_up(stage: Stage) -> None:
    await stage.take(submitted())
    stage.requests.put(UID, RUNNING)
    ended = EndedRequest(rid="r", fingerprint="f", tenant="acme", status="completed", first=0, last=1, ended_at=0.0)
    stage.ends.put(UID, ended)
    assert stage.joiner.is_left(UID)
    await stage.take(expiry(LONG_AGO))
    assert (len(stage.signals), stage.states) == (1, ["joined"])
    assert not stage.joiner.is_left("nobody")


async def test_the_word_of_an_end_that_was_a_moment_ago_is_not_lost_yet(stage: Stage) -> None:
    await stage.take(submitted())
    stage.requests.put(UID, RUNNING)
    stage.ends.put(
        UID, EndedRequest(rid="r", fingerprint="f", tenant="a", status="failed", first=0, last=1, ended_at=time.time())
    )
    assert not stage.joiner.is_left(UID)


async def test_the_states_agent_does_not_wait_for_a_log_that_is_away(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyed_executor, "WAITING_MAX", 1)
    stage.log.appending = asyncio.Event()
    await stage.joiner.take(submitted())
    await asyncio.sleep(0.01)
    stage.requests.put(UID, REQUEST)
    told = [stage.joiner.ended(cast("Any", FakeEvent(None)), trace(Happening.COMPLETED)) for _ in range(2)]
    assert told == [True, False]
    stage.log.appending.set()
    await stage.joiner.drain(WAIT_S)
    assert len(stage.signals) == 1


@pytest.mark.parametrize("timestamp", ["", "yesterday", "0001-01-01T00:00:00", "2999-01-01T00:00:00Z"])
async def test_feedback_is_given_when_the_log_took_it_where_its_time_makes_no_sense(
    stage: Stage, timestamp: str
) -> None:
    stage.requests.put(UID, REQUEST)
    event = submitted()
    event.message.value = orjson.dumps(orjson.loads(event.message.value) | {"timestamp": timestamp})
    event.message.timestamp = 1_700_000_000.0  # a worker that was away takes it later
    await stage.take(event)
    assert stage.signals[0].data["given_at"] == utc_iso(1_700_000_000.0)


async def test_feedback_on_a_replays_answer_that_came_before_it_is_never_joined(stage: Stage) -> None:
    await stage.take(submitted())
    stage.requests.put(UID, {**REQUEST, "replay": "20261121T120000Z-3f2a91c4"})
    await stage.take(expiry(LONG_AGO))
    assert stage.signals == []
    assert [piece.state for piece in pieces.pieces(stage.rows.get(UID))] == ["waiting"]


async def test_the_edit_distance_of_a_correction_is_computed_where_it_is_not_given(stage: Stage) -> None:
    stage.requests.put(UID, REQUEST)
    texts: dict[str, Any] = {"feedback_type": "correction", "original": "abcd", "corrected": "abXX"}
    long: dict[str, Any] = {"feedback_type": "correction", "original": "a" * 1500, "corrected": "b" * 1500}
    await stage.take(submitted("1", **texts), submitted("2", **texts, edit_distance=0.1), submitted("3", **long))
    assert [piece.edit_distance for piece in pieces.pieces(stage.rows.get(UID))] == [0.5, 0.1, 1.0]
    assert sorted(signal.data["score"] for signal in stage.signals) == [-0.5, -0.25, -0.05]


BAD: dict[str, Any] = {
    "no JSON": FakeEvent(b"{"),
    "a tombstone": FakeEvent(None),
    "no envelope": FakeEvent(b'{"data": 1}'),
    "no uid": FakeEvent(envelope.encode("e", "feedback.submitted", "acme", {})),
    "an unknown type": FakeEvent(envelope.encode("e", "feedback.shouted", "acme", {"uid": UID})),
    "an unknown kind": submitted(feedback_type="applause"),
    "stars on thumbs": submitted(rating=5),
    "a correction without texts": submitted(feedback_type="correction"),
    "an id that is too long": submitted("e" * 300),
    "a tenant that is too long": submitted(tenant="t" * 300),
}


@pytest.mark.parametrize("name", BAD)
async def test_what_is_no_feedback_goes_to_the_dead_letters_with_its_reason_and_blocks_nothing(
    stage: Stage, name: str
) -> None:
    event = BAD[name]
    event.acks = 0
    stage.requests.put(UID, REQUEST)
    await stage.take(event, submitted("evt-good"))
    (letter,) = stage.letters
    assert letter["reason"]
    assert letter["topic"] == topics.AI_FEEDBACK.name
    assert base64.b64decode(letter["value"] or "") == (event.message.value or b"")
    assert (event.acks, len(stage.signals)) == (1, 1)
    assert stage.counts[Count.DEAD] == 1


async def test_more_than_the_bound_on_one_request_are_dead_letters(stage: Stage) -> None:
    await stage.take(*(submitted(f"evt-{number}") for number in range(5)))
    assert (len(stage.states), len(stage.letters)) == (3, 2)


async def test_texts_of_users_are_not_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.requests.put(UID, REQUEST)
    with caplog.at_level(logging.DEBUG):
        await stage.take(
            submitted("1", comment="hush"),
            submitted("2", feedback_type="hush", comment="hush"),
            submitted("3", comment="hush", rating=1),
            submitted("4", comment=["hush"]),
        )
    assert len(stage.letters) == 3
    assert "hush" not in caplog.text
    assert "hush" not in orjson.dumps(stage.rows.get(UID)).decode()


async def test_what_another_partitioner_put_elsewhere_is_moved_to_where_its_request_is(stage: Stage) -> None:
    elsewhere = (PARTITION + 1) % CHAT_PARTITIONS
    event = submitted(partition=elsewhere)
    await stage.take(event)
    assert stage.rows.get(UID) is None
    (record,) = stage.log.records[Partition(topics.AI_FEEDBACK.name, PARTITION)]
    assert (record.key, record.value) == (UID.encode(), event.message.value)
    assert dict(record.headers) == {"event_type": b"feedback.submitted"}
    assert (event.acks, stage.counts[Count.MOVED]) == (1, 1)


async def test_a_cancelled_request_says_once_that_its_answer_was_left(stage: Stage) -> None:
    end = await stage.end("cancelled")
    assert stage.joiner.ended(end, trace(Happening.CANCELLED))  # told again after a crash
    await stage.joiner.drain(WAIT_S)
    first, second = stage.told(topics.AI_FEEDBACK.name)
    assert first.event_id == second.event_id
    assert (first.tenant_id, first.data["feedback_type"], first.data["feedback_source"]) == (
        "acme",
        "implicit_reject",
        "abandon",
    )
    assert first.data["user_id"] == "ada"
    await stage.take(*(FakeEvent(record) for record in stage.log.values(Partition("ai-feedback-events", PARTITION))))
    (signal,) = stage.signals
    assert (signal.data["score"], signal.data["weight"], signal.data["status"]) == (-0.5, 0.3, "cancelled")


async def test_a_cancellation_that_came_too_late_is_none(stage: Stage) -> None:
    stage.requests.put(UID, REQUEST)
    assert not stage.joiner.ended(cast("Any", FakeEvent(None)), trace(Happening.CANCELLED))
