"""A table beside its topics: healthy ones agree, whatever is still on its way, and each wrong field is found."""

import random
from typing import Any

import orjson
import pytest

from tests.defaults import CHAT_PARTITIONS
from tests.unit.weir.log.memory_log import MemoryLog
from tests.unit.weir.replay.rebuild.test_rebuilding import BAD
from tests.unit.weir.replay.rebuild.world import JUDGING, PARTITIONS, World, hurry, use
from tests.unit.weir.workers import worker_of
from weir import envelope, topics
from weir.chat import frames, requests
from weir.chat.frames import ANYBODY, Frame, FrameKind, Status, Terminal
from weir.chat.lifecycle import Happening
from weir.chat.prompts import PromptAsked, PromptsForgotten
from weir.chat.requests import EVENT_TYPE, ChatRequest
from weir.events import publishing
from weir.events.base import EventData
from weir.events.feedback import FeedbackExpired, FeedbackSubmitted, FeedbackType
from weir.events.ingress import Ingress
from weir.insights.rows import QualityRows
from weir.log.log import Headers, Partition
from weir.log.partitioner import partition_for
from weir.ranges.errors import UsageError
from weir.replay.rebuild.handing import wrong_in
from weir.replay.rebuild.rescoring import Formula
from weir.replay.verify import verifying
from weir.replay.verify.verifiable import NAMES, Verifiable
from weir.replay.verify.verifying import NO_ROW, Verified, differences, verify
from weir.settings import Settings

UID = "req-1"
NUMBER = partition_for(UID.encode(), CHAT_PARTITIONS)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)
    monkeypatch.setattr(verifying, "LOOK_S", 0.0)
    monkeypatch.setattr(verifying, "STILL_S", 0.02)
    monkeypatch.setattr(verifying, "SETTLED_S", 2.0)


GARBAGE = (
    b"\xff{",
    b"17",
    b"null",
    b'"row"',
    b"[1]",
    b"{}",
    b"[" * 100_000,
    b'{"uid": 7}',
    b'{"uid": "req-1", "pieces": [{"feedback_type": "shrug"}]}',
    b'{"ended_at": "x", "prompts": [{"at": "noon"}]}',
)


class Desk:
    """A log that a test writes, and its tables."""

    def __init__(self, log: MemoryLog | None = None) -> None:
        self.log = log or MemoryLog()
        self.log.now = self.log.now or 1_800_000_000.0
        self.tables = Verifiable(worker_of(self.log), {name: f"weir-{name}-changelog" for name in NAMES})
        self.tables._judging = JUDGING

    def put(self, topic: str, value: bytes, *, key: str = UID, number: int = NUMBER, headers: Headers = ()) -> None:
        self.log.now += 0.01
        self.log.put(Partition(topic, number), key.encode(), value, headers)

    def tell(self, data: EventData, *, event_id: str = "evt-1", tenant: str = "acme") -> None:
        event = publishing.encode(data, tenant, event_id=event_id)
        self.put(event.topic, event.value, key=event.key.decode(), number=partition_for(event.key, 6))

    def trace(self, happening: str, **data: Any) -> None:
        fields = {"uid": UID, "rid": "r1", "model": "m", **data}
        self.put(topics.AGENT_TRACES.name, envelope.encode("evt-t", happening, "acme", fields))

    def asked(self, event_id: str = "r1", chunks_from: int = 0) -> None:
        request = ChatRequest(
            uid=UID,
            event_id=event_id,
            tenant="acme",
            ingress=Ingress.HTTP,
            accepted_at="2027-01-15T08:00:00Z",
            body={"messages": []},
            fingerprint="f",
            stream=True,
            chunks_from=chunks_from,
        )
        self.put(topics.CHAT_REQUESTS.name, requests.encode(request), headers=requests.ACCEPTED)

    def asked_by_kafka(self, event_id: str = "r1", **body: Any) -> None:
        """Let a Kafka client write the request itself."""
        self.put(topics.CHAT_REQUESTS.name, envelope.encode(event_id, EVENT_TYPE, "acme", {"uid": UID, "body": body}))

    def frame(self, kind: FrameKind, rid: str = "r1", **more: Any) -> int:
        frame = Frame(uid=UID, rid=rid, kind=kind, **more)
        self.put(topics.CHAT_CHUNKS.name, frames.encode(frame, event_id="e", tenant="acme"))
        return len(self.log.records[Partition(topics.CHAT_CHUNKS.name, NUMBER)]) - 1

    def live(self, table: str, row: Any, *, key: str = UID) -> None:
        number = partition_for(key.encode(), 6)
        self.put(f"weir-{table}-changelog", orjson.dumps(row), key=key, number=number)

    async def verify(self, name: str) -> Verified:
        found, table = Verified(table=name), self.tables.table(name)
        for number in range(table.partitions):
            await verify(self.log, table, found, number)
        return found

    async def wrong(self, name: str) -> list[tuple[str, Any, Any]]:
        return [(one["field"], one["live"], one["rebuilt"]) for one in (await self.verify(name)).differences]


