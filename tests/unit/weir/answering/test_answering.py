"""Look, mark, read back, call: on a log in memory, with the real tails and a fake model."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.unit.weir.answering.helpers import (
    AT,
    BODY,
    LONG_LEASE_S,
    REQUEST,
    SHORT_LEASE_S,
    hanging,
    stage,
    told,
    words,
)
from tests.unit.weir.chat.helpers import DONE, beat, begin, chunk, ends, frame, restart, says
from tests.unit.weir.log.memory_log import AWAY, WAIT_S, MemoryLog
from weir.answering.continuing import Continuation
from weir.answering.errors import NotBegunError
from weir.chat.fold import Answer
from weir.chat.frames import CLAIMS, Frame, FrameKind, Status, Terminal
from weir.envelope import Json
from weir.llm.choices import WEIR_FINISH
from weir.log.log import LogError, Partition

# -- a request that is new


async def test_a_new_request_begins_says_and_ends() -> None:
    async with stage(words("x", "y", "z")) as one:
        answer = await one.answer()
    kinds = [frame.kind for frame in one.log.frames(AT)]
    assert (kinds[0], kinds[-1], set(kinds[1:-1])) == (FrameKind.BEGIN, FrameKind.TERMINAL, {FrameKind.CHUNKS})
    assert told(one) == "xyz"
    assert one.model.asked == [BODY]
    (mark,) = one.written(FrameKind.BEGIN)
    assert (mark.after, mark.fingerprint, mark.attempt) == (-1, REQUEST.fingerprint, answer.attempt)
    assert one.attempts == [answer.attempt]
    assert (answer.first, answer.last) == (0, len(kinds) - 1)
    ended = answer.terminal
    assert ended is not None
    assert (ended.status, ended.finish_reason, ended.usage) == (Status.COMPLETED, "stop", {"total_tokens": 3})
    assert ended.timings["total_ms"] >= ended.timings["first_chunk_ms"] >= 0


async def test_the_model_is_called_only_after_the_mark_was_read_back() -> None:
    log = MemoryLog()
    log.appending = asyncio.Event()
    async with stage(words("x"), log=log) as one:
        answering = asyncio.create_task(one.answer())
        await asyncio.sleep(0.05)
        assert one.model.asked == []
        log.appending.set()
        await answering
    assert one.model.asked == [BODY]


async def test_reading_starts_where_the_request_says() -> None:
    log = MemoryLog()
    old = begin("old")
    async with stage(words("x"), log=log) as one:
        one.write(old, says("old", 0, "no"), replace(ends("old"), rid="evt-0"))
        answer = await one.answer(replace(REQUEST, chunks_from=3))
    assert answer.first == 3
    assert answer.terminal is not None


async def test_an_earlier_request_of_the_same_uid_is_another_request() -> None:
    """A uid that is sent again after its request expired."""
    async with stage(words("x")) as one:
        one.write(*(replace(f, rid="evt-0") for f in (begin("old"), says("old", 0, "no"), ends("old"))))
        answer = await one.answer()
    assert (answer.first, told(one)) == (3, "x")


# -- a request that was handed out before


async def test_a_request_that_has_ended_is_not_called_again() -> None:
    async with stage() as one:
        last = one.write(begin("a"), says("a", 0, "x"), ends("a"))
        answer = await one.answer()
    assert (answer.terminal, answer.last, one.model.asked) == (DONE, last, [])
    assert len(one.log.frames(AT)) == last + 1, "nothing is written either"


async def test_an_attempt_that_is_alive_is_followed_to_its_end() -> None:
    async with stage() as one:
        one.write(begin("a"), says("a", 0, "x"))
        await one.slots.acquire()  # following takes no place
        following = asyncio.create_task(one.answer())
        await asyncio.sleep(0.02)
        one.write(says("a", 1, "y"), ends("a"))
        answer = await following
    assert (answer.terminal, answer.attempt, one.model.asked, one.attempts) == (DONE, "a", [], [])


async def test_an_attempt_that_only_beats_is_alive() -> None:
    async with stage(lease_s=SHORT_LEASE_S) as one:
        one.write(begin("a"))
        following = asyncio.create_task(one.answer())
        for _ in range(15):
            await asyncio.sleep(SHORT_LEASE_S / 10)
            one.write(beat("a"))
        one.write(ends("a"))
        answer = await following
    assert (answer.terminal, answer.attempts, one.model.asked) == (DONE, 1, [])


async def test_an_attempt_that_died_is_said_again_after_the_lease() -> None:
    loop = asyncio.get_running_loop()
    async with stage(words("B", "C"), lease_s=SHORT_LEASE_S) as one:
        last = one.write(begin("a"), says("a", 0, "x"))
        since = loop.time()
        answer = await one.answer()
        assert loop.time() - since >= SHORT_LEASE_S * 0.9
        (mark,) = one.written(FrameKind.RESTART)
        assert mark.after == last
        one.write(says("a", 1, "zombie"), ends("a"))
    assert (answer.attempts, answer.restarts, answer.attempt) == (2, 1, mark.attempt)
    assert told(one) == "BC"
    assert one.model.asked == [BODY]


async def test_while_the_log_is_away_every_attempt_is_silent_and_none_is_dead() -> None:
    async with stage(lease_s=SHORT_LEASE_S) as one:
        one.write(begin("other"), says("other", 0, "x"))
        following = asyncio.create_task(one.answer())
        await asyncio.sleep(0.02)
        one.log.appending = one.log.reading = asyncio.Event()
        await asyncio.sleep(2 * SHORT_LEASE_S)
        one.log.appending.set()
        await asyncio.sleep(0.02)  # a mark that waited for the log would land now
        one.write(says("other", 1, "y"), ends("other"))
        answer = await following
        assert (answer.attempt, answer.attempts, answer.next_seq) == ("other", 1, 2)
        assert one.model.asked == []
        assert one.written(FrameKind.RESTART) == []


async def test_frames_of_others_do_not_keep_a_dead_attempt_alive() -> None:
    async with stage(words("B"), lease_s=SHORT_LEASE_S) as one:
        one.write(begin("a"))

        async def talk() -> None:
            while True:
                one.write(beat("zombie"), replace(beat("a"), rid="evt-0"))
                await asyncio.sleep(SHORT_LEASE_S / 10)

        talking = asyncio.create_task(talk())
        answer = await one.answer()
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
    assert (answer.attempts, told(one)) == (2, "B")


async def test_a_worker_that_is_alone_takes_over_at_once() -> None:
    async with stage(words("B"), alone=True) as one:
        one.write(begin("a"), says("a", 0, "x"))
        answer = await one.answer()
    assert (answer.restarts, told(one)) == (1, "B")


async def test_a_record_that_is_no_frame_stops_no_worker() -> None:
    async with stage(words("x")) as one:
        for value in (b"{", None, b'{"data": 1}'):
            one.log.put(AT, REQUEST.key, value)
        answer = await one.answer()
    assert answer.first == 3
    assert answer.terminal is not None


# -- two at once


async def test_a_mark_that_came_second_is_void_and_the_first_is_followed() -> None:
    log = MemoryLog()
    rival = [begin("rival")]

    def overtake(_: Partition, _value: bytes | None) -> LogError | None:
        if rival:
            one.write(rival.pop())
        return None

    log.fail_append = overtake
    async with stage(log=log) as one:
        answering = asyncio.create_task(one.answer())
        await log.until(lambda: len(log.values(AT)) == 2)
        await asyncio.sleep(0.02)
        one.write(says("rival", 0, "x"), ends("rival"))
        answer = await answering
    assert (answer.attempt, answer.attempts, one.model.asked, one.attempts) == ("rival", 1, [], [])


async def test_a_takeover_is_void_if_the_attempt_spoke_after_all() -> None:
    log = MemoryLog()
    late = [says("a", 0, "x")]

    def speak(_: Partition, _value: bytes | None) -> LogError | None:
        if late:
            one.write(late.pop())
        return None

    log.fail_append = speak
    async with stage(log=log, lease_s=SHORT_LEASE_S) as one:
        one.write(begin("a"))
        answering = asyncio.create_task(one.answer())
        await log.until(lambda: len(log.values(AT)) == 3)
        one.write(ends("a"))
        answer = await answering
    assert (answer.attempt, answer.restarts, one.model.asked) == ("a", 0, [])


async def test_a_worker_that_was_replaced_stops_calling_and_follows() -> None:
    async with stage(hanging("x")) as one:
        answering = asyncio.create_task(one.answer())
        await one.log.until(lambda: len(one.log.values(AT)) == 2)
        one.write(restart("b", after=1))
        async with asyncio.timeout(WAIT_S):
            while one.model.open:
                await asyncio.sleep(0.01)
        assert not answering.done()
        one.write(says("b", 0, "B"), ends("b"))
        answer = await answering
    assert (answer.attempt, told(one)) == ("b", "B")


async def test_a_terminal_of_another_writer_ends_the_call() -> None:
    async with stage(hanging("x")) as one:
        answering = asyncio.create_task(one.answer())
        await one.log.until(lambda: len(one.log.values(AT)) == 2)
        (mark,) = one.written(FrameKind.BEGIN)
        one.write(ends(mark.attempt))
        answer = await answering
    assert answer.terminal == DONE


@pytest.mark.parametrize("seed", range(5))
async def test_of_many_workers_that_start_at_once_one_calls(seed: int) -> None:
    log = MemoryLog()
    async with (
        stage(words("x", "y"), log=log) as one,
        stage(words("x", "y"), log=log) as two,
        stage(words("x", "y"), log=log) as three,
    ):
        stages = [one, two, three]
        random.Random(seed).shuffle(stages)
        answers = await asyncio.gather(*(s.answer() for s in stages))
    assert sum(len(s.model.asked) for s in stages) == 1
    assert len({(a.attempt, a.last, a.terminal is None) for a in answers}) == 1
    assert told(one) == "xy"


# -- a log that is slow to show what was written


@pytest.mark.parametrize("looks", [1, 3], ids=["once", "again and again"])
@pytest.mark.parametrize("before", [(), (begin("dead"), says("dead", 0, "x"))], ids=["new", "half-said"])
async def test_a_mark_that_is_read_back_late_is_no_takeover(looks: int, before: tuple[Frame, ...]) -> None:
    """A broker that throttles readers shows a mark seconds after it was written."""
    async with stage(words("A", "B"), alone=True, read_back_s=0.05) as one:
        one.write(*before)
        one.log.showing = asyncio.Event()
        waiting = asyncio.create_task(one.answer())
        await one.log.until(lambda: len(one.log.values(AT)) >= len(before) + looks)
        one.log.show()
        answer = await waiting
    assert answer.attempts == len([frame for frame in before if frame.kind is FrameKind.BEGIN]) + 1
    assert (told(one), len(one.model.asked), len(one.attempts)) == ("AB", 1, 1)


async def test_a_mark_that_another_worker_has_replaced_meanwhile_is_not_called_for() -> None:
    async with stage(read_back_s=0.05) as one:
        one.log.showing = asyncio.Event()
        waiting = asyncio.create_task(one.answer())
        await one.log.until(lambda: bool(one.log.values(AT)))
        one.write(restart("theirs", after=0), says("theirs", 0, "x"), ends("theirs"))
        one.log.show()
        answer = await waiting
    assert (answer.attempt, one.model.asked, one.attempts) == ("theirs", [], [])


# -- a log that fails


def once(error: LogError, kind: FrameKind) -> MemoryLog:
    """A log that fails once, at the first frame of a kind."""
    log, failed = MemoryLog(), list[bytes | None]()

    def fail(at: Partition, value: bytes | None) -> LogError | None:
        mark = b'"mark":"' + kind.encode() if kind is not FrameKind.CHUNKS else b'"chunks":'
        if not failed and at == AT and mark in (value or b""):
            failed.append(value)
            return error
        return None

    log.fail_append = fail
    return log


@pytest.mark.parametrize("kind", [FrameKind.BEGIN, FrameKind.CHUNKS, FrameKind.TERMINAL])
async def test_after_a_failed_append_the_log_is_looked_at_again(
    kind: FrameKind, caplog: pytest.LogCaptureFixture
) -> None:
    """At once: a worker that knows that its own attempt is over need not wait for the lease."""
    log = once(AWAY, kind)
    async with stage(words("x", "y"), words("B", "C"), log=log, lease_s=LONG_LEASE_S) as one:
        answer = await one.answer()
    assert answer.terminal is not None
    assert answer.terminal.status is Status.COMPLETED
    # Before a word was said nothing is repeated, and after the last one only the terminal is missing.
    assert told(one) == ("BC" if kind is FrameKind.CHUNKS else "xy")
    assert len(one.model.asked) == (2 if kind is FrameKind.CHUNKS else 1)
    assert "looking again" in caplog.text


async def test_a_frame_that_failed_while_the_model_paused_leaves_no_gap() -> None:
    log = once(AWAY, FrameKind.CHUNKS)
    failed = asyncio.Event()

    async def play() -> AsyncGenerator[Json, None]:
        yield chunk("x")
        await failed.wait()
        yield chunk("y")
        await asyncio.Event().wait()

    async with stage(play, words("B", "C"), log=log, lease_s=SHORT_LEASE_S) as one:
        answering = asyncio.create_task(one.answer())
        await one.log.until(lambda: len(one.log.values(AT)) == 1)
        await asyncio.sleep(0.02)
        failed.set()
        await answering
        assert told(one) == "BC"


async def test_a_terminal_that_landed_though_its_append_failed_ends_the_request() -> None:
    """An ambiguous produce: the record that is read counts."""
    log = MemoryLog()

    def fail_but_land(at: Partition, value: bytes | None) -> LogError | None:
        if b'"mark":"terminal"' in (value or b""):
            log.put(at, REQUEST.key, value)
            return AWAY
        return None

    log.fail_append = fail_but_land
    async with stage(words("x"), log=log) as one:
        answer = await one.answer()
    assert answer.terminal is not None
    assert (len(one.model.asked), told(one)) == (1, "x")


async def test_a_log_that_is_away_at_first_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    log = MemoryLog()
    log.broken = AWAY
    async with stage(words("x"), log=log) as one:
        answering = asyncio.create_task(one.answer())
        async with asyncio.timeout(WAIT_S):
            while "looking again" not in caplog.text:
                await asyncio.sleep(0.01)
        log.broken = None
        answer = await answering
    assert answer.terminal is not None
    assert told(one) == "x"


# -- places


async def test_a_place_is_held_while_calling_and_given_back_while_following() -> None:
    async with stage(hanging("x")) as one:
        answering = asyncio.create_task(one.answer())
        await one.log.until(lambda: len(one.log.values(AT)) == 2)
        assert not one.slots.acquire_nowait()
        one.write(restart("b", after=1))
        async with asyncio.timeout(WAIT_S):
            await one.slots.acquire()
        one.write(ends("b"))
        await answering


async def test_without_a_free_place_nothing_is_marked() -> None:
    async with stage(words("x")) as one:
        await one.slots.acquire()
        answering = asyncio.create_task(one.answer())
        await asyncio.sleep(0.05)
        assert one.log.values(AT) == []
        one.slots.release()
        await answering
    assert told(one) == "x"


async def test_a_worker_that_stops_begins_nothing() -> None:
    async with stage() as one:
        one.membership.draining = True
        with pytest.raises(NotBegunError):
            await one.answer()
    assert one.log.values(AT) == []


async def test_a_worker_that_stops_ends_what_it_has_begun() -> None:
    async with stage(words("x")) as one:
        answering = asyncio.create_task(one.answer())
        await one.log.until(lambda: len(one.log.values(AT)) == 1)
        one.membership.draining = True
        assert (await answering).terminal is not None
    assert told(one) == "x"


async def test_a_worker_that_stops_does_not_take_over_what_it_follows() -> None:
    async with stage(lease_s=SHORT_LEASE_S) as one:
        one.write(begin("a"), says("a", 0, "x"))
        one.membership.draining = True
        with pytest.raises(NotBegunError):
            await one.answer()
    assert one.written(FrameKind.RESTART) == []


@pytest.mark.parametrize("by", [None, "inferred", "ANSWER_MAX_TOKENS"])
async def test_an_answer_that_was_said_whole_gets_its_terminal_without_a_call(by: str | None) -> None:
    """Its worker died between the last chunk and the terminal."""
    async with stage(alone=True) as one:
        said = [chunk("Hello"), {**chunk(None, "stop"), "usage": {"total_tokens": 7}}]
        said[1]["choices"][0] |= {} if by is None else {WEIR_FINISH: by}
        one.write(begin("att-dead"), frame(FrameKind.CHUNKS, "att-dead", chunks=said))
        answer = await one.answer()
        (taken,) = one.written(FrameKind.TAKEOVER)
        assert taken.after == 1
    assert one.model.asked == []
    assert answer.terminal is not None
    assert (answer.terminal.status, answer.terminal.finish_reason) == (Status.COMPLETED, "stop")
    assert (answer.terminal.weir_finish, answer.terminal.usage) == (by, {"total_tokens": 7})
    assert (answer.next_seq, answer.restarts, answer.gap) == (2, 0, False)


async def test_a_word_that_did_not_reach_the_log_closes_the_call_of_a_model_that_pauses() -> None:
    log = once(AWAY, FrameKind.CHUNKS)
    async with stage(hanging("x"), words("A", "B"), log=log, lease_s=SHORT_LEASE_S) as one:
        answer = await one.answer()
    assert answer.terminal is not None
    assert told(one) == "AB"


# -- an answer that is half said


def going_on(log: MemoryLog | None = None, **limits: Any) -> Any:
    return partial(stage, log=log, continuation=Continuation.PREFILL, **limits)


async def test_a_half_said_answer_is_gone_on_with_where_the_model_can() -> None:
    async with going_on(lease_s=SHORT_LEASE_S)(words("lo", "!")) as one:
        one.write(begin("dead"), says("dead", 0, "Hel"))
        answer = await one.answer()
        assert told(one) == "Hello!"
        assert (answer.attempts, answer.restarts) == (2, 0)
        assert one.model.asked[0]["messages"][-1] == {"role": "assistant", "content": "Hel"}


async def test_a_half_said_answer_that_a_restart_took_back_is_not_gone_on_with() -> None:
    async with going_on(lease_s=SHORT_LEASE_S)(words("lo", "!")) as one:
        one.write(begin("a"), says("a", 0, "No"), restart("b", after=1), says("b", 0, "Hel"))
        await one.answer()
        assert told(one) == "Hello!"
        assert one.model.asked[0]["messages"][-1]["content"] == "Hel"


async def test_an_attempt_that_was_handed_off_is_not_waited_for() -> None:
    async with going_on(lease_s=LONG_LEASE_S)(words("lo")) as one:
        one.write(begin("gone"), says("gone", 0, "Hel"), frame(FrameKind.HANDOFF, "gone", seq=1))
        await one.answer()
        assert told(one) == "Hello"


# -- a request whose client does not want the answer any more


async def test_a_request_past_its_deadline_is_not_sent_to_the_model() -> None:
    late = replace(REQUEST, deadline="2020-01-01T00:00:00.000000Z")
    async with stage() as one:
        answer = await one.answer(late)
        assert answer.terminal is not None
        assert answer.terminal.status is Status.EXPIRED
        assert one.written(FrameKind.BEGIN) == []


async def test_a_request_whose_beginning_the_log_does_not_keep_is_not_begun() -> None:
    """Another worker may have answered it already."""
    log = MemoryLog()
    for _ in range(3):
        log.put(AT, b"another", b"x")
    log.starts[AT] = 2
    async with stage(words("x"), log=log) as one:
        answer = await one.answer(replace(REQUEST, chunks_from=1))
        assert answer.terminal is not None
        assert answer.terminal.error is not None
        assert (answer.terminal.status, answer.terminal.error["code"]) == (Status.EXPIRED, "log_truncated")
        await one.answer(replace(REQUEST, uid="other", event_id="evt-2", chunks_from=2))
        assert len(one.model.asked) == 1


# -- a log that is not the one that it was


def expired_as_forgotten(answer: Answer) -> bool:
    error = answer.terminal.error if answer.terminal is not None else None
    assert answer.terminal is not None
    assert error is not None
    assert (answer.terminal.status, error["code"], error["status"]) == (Status.EXPIRED, "log_truncated", 410)
    return True


@pytest.mark.parametrize("records", [0, 1, 99], ids=["empty", "one record", "one less"])
async def test_a_request_from_behind_the_logs_end_expires_without_a_mark(records: int) -> None:
    log = MemoryLog()
    for _ in range(records):
        log.put(AT, b"another", b"x")
    async with stage(log=log) as one:
        assert expired_as_forgotten(await one.answer(replace(REQUEST, chunks_from=100)))
    assert len(log.records[AT]) == records + 1


async def test_a_request_of_another_topic_expires_without_a_mark() -> None:
    """The new one is longer than the old one was, so its end says nothing."""
    log = MemoryLog()
    log.topic_ids[AT.topic] = "new"
    for _ in range(20):
        log.put(AT, b"another", b"x")
    async with stage(words("x"), log=log) as one:
        assert expired_as_forgotten(await one.answer(replace(REQUEST, chunks_from=10, chunks_topic_id="old")))
        await one.answer(replace(REQUEST, uid="other", event_id="evt-2", chunks_from=10, chunks_topic_id="new"))
    assert len(one.model.asked) == 1


async def test_a_request_that_is_answered_while_the_log_is_replaced_expires() -> None:
    async with stage(hanging("x")) as one:
        answering = asyncio.create_task(one.answer())
        while told(one) != "x":
            await asyncio.sleep(0.005)
        one.log.replace(AT, "new")
        assert expired_as_forgotten(await answering)
        assert one.model.open == 0
    assert [frame.kind for frame in one.log.frames(AT)] == [FrameKind.TERMINAL]


async def test_a_mark_that_lands_before_what_was_read_is_no_mark() -> None:
    """The topic was recreated, and the feed has not noticed it yet."""
    log = MemoryLog()

    def replaced(at: Partition, value: bytes | None) -> None:
        if value is not None and b"chat.restart" in value:
            log.records[at] = []
            log.fail_append = lambda *_: None

    async with stage(log=log, lease_s=SHORT_LEASE_S) as one:
        one.write(begin("b"), says("b", 0, "x"), frame(FrameKind.HANDOFF, "b", seq=1))
        log.fail_append = replaced
        answering = asyncio.create_task(one.answer())
        await log.until(lambda: bool(one.written(FrameKind.TERMINAL)))
        assert len(one.written(FrameKind.RESTART)) == 1
        log.replace(AT, "new")
        assert expired_as_forgotten(await answering)


async def test_marks_that_never_count_are_few_and_come_to_an_end() -> None:
    """Only a defect makes so many: then the request ends, and not the log's space."""
    log, theirs = MemoryLog(), [-1]  # where the last mark of another worker is closed

    def faster(_: Partition, value: bytes | None) -> None:
        if value is not None and b'"after"' in value:
            attempt = f"b{len(theirs)}"
            mark = frame(FrameKind.TAKEOVER, attempt, after=theirs[-1])
            theirs.append(one.write(mark, frame(FrameKind.HANDOFF, attempt)))

    log.fail_append = faster
    async with stage(log=log) as one:
        answer = await one.answer()
    assert answer.terminal is not None
    assert answer.terminal.error is not None
    assert (answer.terminal.status, answer.terminal.error["code"]) == (Status.EXPIRED, "void_marks")
    ours = [mark for mark in log.frames(AT) if mark.kind in CLAIMS and not mark.attempt.startswith("b")]
    assert len(ours) == 4


