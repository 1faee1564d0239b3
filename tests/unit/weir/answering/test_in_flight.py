"""The requests that a worker has in flight, and their settling."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.weir.answering.helpers import REQUEST
from tests.unit.weir.chat.helpers import begin, ends, says
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog, tails_of
from tests.unit.weir.workers import (
    FakeEvent,
    FakeMembership,
    FakeMessage,
    ends_in_memory,
    requests_in_memory,
    worker_of,
)
from weir import envelope
from weir.answering.errors import NotBegunError
from weir.answering.in_flight import Work
from weir.answering.marks import Attempt, Claim
from weir.answering.reporting import Reporting
from weir.answering.slots import Slot
from weir.chat import frames, requests
from weir.chat.audit import Audit
from weir.chat.ends import EndedRequest
from weir.chat.fold import Answer
from weir.chat.frames import Status, Terminal
from weir.chat.request_writer import RequestWriter
from weir.chat.requests import ChatRequest
from weir.chat.thinking import ThinkingEvents
from weir.chat.traces import Traces
from weir.envelope import Json
from weir.events.redaction import Redactor
from weir.log.log import LogUnavailableError, Partition
from weir.log.tails import Tails
from weir.settings import Settings


def landed(error: Exception | None = None) -> "asyncio.Future[int]":
    landing: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    if error is None:
        landing.set_result(5)
    else:
        landing.set_exception(error)
        landing.exception()
    return landing


class FakeAnswering:
    """Follows another worker's attempt for ever, or until the test says that an attempt is needed."""

    def __init__(self, *, begins: bool) -> None:
        self.begins = begins
        self.began = asyncio.Event()
        self.needed = asyncio.Event()

    async def answer(
        self,
        _request: ChatRequest,
        _at: Partition,
        *,
        slot: Slot,
        on_attempt: Callable[[Attempt], None],
        give_up: bool,
        claim: Claim | None = None,
    ) -> Answer:
        del on_attempt, give_up, claim
        if not self.begins:
            slot.give_back()
        self.began.set()
        await self.needed.wait()
        raise NotBegunError


class Answered:
    """Has the answer as soon as the test lets it."""

    def __init__(self) -> None:
        self.asked = 0
        self.done = asyncio.Event()

    def claim(self, _request: ChatRequest, _at: Partition, accepted: Callable[[], Awaitable[bool]]) -> Claim:
        return Claim("att-1", landed(), accepted)

    async def answer(
        self,
        request: ChatRequest,
        _at: Partition,
        *,
        slot: Slot,
        on_attempt: Callable[[Attempt], None],
        give_up: bool,
        claim: Claim | None = None,
    ) -> Answer:
        del on_attempt, give_up
        self.asked += 1
        await slot.take()
        if claim is not None and not await claim.accepted():
            raise NotBegunError
        await self.done.wait()
        return Answer(rid=request.event_id, first=3, last=9, terminal=Terminal(status=Status.COMPLETED))


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


class Desk:
    """A worker without Faust, and its tables."""

    def __init__(self, log: MemoryLog) -> None:
        self.log, self.membership = log, FakeMembership(own={2})
        self.ends, self.rows = ends_in_memory(), requests_in_memory()

    def work(self, answering: Any, *, tails: Tails | None = None, max_in_flight: int = 1) -> Work:
        settings = Settings(max_in_flight=max_in_flight)
        worker = worker_of(self.log, membership=self.membership, settings=settings, tails=tails)
        traces = Traces(worker.events, worker=worker.name)
        return Work(
            worker,
            answering,
            reporting=Reporting(
                worker, traces=traces, thinking_events=ThinkingEvents(endpoint="http://llm/v1", redactor=Redactor(100))
            ),
            ends=self.ends,
            rows=self.rows,
            writer=RequestWriter(worker.log, worker.tails, value_max_bytes=settings.record_value_max_bytes),
            traces=traces,
            audit=Audit(worker.events, settings.default_tenant),
        )


@pytest.fixture
def desk(log: MemoryLog) -> Desk:
    return Desk(log)


class Noted(FakeEvent):
    """Notes the offset of an event when it is acknowledged."""

    def __init__(self, message: FakeMessage, acknowledged: list[int]) -> None:
        super().__init__(message)
        self.acknowledged = acknowledged

    def ack(self) -> None:
        self.acknowledged.append(self.message.offset)


def event(acknowledged: list[int], request: ChatRequest = REQUEST, offset: int = 7) -> Any:
    value, key = requests.encode(request), request.key
    message = FakeMessage(value=value, key=key, partition=2, offset=offset, timestamp=1.0, headers=requests.ACCEPTED)
    return Noted(message, acknowledged)