def test_each_difference_has_the_path_of_its_field() -> None:
    live = {"a": 1, "b": [{"c": 2}, {"c": 3}], "seen_at": 1, "d": [1]}
    rebuilt = {"a": 1, "b": [{"c": 2}, {"c": 4}], "seen_at": 2, "d": [1, 2]}
    assert list(differences(live, rebuilt, "", {"seen_at"})) == [("b[1].c", 3, 4), ("d", [1], [1, 2])]
    assert list(differences(None, rebuilt, "", ())) == [("row", None, rebuilt)]


async def test_terminals_are_folded_out_of_frames() -> None:
    desk = Desk()
    desk.asked()
    begin = desk.frame(FrameKind.BEGIN, attempt="a", after=-1)
    desk.asked("r2")  # again, while it runs: it is answered with a mark
    end = desk.frame(FrameKind.TERMINAL, attempt="a", terminal=Terminal(status=Status.COMPLETED))
    row = {"rid": "r1", "fingerprint": "f", "tenant": "acme", "status": "completed", "first": begin, "last": end}
    row["ended_at"] = desk.log.now
    assert await desk.wrong("terminals") == [("row", None, row)]
    desk.live("terminals", row)
    assert await desk.wrong("terminals") == []
    desk.live("terminals", {**row, "last": 7})
    assert await desk.wrong("terminals") == [("last", 7, end)]
    desk.live("terminals", row)
    desk.trace(Happening.FORGOTTEN)
    assert await desk.wrong("terminals") == [("row", row, None)]
    desk.asked("r3", chunks_from=2)  # the uid is used anew, and cancelled before anything was begun
    last = desk.frame(FrameKind.TERMINAL, ANYBODY, terminal=Terminal(status=Status.CANCELLED))
    anew = {**row, "rid": "r3", "status": "cancelled", "first": last, "last": last, "ended_at": desk.log.now}
    desk.live("terminals", anew)
    assert await desk.wrong("terminals") == []


async def test_terminals_of_requests_that_kafka_clients_write_are_those_that_the_door_takes() -> None:
    desk, messages = Desk(), [{"role": "user", "content": "hi"}]
    desk.asked_by_kafka("refused", messages="hi")  # a dead letter, and its uid is free
    desk.asked_by_kafka(messages=messages)  # the door adds the model, which is part of the fingerprint
    begin = desk.frame(FrameKind.BEGIN, attempt="a", after=-1)
    end = desk.frame(FrameKind.TERMINAL, attempt="a", terminal=Terminal(status=Status.COMPLETED))
    body = {"messages": messages, "model": Settings().openai_model}
    row = {"rid": "r1", "fingerprint": requests.fingerprint(body), "tenant": "acme", "status": "completed"}
    desk.live("terminals", {**row, "first": begin, "last": end, "ended_at": desk.log.now})
    assert await desk.wrong("terminals") == []