@pytest.mark.parametrize("deadline", ["2999-01-01T00:00:00Z", "soon", None])
async def test_a_request_with_time_left_is_answered(deadline: str | None) -> None:
    async with stage(words("x")) as one:
        answer = await one.answer(replace(REQUEST, deadline=deadline))
        assert answer.terminal is not None
        assert answer.terminal.status is Status.COMPLETED


async def test_a_request_that_was_cancelled_before_it_began_is_not_begun() -> None:
    async with stage() as one:
        one.write(frame(FrameKind.TERMINAL, terminal=Terminal(status=Status.CANCELLED)))
        answer = await one.answer()
        assert answer.terminal == Terminal(status=Status.CANCELLED)
        assert one.written(FrameKind.BEGIN) == []


async def test_a_request_that_is_cancelled_ends_its_call_at_once() -> None:
    async with stage(hanging("x")) as one:
        answering = asyncio.create_task(one.answer())
        while told(one) != "x":
            await asyncio.sleep(0.005)
        one.write(frame(FrameKind.TERMINAL, terminal=Terminal(status=Status.CANCELLED)))
        async with asyncio.timeout(1):
            answer = await answering
        assert one.model.open == 0
        assert (answer.terminal, told(one)) == (Terminal(status=Status.CANCELLED), "x")