def row(rid: str, state: str) -> Json:
    return {"uid": REQUEST.uid, "tenant": REQUEST.tenant, "attempts": [], "rid": rid, "state": state}


@pytest.mark.parametrize("begins", [True, False])
async def test_what_a_stopping_worker_has_not_begun_is_left_at_once_and_not_acknowledged(
    desk: Desk, begins: bool, caplog: pytest.LogCaptureFixture
) -> None:
    acknowledged: list[int] = []
    answering: Any = FakeAnswering(begins=begins)
    work = desk.work(answering)
    async with asyncio.timeout(WAIT_S / 2):
        await work.take(event(acknowledged))
        await answering.began.wait()
        desk.membership.draining = True
        if begins:  # it finds out by itself; who only follows is not asked
            answering.needed.set()
        await work.drain(WAIT_S)
    assert (work.in_flight, acknowledged, caplog.records) == (0, [], [])


async def until_none(work: Work) -> None:
    async with asyncio.timeout(WAIT_S):
        while work.in_flight or work._tasks:  # the subject must not help its own test
            await asyncio.sleep(0.005)


async def test_what_is_begun_ahead_of_its_event_is_answered_once_and_settled_under_the_event(desk: Desk) -> None:
    acknowledged: list[int] = []
    answering: Any = Answered()
    work = desk.work(answering)
    work.begin(REQUEST, 2, landed())
    answering.done.set()
    await asyncio.sleep(0.02)
    assert desk.ends.get(REQUEST.uid) is None  # a table is changed under an event only
    assert work.in_flight == 1
    await work.take(event(acknowledged))
    await until_none(work)
    ended = desk.ends.get(REQUEST.uid)
    assert ended is not None
    assert (ended.rid, ended.first, ended.last) == (REQUEST.event_id, 3, 9)
    assert (answering.asked, acknowledged) == (1, [7])


async def test_an_event_that_comes_before_the_end_settles_it_too(desk: Desk) -> None:
    acknowledged: list[int] = []
    answering: Any = Answered()
    work = desk.work(answering)
    work.begin(REQUEST, 2, landed())
    await asyncio.sleep(0)
    await work.take(event(acknowledged))
    assert acknowledged == []
    answering.done.set()
    await until_none(work)
    assert (answering.asked, acknowledged) == (1, [7])


async def test_one_whose_partition_goes_away_is_left_to_the_next_owner(desk: Desk) -> None:
    answering: Any = Answered()
    work = desk.work(answering)
    work.begin(REQUEST, 2, landed())
    answering.done.set()
    await asyncio.sleep(0.02)
    desk.membership.own = set()
    await until_none(work)
    assert desk.ends.get(REQUEST.uid) is None


@pytest.mark.parametrize("reason", ["draining", "full", "not ours"])
async def test_a_worker_that_must_not_begin_leaves_it_to_the_event(desk: Desk, reason: str) -> None:
    answering: Any = Answered()
    work = desk.work(answering)
    if reason == "full":
        work.begin(REQUEST, 2, landed())
        await asyncio.sleep(0.02)
    desk.membership.draining = reason == "draining"
    before = work.in_flight
    other = replace(REQUEST, uid="other", event_id="evt-other")
    work.begin(other, 1 if reason == "not ours" else 2, landed())
    await asyncio.sleep(0.02)
    assert (work.in_flight, answering.asked) == (before, before)
    await work.drain(0)


async def test_one_that_does_not_get_into_the_log_is_let_go_of(desk: Desk) -> None:
    answering: Any = Answered()
    work = desk.work(answering)
    work.begin(REQUEST, 2, landed(LogUnavailableError("away")))
    answering.done.set()
    await until_none(work)
    assert desk.ends.get(REQUEST.uid) is None


async def test_one_whose_fate_is_in_doubt_is_answered_when_its_event_comes(desk: Desk) -> None:
    acknowledged: list[int] = []
    answering: Any = Answered()
    answering.done.set()
    work = desk.work(answering)
    work.begin(REQUEST, 2, landed(LogUnavailableError("not confirmed in time")))
    await work.take(event(acknowledged))  # it had been written all the same
    await until_none(work)
    assert acknowledged == [7]
    ended = desk.ends.get(REQUEST.uid)
    assert ended is not None
    assert ended.rid == REQUEST.event_id


