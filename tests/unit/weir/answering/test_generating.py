"""One attempt: the call of the LLM and its frames, up to the terminal, a handoff or another call."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from tests.unit.weir.answering.helpers import (
    AT,
    SHORT_LEASE_S,
    hanging,
    stage,
    told,
    words,
)
from tests.unit.weir.chat.helpers import DONE, begin, chunk, ends, frame, restart, says
from tests.unit.weir.log.memory_log import MemoryLog
from weir.answering.continuing import Continuation
from weir.chat.frames import Frame, FrameKind, Status
from weir.envelope import Json
from weir.llm.errors import AnswerTooLongError, UpstreamRefusedError, UpstreamUnavailableError
from weir.log.log import RecordTooLargeError


@pytest.mark.parametrize("known", [True, False], ids=["known", "lowered meanwhile"])
async def test_a_chunk_that_the_topic_does_not_take_costs_one_call(*, known: bool) -> None:
    log = MemoryLog()
    if known:
        log.limits[AT.topic] = 4000
    else:
        log.fail_append = lambda _, value: RecordTooLargeError("4000") if len(value or b"") > 4000 else None
    async with stage(words("a", "x" * 5000, "b"), log=log) as one:
        answer = await one.answer()
    assert answer.terminal is not None
    assert answer.terminal.error is not None
    assert (answer.terminal.status, answer.terminal.error["code"]) == (Status.FAILED, "upstream_invalid_response")
    assert (told(one), len(one.model.asked), answer.attempts) == ("a", 1, 1)


async def test_a_chunk_that_no_record_takes_ends_an_answer_that_breaks_off_behind_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The broken call alone would be continued, and is noticed while the chunk waits for the frame before it."""
    log = MemoryLog()
    log.limits[AT.topic] = 4000
    log.appending = asyncio.Event()
    breaks = UpstreamUnavailableError("gone", status=502, kind="upstream_error")
    play = words("a", "x" * 5000, then=breaks)
    async with stage(play, log=log, continuation=Continuation.PREFILL) as one:
        answering = asyncio.create_task(one.answer())
        log.appending.set()
        await log.until(lambda: len(log.values(AT)) == 1)
        log.appending.clear()
        await asyncio.sleep(0.05)
        log.appending.set()
        answer = await answering
    assert answer.terminal is not None
    assert answer.terminal.error is not None
    assert (answer.terminal.status, answer.terminal.error["code"]) == (Status.FAILED, "upstream_invalid_response")
    assert (told(one), len(one.model.asked), answer.attempts) == ("a", 1, 1)
    assert "defect" not in caplog.text


async def test_chunks_that_wait_together_are_shared_out_over_frames_that_the_topic_takes() -> None:
    log = MemoryLog()
    log.limits[AT.topic] = 4000
    text = ["x" * 1000, *("y" * 500 for _ in range(20))]
    async with stage(words(*text), log=log) as one:
        answer = await one.answer()
    assert answer.terminal is not None
    assert (answer.terminal.status, told(one)) == (Status.COMPLETED, "".join(text))


@pytest.mark.parametrize("said", [(), ("x", "y")])
async def test_a_model_that_fails_ends_the_request_with_its_error(said: tuple[str, ...]) -> None:
    error = UpstreamRefusedError("no credit", status=402, kind="billing", code="c", param="p")
    async with stage(words(*said, then=error)) as one:
        answer = await one.answer()
    assert answer.terminal is not None
    assert answer.terminal.status is Status.FAILED
    assert answer.terminal.error == {
        "message": "no credit",
        "type": "billing",
        "param": "p",
        "code": "c",
        "status": 402,
    }
    assert told(one) == "".join(said)
    assert len(one.model.asked) == 1


async def test_a_defect_is_told_without_its_details(caplog: pytest.LogCaptureFixture) -> None:
    async with stage(words("x", then=ZeroDivisionError("secret of the house"))) as one:
        answer = await one.answer()
    assert answer.terminal is not None
    assert answer.terminal.error is not None
    assert (answer.terminal.error["status"], answer.terminal.error["code"]) == (500, "internal_error")
    assert "secret" not in str(answer.terminal.error)
    assert "secret of the house" in caplog.text


async def test_usage_that_was_told_before_a_failure_is_kept() -> None:
    async def play() -> AsyncGenerator[Json, None]:
        yield {**chunk("x"), "usage": {"total_tokens": 1}}
        raise UpstreamUnavailableError("away", status=502, kind="upstream_error")

    async with stage(play) as one:
        answer = await one.answer()
    assert answer.terminal is not None
    assert answer.terminal.usage == {"total_tokens": 1}


async def test_too_many_attempts_end_the_request_without_a_call() -> None:
    async with stage(attempts_max=2, alone=True) as one:
        one.write(begin("a"), restart("b", after=0))
        answer = await one.answer()
    assert answer.terminal is not None
    assert answer.terminal.error is not None
    assert (answer.terminal.status, answer.terminal.error["code"]) == (Status.FAILED, "too_many_attempts")
    assert one.model.asked == []


async def test_the_last_attempt_that_is_allowed_is_made() -> None:
    async with stage(words("x"), attempts_max=2, alone=True) as one:
        one.write(begin("a"))
        answer = await one.answer()
    assert answer.terminal is not None
    assert (answer.terminal.status, told(one)) == (Status.COMPLETED, "x")