async def test_a_row_that_no_record_tells_of_is_a_difference() -> None:
    desk = Desk()
    row = {"rid": "r", "fingerprint": "f", "tenant": "t", "status": "failed", "first": 1, "last": 2, "ended_at": 1e9}
    desk.live("terminals", row)
    assert await desk.wrong("terminals") == [("row", row, None)]


async def test_requests_are_folded_out_of_trace_events() -> None:
    desk = Desk()
    desk.trace(Happening.ACCEPTED, accepted_at="2027-01-15T08:00:00Z")
    (field, live, row) = (await desk.wrong("requests"))[0]
    assert (field, live, row["state"], row["model"]) == ("row", None, "accepted", "m")
    desk.live("requests", {**row, "model": "other"})
    assert await desk.wrong("requests") == [("model", "other", "m")]
    desk.trace(Happening.FORGOTTEN)
    assert [field for field, _, _ in await desk.wrong("requests")] == ["row"]


async def test_feedback_is_joined_with_the_ends_of_requests() -> None:
    desk = Desk()
    desk.trace(Happening.ACCEPTED, accepted_at="2027-01-15T08:00:00Z")
    desk.tell(FeedbackSubmitted(uid=UID, response_id=UID, feedback_type=FeedbackType.THUMBS_UP))
    desk.tell(FeedbackSubmitted(uid=UID, response_id=UID, feedback_type=FeedbackType.THUMBS_UP), tenant="other")
    (_, _, waiting) = (await desk.wrong("feedback"))[0]
    assert [piece["state"] for piece in waiting["pieces"]] == ["waiting"]
    desk.trace(Happening.COMPLETED)
    (_, _, row) = (await desk.wrong("feedback"))[0]
    (piece,) = row["pieces"]
    assert (piece["state"], piece["signal"]["score"]) == ("joined", 1.0)
    mine = {**piece, "received_at": "x", "signal": {**piece["signal"], "recorded_at": "y"}}
    desk.live("feedback", {**row, "pieces": [mine]})
    assert await desk.wrong("feedback") == []
    desk.live("feedback", {**row, "pieces": [{**mine, "signal": {**mine["signal"], "score": 0.3}}]})
    assert await desk.wrong("feedback") == [("pieces[0].signal.score", 0.3, 1.0)]
    limits = {"waiting_before": "2000-01-01T00:00:00Z", "known_before": "2100-01-01T00:00:00Z"}
    desk.tell(FeedbackExpired(uid=UID, **limits))
    assert [(field, rebuilt) for field, _, rebuilt in await desk.wrong("feedback")] == [("row", None)]


async def test_feedback_on_a_replays_answer_is_none() -> None:
    desk = Desk()
    early = FeedbackSubmitted(uid=UID, response_id=UID, feedback_type=FeedbackType.THUMBS_UP)
    desk.tell(early)
    desk.trace(Happening.ACCEPTED, accepted_at="2027-01-15T08:00:00Z", replay="20261121T120000Z-00000001")
    desk.tell(early, event_id="evt-2")
    desk.trace(Happening.COMPLETED)
    (_, _, row) = (await desk.wrong("feedback"))[0]
    assert [(piece["feedback_id"], piece["state"]) for piece in row["pieces"]] == [("evt-1", "waiting")]


async def test_feedback_whose_record_has_no_time_is_a_dead_letter() -> None:
    desk = Desk()
    desk.log.now = 1.8e12  # microseconds, as a client of Kafka may write them
    desk.tell(FeedbackSubmitted(uid=UID, response_id=UID, feedback_type=FeedbackType.THUMBS_UP))
    assert await desk.wrong("feedback") == []


async def test_prompts_are_kept_until_they_are_forgotten() -> None:
    desk = Desk()
    at = "2027-01-15T08:00:00Z"
    desk.tell(PromptAsked(user="ada", uid="u", at=at, fingerprint="0" * 16))
    (_, _, row) = (await desk.wrong("prompts"))[0]
    assert [prompt["uid"] for prompt in row["prompts"]] == ["u"]
    desk.live("prompts", row, key="acme:ada")
    assert await desk.wrong("prompts") == []
    desk.tell(PromptsForgotten(user="ada", before="2100-01-01T00:00:00Z"))
    assert await desk.wrong("prompts") == [("row", row, None)]