@pytest.mark.parametrize("state", [None, "running", "completed"])
async def test_one_that_was_settled_before_a_crash_is_told_again_unless_its_row_shows_the_end(
    desk: Desk, log: MemoryLog, state: str | None
) -> None:
    if state is not None:
        desk.rows.put(REQUEST.uid, row(REQUEST.event_id, state))
    at = Partition("chat-chunks", 2)
    for one in (begin("att-1"), says("att-1", 0, "x"), ends("att-1")):
        last = log.put(at, REQUEST.key, frames.encode(one, event_id="e", tenant=REQUEST.tenant))
    ended = EndedRequest(
        rid=REQUEST.event_id,
        fingerprint=REQUEST.fingerprint,
        tenant=REQUEST.tenant,
        status=Status.COMPLETED,
        first=0,
        last=last,
        ended_at=1.0,
    )
    desk.ends.put(REQUEST.uid, ended)
    acknowledged: list[int] = []
    answering: Any = Answered()
    async with tails_of(log) as tails:
        work = desk.work(answering, tails=tails)
        await work.take(event(acknowledged))
        await until_none(work)
    told = [envelope.decode(value) for at in log.records if at.topic != "chat-chunks" for value in log.values(at)]
    types = [one.event_type for one in told]
    assert {"request.completed", "metrics.recorded", "thinking.completed"} <= set(types) or state == "completed"
    assert not types or state != "completed"
    assert (acknowledged, answering.asked) == ([7], 0)


# -- from the dead letters


def life(number: int, chunks_from: int = 20) -> ChatRequest:
    """Return the request as it was sent again for the nth time."""
    rids = ("evt-1", *(f"evt-again-{n}" for n in range(1, number)))
    return replace(
        REQUEST,
        event_id=f"evt-again-{number}",
        chunks_from=chunks_from,
        redriven=tuple({"run": "r", "letter": "l", "rid": rid} for rid in rids),
    )


def end_of(request: ChatRequest, status: Status, last: int = 9) -> EndedRequest:
    return EndedRequest(
        rid=request.event_id,
        fingerprint=request.fingerprint,
        tenant=request.tenant,
        status=status,
        first=3,
        last=last,
        ended_at=1.0,
    )


def told_of(log: MemoryLog, topic: str) -> list[envelope.Event]:
    return [envelope.decode(value) for at in log.records if at.topic == topic for value in log.values(at)]


@pytest.mark.parametrize("status", [Status.FAILED, Status.EXPIRED])
async def test_a_failed_request_is_answered_again_when_it_comes_back_and_its_row_is_updated_first(
    desk: Desk, log: MemoryLog, status: Status
) -> None:
    desk.ends.put(REQUEST.uid, end_of(REQUEST, status))
    acknowledged: list[int] = []
    answering: Any = Answered()
    work = desk.work(answering)
    await work.take(event(acknowledged, life(1)))
    await log.until(lambda: bool(told_of(log, "agent-trace-events")))
    (again,) = told_of(log, "agent-trace-events")
    assert (again.event_type, again.data["rid"], again.data["replaces"]) == ("request.redriven", "evt-again-1", "evt-1")
    assert (again.data["replaced_status"], again.data["replaced_ended_at"]) == (status, "1970-01-01T00:00:01.000000Z")
    before = desk.ends.get(REQUEST.uid)
    assert before is not None
    assert before.rid == "evt-1"  # until there is another end
    answering.done.set()
    await until_none(work)
    ended = desk.ends.get(REQUEST.uid)
    assert ended is not None
    assert (ended.rid, ended.status, answering.asked, acknowledged) == ("evt-again-1", Status.COMPLETED, 1, [7])


@pytest.mark.usefixtures("log")
async def test_a_request_that_ended_in_a_former_log_is_answered_again(desk: Desk) -> None:
    """The offset of that end is behind all of the new log."""
    desk.ends.put(REQUEST.uid, end_of(REQUEST, Status.FAILED, last=70_000))
    answering: Any = Answered()
    answering.done.set()
    work = desk.work(answering)
    await work.take(event([], life(1, chunks_from=2)))
    await until_none(work)
    ended = desk.ends.get(REQUEST.uid)
    assert ended is not None
    assert (ended.rid, ended.status) == ("evt-again-1", Status.COMPLETED)


@pytest.mark.parametrize(
    ("ended", "request_", "mark"),
    [
        (end_of(REQUEST, Status.COMPLETED), life(1), "chat.attach"),
        (end_of(REQUEST, Status.CANCELLED), life(1), "chat.attach"),
        # An earlier life, delivered again after a later one has failed, too.
        (end_of(life(2), Status.FAILED, last=25), life(1), "chat.attach"),
        (end_of(REQUEST, Status.FAILED), replace(life(1), tenant="other"), "chat.conflict"),
        (end_of(REQUEST, Status.FAILED), replace(life(1), fingerprint="other"), "chat.conflict"),
        (end_of(REQUEST, Status.FAILED), replace(REQUEST, event_id="evt-5", chunks_from=20), "chat.attach"),
    ],
    ids=["completed", "cancelled", "an earlier one again", "another tenant", "another body", "a client's"],
)
async def test_a_request_that_need_not_or_must_not_be_answered_again_attaches_or_conflicts(
    desk: Desk, log: MemoryLog, ended: EndedRequest, request_: ChatRequest, mark: str
) -> None:
    desk.ends.put(REQUEST.uid, ended)
    acknowledged: list[int] = []
    answering: Any = Answered()
    work = desk.work(answering)
    await work.take(event(acknowledged, request_))
    await until_none(work)
    (told,) = told_of(log, "chat-chunks")
    assert (told.event_type, told.data["rid"], told.data["submission"]) == (mark, ended.rid, request_.event_id)
    assert (answering.asked, acknowledged, desk.ends.get(REQUEST.uid)) == (0, [7], ended)