async def test_a_silent_model_is_beaten_for() -> None:
    async with stage(hanging("x"), lease_s=SHORT_LEASE_S) as one:
        answering = asyncio.create_task(one.answer())
        await one.log.until(lambda: len(one.written(FrameKind.HEARTBEAT)) >= 4)
        (mark,) = one.written(FrameKind.BEGIN)
        beats = one.written(FrameKind.HEARTBEAT)
        assert {(b.attempt, b.seq) for b in beats} == {(mark.attempt, 1)}
        one.write(ends(mark.attempt))
        answer = await answering
    assert (answer.attempts, answer.terminal) == (1, DONE)


async def test_usage_that_cannot_be_written_ends_the_request_as_failed() -> None:
    """orjson reads deeper nesting than it writes; the request must end all the same."""
    deep: Json = {}
    for _ in range(400):
        deep = {"x": deep}

    async def play() -> AsyncGenerator[Json, None]:
        yield chunk("x")
        yield {"choices": [], "usage": deep}

    async with stage(play) as one:
        answer = await one.answer()
    assert answer.terminal is not None
    assert answer.terminal.status is Status.FAILED
    assert answer.terminal.error is not None
    assert answer.terminal.error["code"] == "upstream_invalid_response"
    assert told(one) == "x"


async def test_an_answer_that_is_given_up_calls_no_llm_and_fails() -> None:
    async with stage() as one:
        answer = await one.answer(give_up=True)
    assert answer.terminal is not None
    assert (answer.terminal.status, one.model.asked) == (Status.FAILED, [])


async def test_a_worker_that_stops_closes_its_call_and_ends_nothing() -> None:
    async with stage(hanging("x")) as one:
        answering = asyncio.create_task(one.answer())
        await one.log.until(lambda: len(one.log.values(AT)) == 2)
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        assert one.model.open == 0
    assert one.written(FrameKind.TERMINAL) == []


async def test_a_stopping_worker_closes_its_attempt_after_what_was_said() -> None:
    async with stage(hanging("x", "y")) as one:
        answering = asyncio.create_task(one.answer())
        while told(one) != "xy":
            await asyncio.sleep(0.005)
        one.membership.draining = True
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        last = one.log.frames(AT)[-1]
        assert (last.kind, last.seq, last.attempt) == (FrameKind.HANDOFF, 2, one.attempts[0])


async def test_a_worker_that_only_lets_go_of_a_request_does_not_close_it() -> None:
    async with stage(hanging("x")) as one:
        answering = asyncio.create_task(one.answer())
        while told(one) != "x":
            await asyncio.sleep(0.005)
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        assert one.written(FrameKind.HANDOFF) == []


async def test_an_answer_that_breaks_off_is_gone_on_with_by_a_new_call() -> None:
    broken = UpstreamUnavailableError("gone", status=502, kind="upstream_error")
    plays = words("Hel", then=broken), words("l", then=broken), words("o")
    async with stage(*plays, continuation=Continuation.PREFILL) as one:
        answer = await one.answer()
        assert told(one) == "Hello"
        assert answer.terminal is not None
        assert (answer.terminal.status, answer.attempts) == (Status.COMPLETED, 3)
        assert [asked["messages"][-1]["content"] for asked in one.model.asked] == ["Hello", "Hel", "Hell"]


async def test_an_answer_that_breaks_off_again_and_again_fails_with_what_the_model_said() -> None:
    broken = UpstreamUnavailableError("gone", status=502, kind="upstream_error", code="c")
    plays = words("a", then=broken), words("b", then=broken)
    async with stage(*plays, attempts_max=2, continuation=Continuation.PREFILL) as one:
        answer = await one.answer()
        assert answer.terminal is not None
        assert answer.terminal.status is Status.FAILED
        assert answer.terminal.error is not None
        assert answer.terminal.error["code"] == "c"


async def test_an_answer_that_breaks_off_fails_where_the_model_cannot_go_on() -> None:
    broken = UpstreamUnavailableError("gone", status=502, kind="upstream_error")
    async with stage(words("Hel", then=broken)) as one:
        answer = await one.answer()
        assert answer.terminal is not None
        assert answer.terminal.status is Status.FAILED


@pytest.mark.parametrize(
    ("before", "text"),
    [
        ((says("dead", 0, "x"),), "x"),
        (
            (
                frame(
                    FrameKind.CHUNKS, "dead", chunks=[{"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}}]}]
                ),
            ),
            "",
        ),
        ((), None),
    ],
    ids=["text", "thoughts", "nothing"],
)
async def test_an_answer_whose_limit_is_reached_before_a_takeover_has_said_more_is_cut(
    before: tuple[Frame, ...], text: str | None
) -> None:
    """As it is cut where one attempt reaches the limit: the earlier output stays."""
    play = words(then=AnswerTooLongError("ANSWER_MAX_S"))
    async with stage(play, alone=True, continuation=Continuation.PREFILL) as one:
        one.write(begin("dead"), *before)
        answer = await one.answer()
    end = answer.terminal
    assert end is not None
    if text is None:
        assert end.error is not None
        assert (end.status, end.error["code"]) == (Status.FAILED, "answer_too_long")
    else:
        assert (end.status, end.finish_reason, end.weir_finish) == (Status.COMPLETED, "length", "ANSWER_MAX_S")
        assert (told(one), answer.finish_reasons, answer.gap) == (text, {0: "length"}, False)