async def test_what_retention_has_taken_the_beginning_of_cannot_be_verified() -> None:
    desk = Desk()
    desk.trace(Happening.ACCEPTED, accepted_at="2027-01-15T08:00:00Z")
    desk.trace(Happening.ATTEMPTED)
    desk.log.starts[Partition(topics.AGENT_TRACES.name, NUMBER)] = 1
    desk.live("requests", {"uid": UID, "accepted_at": "2027-01-15T08:00:00Z"})
    found = await desk.verify("requests")
    assert (found.rows, found.unknown, found.differences) == (1, 1, [])
    assert "1 rows cannot be verified" in found.as_text(20)


@pytest.mark.parametrize("seed", range(5))
async def test_windows_agree_while_the_worker_lags_and_a_figure_that_is_wrong_is_found(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "STILL_S", 20.0)  # the worker lags by less, also on a busy machine
    world = World(random.Random(seed))
    desk = Desk(world.log)
    world.load(300)
    for _ in range(250):
        await world.owner.step()
    healthy = await world.beside(desk.verify("quality"))
    assert (healthy.differences, healthy.unknown) == ([], 0)
    assert healthy.rows > 10
    rows = QualityRows(world.owner.table)
    span, row = next((span, row) for span, _, _ in rows.windows() if (row := rows.window(span)) and row.closed)
    row.window.failed += 1
    world.owner.table.number = next(
        number
        for number in PARTITIONS
        for record in world.owner.table.changes(number)
        if record.key == f"window/{span.path}".encode()
    )
    rows.put_window(span, row)
    monkeypatch.setattr(verifying, "STILL_S", 0.02)
    told = await desk.verify("quality")
    assert [(one["field"], one["live"] - one["rebuilt"]) for one in told.differences] == [("failed", 1)]
    assert "failed is" in told.as_text(20)


async def test_windows_that_were_rebuilt_agree_with_the_formula_that_they_were_rebuilt_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(random.Random(1))
    desk = Desk(world.log)
    world.load(300)
    await world.owner.drain()
    use(monkeypatch, BAD)
    await world.rebuild()
    assert (await world.beside(desk.verify("quality"))).differences == []


async def test_windows_whose_rebuild_is_forgotten_are_compared_with_the_numbers_of_the_log() -> None:
    world = World(random.Random(1))
    desk = Desk(world.log)
    world.load(200)
    await world.owner.drain()
    await world.rebuild()
    assert QualityRows(world.owner.table).rebuilt(0).run
    for at in world.log.records:
        if at.topic == topics.CHAT_REPLAYS.name:
            world.log.starts[at] = len(world.log.records[at])
    assert (await world.beside(desk.verify("quality"))).differences == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", GARBAGE)
async def test_what_is_no_row_is_a_difference_and_ends_nothing(name: str, value: bytes) -> None:
    desk, changelog = Desk(), f"weir-{name}-changelog"
    desk.put(changelog, value, number=0)
    desk.put(changelog, value, key="window/0/300000/t:m", number=0)
    desk.put(changelog, value, key="window/x/y/t:m", number=0)
    found = await desk.verify(name)
    assert {one["live"] for one in found.differences if isinstance(one["live"], str)} <= {NO_ROW}
    assert [wrong_in(value, Formula(Settings(), CHAT_PARTITIONS, 0))] == [{}]


async def test_a_row_that_is_none_is_told_beside_what_it_should_be() -> None:
    desk = Desk()
    desk.trace(Happening.ACCEPTED, accepted_at="2027-01-15T08:00:00Z")
    (_, _, row) = (await desk.wrong("requests"))[0]
    desk.put("weir-requests-changelog", b"\xff{")
    assert await desk.wrong("requests") == [("row", NO_ROW, row)]


async def test_a_table_that_is_none_is_refused_with_the_names_of_those_that_are() -> None:
    with pytest.raises(UsageError, match="terminals, requests, feedback, prompts, quality"):
        Desk().tables.table("nothing")