async def test_it_waits_for_the_one_that_it_replaces_and_only_for_that(desk: Desk) -> None:
    """The dead letter is written before the end is settled and published."""
    acknowledged: list[int] = []
    answering: Any = Answered()
    work = desk.work(answering, max_in_flight=2)
    await work.take(event(acknowledged, REQUEST, 1))
    await work.take(event(acknowledged, life(1), 2))
    await work.take(event(acknowledged, life(2), 3))  # replaces another: attaches to the one that runs
    await asyncio.sleep(0.02)
    assert (acknowledged, answering.asked) == ([3], 1)
    answering.done.set()
    await until_none(work)
    assert acknowledged == [3, 1, 2]  # that one completed, in this test: nothing to answer anew
    assert answering.asked == 1


class InTurn:
    """Follows the first submission to its failure; all others call the LLM, and are done when the test lets them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failed, self.done = asyncio.Event(), asyncio.Event()

    async def answer(self, request: ChatRequest, _at: Partition, *, slot: Slot, **_: Any) -> Answer:
        if request.event_id == REQUEST.event_id:
            slot.give_back()
            await self.failed.wait()
            return Answer(rid=request.event_id, first=3, last=9, terminal=Terminal(status=Status.FAILED))
        self.asked.append(request.event_id)
        await self.done.wait()
        return Answer(rid=request.event_id, first=21, last=29, terminal=Terminal(status=Status.COMPLETED))


async def test_of_two_lives_that_wait_for_a_place_one_is_answered_and_the_other_attaches(
    desk: Desk, log: MemoryLog
) -> None:
    """Two runs have sent the same letter; both wait for the events of its end, and then for the only slot."""
    acknowledged: list[int] = []
    answering: Any = InTurn()
    work = desk.work(answering)
    other = replace(REQUEST, uid="other", event_id="evt-b")
    lives = [life(1), replace(life(1), event_id="evt-of-run-2")]
    for offset, request in enumerate([REQUEST, other, *lives]):
        await work.take(event(acknowledged, request, offset))
        await asyncio.sleep(0)
    answering.failed.set()
    async with asyncio.timeout(WAIT_S):
        while acknowledged != [0]:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)
    assert answering.asked == ["evt-b"]
    answering.done.set()
    await until_none(work)
    assert answering.asked == ["evt-b", "evt-again-1"]
    (told,) = told_of(log, "chat-chunks")
    assert (told.data["rid"], told.data["submission"]) == ("evt-again-1", "evt-of-run-2")
    assert sorted(acknowledged) == [0, 1, 2, 3]


async def test_one_that_waits_is_left_to_the_next_owner_where_the_partition_goes_away(desk: Desk) -> None:
    acknowledged: list[int] = []
    answering: Any = Answered()
    work = desk.work(answering)
    await work.take(event(acknowledged, REQUEST, 1))
    await work.take(event(acknowledged, life(1), 2))
    desk.membership.own = set()
    answering.done.set()
    await until_none(work)
    assert acknowledged == []


async def test_an_end_that_was_replaced_is_still_its_own_submissions_while_the_next_one_runs(
    desk: Desk, log: MemoryLog
) -> None:
    """After a rebalance the old record comes again: its end is published again, and it attaches to nothing."""
    desk.rows.put(REQUEST.uid, row("evt-1", "failed"))
    desk.ends.put(REQUEST.uid, end_of(REQUEST, Status.FAILED))
    acknowledged: list[int] = []
    answering: Any = Answered()
    work = desk.work(answering)
    await work.take(event(acknowledged, life(1), 2))
    await work.take(event(acknowledged, REQUEST, 1))
    await asyncio.sleep(0.02)
    assert (acknowledged, told_of(log, "chat-chunks")) == ([1], [])
    await work.take(event(acknowledged, life(1), 2))  # and the new one, too
    answering.done.set()
    await until_none(work)
    assert (acknowledged, answering.asked) == ([1, 2, 2], 1)
