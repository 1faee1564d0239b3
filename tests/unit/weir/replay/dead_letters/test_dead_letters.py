"""A run over the dead letters: each is sent once, whatever fails; a dry run writes nothing."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.weir.chat.helpers import begin, ends, frame
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog, tails_of
from tests.unit.weir.ranges.steps import HeardSteps
from tests.unit.weir.replay.dead_letters.letters import (
    AWAY,
    LETTERS,
    ORDERS,
    REQUESTS,
    a_request,
    all_records,
    by_rabbitmq,
    dead_letter_of_request,
    letters,
    order,
    orders_in,
    put_dead_letter,
    requests_in,
)
from tests.unit.weir.workers import worker_of
from weir import topics
from weir.chat import frames, requests
from weir.chat.frames import Status, Terminal
from weir.chat.requests import OnDisconnect
from weir.envelope import Json
from weir.events.replays import ReplayRedriven
from weir.log.log import LogRefusedError, LogUnavailableError, Partition
from weir.log.partitioner import partition_for
from weir.ranges.errors import CancelledRunError, NothingError, UnfinishedError, UsageError
from weir.ranges.when import Edge
from weir.replay import waiting
from weir.replay.dead_letters import dead_letters
from weir.replay.dead_letters.choosing import CUT, Wanted
from weir.replay.dead_letters.dead_letters import Pace, Redriving
from weir.replay.dead_letters.letters_report import as_text
from weir.replay.dead_letters.outcomes import Outcomes
from weir.replay.dead_letters.resending import HISTORY_MAX, TOO_LARGE, UNWRITABLE, Sender
from weir.replay.runs import RunKind, Runs
from weir.settings import RECORD_OVERHEAD_BYTES, Settings
from weir.worker import Worker

CHUNKS = topics.CHAT_CHUNKS.name
LEAVE = Pace(wait=False)


class Heard(HeardSteps):
    """Collects the output for a person: the run, and its progress."""

    run = ""


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@asynccontextmanager
async def worker_on(log: MemoryLog) -> AsyncIterator[Worker]:
    settings = Settings(kafka_max_message_bytes=(1 << 20) + RECORD_OVERHEAD_BYTES)
    async with tails_of(log) as tails:
        worker = worker_of(log, settings=settings, tails=tails)
        yield worker
        await worker.events.drain(5)


@pytest.fixture
async def worker(log: MemoryLog) -> AsyncIterator[Worker]:
    async with worker_on(log) as made:
        yield made


def redriving(worker: Worker, heard: Heard | None = None) -> Redriving:
    return Redriving(worker, heard or Heard())


async def started(worker: Worker, heard: Heard | None = None, pace: Pace = LEAVE) -> Json:
    log = worker.log
    assert isinstance(log, MemoryLog)
    log.now = time.time()
    heard = heard or Heard()
    run = await redriving(worker).begin(Edge.EARLIEST, Edge.LATEST, Wanted(), by="cli")
    heard.run = run.id
    return await redriving(worker, heard).carry_out(run, pace)


async def resumed(worker: Worker, run_id: str) -> Json:
    run = await Runs(worker.log, worker.events, tenant="default").find(run_id)
    return await redriving(worker).carry_out(run, LEAVE)


async def test_a_request_that_failed_is_sent_again_as_a_new_submission_of_the_same_uid(
    worker: Worker, log: MemoryLog
) -> None:
    old = a_request(1, deadline="2026-01-01T00:00:00Z", on_disconnect=OnDisconnect.CANCEL, priority=3)
    letter = await dead_letter_of_request(log, old, headers=[("mine", b"kept")])
    at = Partition(CHUNKS, partition_for(old.key, 6))
    log.put(at, b"k", b"what stands there")
    report = await started(worker)
    (again,) = requests_in(log)
    assert again == replace(
        old,
        event_id=again.event_id,
        accepted_at=again.accepted_at,
        chunks_from=1,
        deadline=None,
        on_disconnect=OnDisconnect.CONTINUE,
        redriven=again.redriven,
    )
    assert again.event_id != old.event_id
    assert again.accepted_at > old.accepted_at
    (life,) = again.redriven
    reason = "failed: upstream_unavailable"
    assert life == {"run": report["run"], "letter": letter, "at": again.accepted_at, "reason": reason, "rid": "evt-1"}
    (record,) = all_records(log, REQUESTS)
    assert (record.key, record.partition) == (old.key, at.partition)
    assert list(record.headers) == [("mine", b"kept"), ("weir-redriven", f"{report['run']}/{letter}".encode())]


async def test_its_history_is_kept_from_run_to_run_as_far_as_there_is_room(worker: Worker, log: MemoryLog) -> None:
    lives = tuple({"run": f"r-{n}", "rid": f"evt-{n}"} for n in range(HISTORY_MAX))
    marks = [("weir-redriven", f"r-{n}/l-{n}".encode()) for n in range(HISTORY_MAX)]
    await dead_letter_of_request(log, a_request(1, redriven=lives), headers=marks)
    report = await started(worker)
    (again,), (record,) = requests_in(log), all_records(log, REQUESTS)
    assert [life["run"] for life in again.redriven] == [*(f"r-{n}" for n in range(1, HISTORY_MAX)), report["run"]]
    assert again.replaces == "evt-1"
    runs = [value.decode().partition("/")[0] for _, value in record.headers]
    assert runs == [life["run"] for life in again.redriven]


async def test_what_is_no_request_goes_back_as_it_was(worker: Worker, log: MemoryLog) -> None:
    for topic in (REQUESTS, ORDERS, "ai-feedback-events"):
        await put_dead_letter(log, b"no JSON \xff", topic=topic, key=b"\xff", headers=[("h", b"\xfe")])
    await put_dead_letter(log, b"keyless", key=b"")
    report = await started(worker)
    for topic in (REQUESTS, ORDERS, "ai-feedback-events"):
        record = next(one for one in all_records(log, topic) if one.key is not None)
        assert (record.partition, record.key, record.value) == (partition_for(b"\xff", 6), b"\xff", b"no JSON \xff")
        assert record.headers[0] == ("h", b"\xfe")
    (keyless,) = [one for one in all_records(log, REQUESTS) if one.key is None]
    assert keyless.partition == 1  # where it stood
    assert (report["sent"], report["requests"]["sent"]) == (4, 0)
    assert (await Runs(log, worker.events, tenant="default").find(report["run"])).ended is not None


async def test_the_answer_to_a_request_from_rabbitmq_is_ordered_again_after_it(worker: Worker, log: MemoryLog) -> None:
    made = order(log, by_rabbitmq(1))
    order(log, by_rabbitmq(7))  # of one that did not fail
    await dead_letter_of_request(log, by_rabbitmq(1))
    await dead_letter_of_request(log, by_rabbitmq(2))  # retention has its order
    report = await started(worker)
    again = next(one for one in orders_in(log) if one.redriven)
    sent = next(one for one in requests_in(log) if one.uid == "u-1")
    assert again == replace(made, submission=sent.event_id, chunks_from=sent.chunks_from, again=False, redriven=True)
    assert len(orders_in(log)) == 3
    assert report["rabbitmq"] == {"ordered": 1, "gone": 1}


async def test_what_is_too_large_or_gone_meanwhile_is_skipped(worker: Worker, log: MemoryLog) -> None:
    await put_dead_letter(log, b"x" * 2000)
    await put_dead_letter(log, b"small")
    settings = Settings(kafka_max_message_bytes=1000 + RECORD_OVERHEAD_BYTES)
    report = await started(replace(worker, settings=settings))
    assert (report["sent"], report["skipped"]) == (1, {TOO_LARGE: 1})


class Stopping(MemoryLog):
    """Takes so many appends, and no more; the last one may land all the same."""

    left, lands = 1 << 30, False

    async def _append(self, at: Partition, key: bytes | None, value: bytes | None, headers: Any) -> int:
        if self.left > 0:
            self.left -= 1
            return await super()._append(at, key, value, headers)
        if self.left == 0 and self.lands:
            self.left = -1
            await super()._append(at, key, value, headers)
        raise LogUnavailableError("killed")


@pytest.mark.parametrize("lands", [True, False])
async def test_a_run_that_stops_anywhere_and_is_resumed_sends_each_once(
    monkeypatch: pytest.MonkeyPatch, lands: bool
) -> None:
    monkeypatch.setattr(dead_letters, "BATCH", 2)
    stopped = 0
    for left in range(1, 13):
        log, heard = Stopping(), Heard()
        for number in (1, 2):
            order(log, by_rabbitmq(number))
            await dead_letter_of_request(log, by_rabbitmq(number))
        await dead_letter_of_request(log, a_request(3))
        await put_dead_letter(log, b"no JSON")
        async with worker_on(log) as worker:
            log.left, log.lands = left, lands
            report = await _began(worker, heard)
            if report is None:
                stopped += 1
                log.left = 1 << 30
                report = await resumed(worker, heard.run)
            await worker.events.drain(5)
            assert Counter(one.uid for one in well_formed(log)) == {"u-1": 1, "u-2": 1, "u-3": 1}
            assert len(all_records(log, REQUESTS)) == 4
            again = [one for one in orders_in(log) if one.redriven]
            assert sorted(one.uid for one in again) == ["u-1", "u-2"]
            assert {one.submission for one in again} < {one.event_id for one in well_formed(log)}
            told = await Runs(log, worker.events, tenant="default").results(report["run"], ReplayRedriven)
            assert len(told) == report["sent"] == 4
    assert stopped > 8


async def _began(worker: Worker, heard: Heard) -> Json | None:
    """Return the report of a run; None if it has stopped."""
    try:
        return await started(worker, heard)
    except UnfinishedError:
        return None


def well_formed(log: MemoryLog) -> list[Any]:
    return [requests.decode(one.value) for one in all_records(log, REQUESTS) if one.value != b"no JSON"]


async def test_letters_that_come_during_a_run_are_left_for_the_next_one(worker: Worker, log: MemoryLog) -> None:
    await put_dead_letter(log, b"first")
    heard = Heard()
    log.fail_append = lambda at, _: LogUnavailableError("away") if at.topic == REQUESTS else None
    with pytest.raises(UnfinishedError) as stopped:
        await started(worker, heard)
    assert f"--resume {heard.run}" in str(stopped.value)
    log.fail_append = lambda *_: None
    await put_dead_letter(log, b"second")
    report = await resumed(worker, heard.run)
    assert (report["letters"], report["sent"]) == (1, 1)


async def test_a_dry_run_writes_nothing_and_shows_what_it_would_do(worker: Worker, log: MemoryLog) -> None:
    for number in range(8):
        await dead_letter_of_request(log, a_request(number))
    await put_dead_letter(log, b"x" * 100, value_max_bytes=50)
    before = {at: len(records) for at, records in log.records.items()}
    report = await redriving(worker).look(Edge.EARLIEST, Edge.LATEST, Wanted())
    await worker.events.drain(5)
    assert {at: len(records) for at, records in log.records.items()} == before
    assert report["by"] == [{"topic": REQUESTS, "reason": "failed: upstream_unavailable", "letters": 8, "sent": 0}]
    assert report["skipped"] == {CUT: 1}
    text = as_text(report)
    assert "would be sent" in text
    assert text.count("evt-") == 5
    assert "Bearer" not in text
    assert AWAY["message"] not in text


async def test_the_ends_are_waited_for_and_the_run_ends_with_its_report(worker: Worker, log: MemoryLog) -> None:
    heard = Heard()
    for number in range(5):
        await dead_letter_of_request(log, a_request(number))
    report = await _with_ends(worker, log, heard)
    assert report["requests"] == {
        "sent": 5,
        "waited": True,
        "ends": {"completed": 2, "failed": 1, "cancelled": 1, "refused": 1},
    }
    assert [(step.label, step.done) for step in heard.all] == [("sent again", 5), ("ended", 5)]
    run = await Runs(log, worker.events, tenant="default").find(report["run"])
    assert run.ended is not None
    assert run.ended.summary == report
    assert await resumed(worker, report["run"]) == report
    assert "5 of 5 letters sent again" in as_text(report)


async def _with_ends(worker: Worker, log: MemoryLog, heard: Heard) -> Json:
    """A worker that brings each request to another end as soon as it is in the log."""
    append = log._append

    async def answered(at: Partition, key: bytes | None, value: bytes | None, headers: Any) -> int:
        offset = await append(at, key, value, headers)
        if at.topic == REQUESTS:
            request = requests.decode(value)
            for one in _ends(int(request.uid[-1]), request.event_id):
                told = replace(one, uid=request.uid)
                log.put(Partition(CHUNKS, at.partition), request.key, frames.encode(told, event_id="e", tenant="t"))
        return offset

    log._append = answered  # type: ignore[method-assign]
    return await started(worker, heard, Pace(patience_s=5))


def _ends(which: int, rid: str) -> list[frames.Frame]:
    own = replace(begin("a"), rid=rid)
    failed = Terminal(status=Status.FAILED, error={"message": "no", "status": 502})
    return [
        [own, replace(ends("a"), rid=rid)],
        [own, replace(ends("a", failed), rid=rid)],
        [frame(frames.FrameKind.TERMINAL, rid="", terminal=Terminal(status=Status.CANCELLED))],
        [frame(frames.FrameKind.CONFLICT, rid="evt-other", submission=rid)],
        [own, replace(ends("a"), rid=rid)],
    ][which]


async def test_where_nothing_happens_any_more_the_command_stops_and_can_go_on(worker: Worker, log: MemoryLog) -> None:
    await dead_letter_of_request(log, a_request(1))
    heard = Heard()
    with pytest.raises(UnfinishedError, match="is a worker running") as stopped:
        await started(worker, heard, Pace(patience_s=0.05))
    assert heard.run in str(stopped.value)
    assert stopped.value.EXIT_CODE == 5


async def test_a_run_of_another_kind_is_not_resumed(worker: Worker, log: MemoryLog) -> None:
    log.now = time.time()
    run = await Runs(log, worker.events, tenant="default").begin(RunKind.FEEDBACK, {}, [], by="cli")
    with pytest.raises(UsageError, match="is not a run over dead letters but of feedback"):
        await resumed(worker, run.id)


async def cancel(worker: Worker, run_id: str) -> None:
    runs = Runs(worker.log, worker.events, tenant="default")
    await runs.end(await runs.find(run_id), {}, status="cancelled")


async def test_a_run_that_was_cancelled_sends_nothing_more_and_stays_cancelled(
    worker: Worker, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "BATCH", 2)
    for number in range(4):
        await dead_letter_of_request(log, a_request(number))
    log.now = time.time()
    run = await redriving(worker).begin(Edge.EARLIEST, Edge.LATEST, Wanted(), by="cli")
    send = Sender.send

    async def and_cancelled(sender: Sender, batch: Any) -> None:
        await send(sender, batch)
        await cancel(worker, run.id)

    monkeypatch.setattr(Sender, "send", and_cancelled)
    for go_on in (redriving(worker).carry_out(run, LEAVE), resumed(worker, run.id)):
        with pytest.raises(CancelledRunError, match=f"run {run.id} was cancelled") as stopped:
            await go_on
        assert stopped.value.EXIT_CODE == 7
    assert len(requests_in(log)) == 2
    found = await Runs(log, worker.events, tenant="default").find(run.id)
    assert found.ended is not None
    assert found.ended.status == "cancelled"


async def test_cancelling_a_run_that_waits_stops_it(
    worker: Worker, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "WANTED_S", 0.05)
    await dead_letter_of_request(log, a_request(1))
    log.now = time.time()
    run = await redriving(worker).begin(Edge.EARLIEST, Edge.LATEST, Wanted(), by="cli")
    task = asyncio.create_task(redriving(worker).carry_out(run, Pace(patience_s=60)))
    await log.until(lambda: bool(requests_in(log)))
    await cancel(worker, run.id)
    with pytest.raises(CancelledRunError):
        await asyncio.wait_for(task, WAIT_S)


async def test_a_run_that_is_cancelled_after_its_last_letter_is_not_completed(
    worker: Worker, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put_dead_letter(log, b"no JSON")
    log.now = time.time()
    run = await redriving(worker).begin(Edge.EARLIEST, Edge.LATEST, Wanted(), by="cli")
    follow = Outcomes.follow

    async def and_cancelled(waiting: Outcomes, sent: Any) -> None:
        await follow(waiting, sent)
        await cancel(worker, run.id)

    monkeypatch.setattr(Outcomes, "follow", and_cancelled)
    with pytest.raises(CancelledRunError):
        await redriving(worker).carry_out(run, Pace(patience_s=5))


async def test_a_run_that_failed_can_be_resumed(worker: Worker, log: MemoryLog) -> None:
    await dead_letter_of_request(log, a_request(1))
    log.now = time.time()
    run = await redriving(worker).begin(Edge.EARLIEST, Edge.LATEST, Wanted(), by="cli")
    await Runs(log, worker.events, tenant="default").end(run, {"error": "no"}, status="failed")
    assert (await resumed(worker, run.id))["sent"] == 1


async def test_where_a_later_letter_tells_that_none_is_meant_the_run_says_that_it_failed(
    worker: Worker, log: MemoryLog
) -> None:
    await dead_letter_of_request(log, a_request(1))
    await dead_letter_of_request(log, a_request(1, event_id="evt-2"), error={"message": "no", "code": "other"})
    log.now = time.time()
    wanted = Wanted(reason="connection")
    run = await redriving(worker).begin(Edge.EARLIEST, Edge.LATEST, wanted, by="http")
    with pytest.raises(NothingError):
        await redriving(worker).carry_out(run, LEAVE)
    ended = (await Runs(log, worker.events, tenant="default").find(run.id)).ended
    assert ended is not None
    assert (ended.status, ended.summary) == ("failed", {"error": "no dead letter in this range matches"})


async def test_more_letters_than_can_be_held_are_too_many(
    worker: Worker, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "RANGE_MAX", 3)
    for number in range(4):
        await dead_letter_of_request(log, a_request(number))
    for decide in (
        redriving(worker).look(Edge.EARLIEST, Edge.LATEST, Wanted()),
        redriving(worker).begin(Edge.EARLIEST, Edge.LATEST, Wanted(), by="http"),
    ):
        with pytest.raises(UsageError, match=r"^--from: 4 letters .* smaller range"):
            await decide


def nested(levels: int) -> bytes:
    """A request that can be read, and not written, if it has levels enough."""
    value = requests.encode(a_request(1, body={"model": "m", "messages": "DEEP"}))
    return value.replace(b'"DEEP"', b"[" * levels + b"]" * levels)


async def test_a_letter_that_cannot_be_written_again_is_skipped_and_no_other_one_suffers(
    worker: Worker, log: MemoryLog
) -> None:
    await dead_letter_of_request(log, a_request(1), value=nested(900))
    await put_dead_letter(log, b"refused")
    await dead_letter_of_request(log, a_request(2))
    await put_dead_letter(log, b"fine")
    log.fail_append = lambda _, value: LogRefusedError("too large") if value == b"refused" else None
    report = await started(worker)
    assert (report["letters"], report["sent"], report["skipped"]) == (4, 2, {UNWRITABLE: 2})
    assert {record.value for record in all_records(log, REQUESTS)} >= {b"fine"}
    run = await Runs(log, worker.events, tenant="default").find(report["run"])
    assert run.ended is None  # the end of the one request is still open


async def test_its_key_counts_where_it_is_looked_at_whether_it_fits(worker: Worker, log: MemoryLog) -> None:
    await put_dead_letter(log, b"x" * 700, key=b"k" * 300)
    settings = Settings(kafka_max_message_bytes=1000 + RECORD_OVERHEAD_BYTES)
    report = await started(replace(worker, settings=settings))
    assert (report["sent"], report["skipped"]) == (0, {TOO_LARGE: 1})


async def test_no_more_are_sent_in_a_second_than_was_asked_for(worker: Worker, log: MemoryLog) -> None:
    for number in range(4):
        await dead_letter_of_request(log, a_request(number))
    began = time.monotonic()
    await started(worker, pace=Pace(rate=40, wait=False))
    assert time.monotonic() - began >= 0.1
    assert len(letters(log)) == 4
    assert {at.topic for at in log.records} >= {LETTERS, REQUESTS}
