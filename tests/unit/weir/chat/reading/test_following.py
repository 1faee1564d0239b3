"""The deliveries to a reader of an answer, on a log in memory and the real tails."""

import asyncio
from contextlib import aclosing

import pytest

from tests.unit.weir.chat.helpers import DONE, FAILED, RID, UID, beat, begin, ends, frame, restart, says, text_of
from tests.unit.weir.chat.reading.helpers import ANSWER, AT, mark, reading, said, told, write
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog
from weir.chat.frames import ANYBODY, Frame, FrameKind, Status, Terminal
from weir.chat.reading.delivery import IDLE, Delivery
from weir.chat.reading.following import BrokenStreamError, deliveries
from weir.errors import AnswerGoneError, InvalidRequestError
from weir.log.log import LogReplacedError
from weir.log.tails import Tails


async def test_an_answer_that_is_in_the_log_is_told_to_its_end(log: MemoryLog, tails: Tails) -> None:
    write(log, *ANSWER)
    found = await told(reading(tails))
    assert said(found) == "xyz"
    assert [(d.partition, d.offset, len(d.chunks), d.first_n) for d in found] == [
        (3, 1, 1, 0),
        (3, 2, 2, 0),
        (3, 3, 0, 0),
    ]
    assert [d.terminal for d in found] == [None, None, DONE]


async def test_an_answer_is_told_while_it_is_written(log: MemoryLog, tails: Tails) -> None:
    async with asyncio.timeout(WAIT_S), aclosing(reading(tails)) as news:
        waiting = asyncio.ensure_future(anext(news))
        await asyncio.sleep(0)
        write(log, begin("a"), says("a", 0, "x"))
        assert said([await waiting]) == "x"
        write(log, says("a", 1, "y"))
        assert said([await anext(news)]) == "y"
        write(log, ends("a", FAILED))
        assert (await anext(news)).terminal == FAILED
        with pytest.raises(StopAsyncIteration):
            await anext(news)


async def test_a_second_submission_is_told_the_answer_from_its_start(log: MemoryLog, tails: Tails) -> None:
    write(log, b"older", *ANSWER[:2])
    attach = frame(FrameKind.ATTACH, submission="evt-2", first=1)
    write(log, *ANSWER[2:], attach)
    found = await told(reading(tails, position=4, submission="evt-2"))
    assert said(found) == "xyz"
    assert found[-1].terminal == DONE


async def test_a_second_submission_that_came_early_waits_for_its_mark(log: MemoryLog, tails: Tails) -> None:
    write(log, *ANSWER[:2])
    async with asyncio.timeout(WAIT_S), aclosing(reading(tails, position=2, submission="evt-2")) as news:
        waiting = asyncio.ensure_future(anext(news))
        write(log, *ANSWER[2:3], frame(FrameKind.ATTACH, submission="evt-3", first=0))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        write(log, frame(FrameKind.ATTACH, submission="evt-2", first=0))
        assert said([await waiting, await anext(news)]) == "xyz"


async def test_another_body_under_the_same_uid_is_a_conflict(log: MemoryLog, tails: Tails) -> None:
    write(log, *ANSWER, frame(FrameKind.CONFLICT, submission="evt-2", first=0))
    with pytest.raises(InvalidRequestError) as caught:
        await told(reading(tails, submission="evt-2"))
    assert (caught.value.status, caught.value.error["code"], caught.value.error["param"]) == (
        409,
        "uid_conflict",
        "uid",
    )
    assert said(await told(reading(tails))) == "xyz", "the first one's answer is untouched"


async def test_the_conflict_of_another_submission_does_not_count(log: MemoryLog, tails: Tails) -> None:
    write(log, begin("a"), frame(FrameKind.CONFLICT, submission="evt-2", first=0), says("a", 0, "x"), ends("a"))
    assert said(await told(reading(tails))) == "x"


SAID_AGAIN = (restart("b", after=1), says("a", 1, "zombie"), says("b", 0, "B"), ends("a"), ends("b"))


async def test_an_answer_that_is_said_again_is_flagged_before_its_words(log: MemoryLog, tails: Tails) -> None:
    write(log, *ANSWER[:2])
    found: list[Delivery] = []
    async with asyncio.timeout(WAIT_S), aclosing(reading(tails)) as news:
        found.append(await anext(news))
        write(log, *SAID_AGAIN)
        await told(news, found)
    assert [(d.offset, d.restarted, said([d])) for d in found] == [
        (1, False, "x"),
        (2, True, ""),
        (4, False, "B"),
        (6, False, ""),
    ]


@pytest.mark.parametrize("pages", [1, 700])
async def test_a_reader_that_comes_after_a_restart_gets_only_the_new_chunks(
    log: MemoryLog, tails: Tails, pages: int
) -> None:
    """Otherwise a reader that comes back because the answer was restarted would get the restart for ever."""
    half = [says("a", n, "x") for n in range(pages)]
    write(log, begin("a"), *half, restart("b", after=pages), says("b", 0, "B"), says("b", 1, "C"))
    attach = frame(FrameKind.ATTACH, submission="evt-2", first=0)
    write(log, attach, ends("b"))
    found = await told(reading(tails, position=pages + 4, submission="evt-2"))
    assert [(d.restarted, said([d])) for d in found] == [(True, ""), (False, "B"), (False, "C"), (False, "")]


async def test_a_mark_that_does_not_count_is_not_told(log: MemoryLog, tails: Tails) -> None:
    write(log, *ANSWER[:2], restart("b", after=0), says("b", 0, "B"), *ANSWER[2:])
    found = await told(reading(tails))
    assert (said(found), any(d.restarted for d in found)) == ("xyz", False)


async def test_a_repetition_is_told_once_and_its_new_part_with_its_place(log: MemoryLog, tails: Tails) -> None:
    write(log, *ANSWER[:2], says("a", 0, "x"), says("a", 0, "x", "y", "z"), ends("a"))
    found = await told(reading(tails))
    assert [(d.offset, d.first_n, said([d])) for d in found] == [(1, 0, "x"), (3, 1, "yz"), (4, 0, "")]


async def test_a_gap_is_shown_and_not_hidden(log: MemoryLog, tails: Tails) -> None:
    write(log, *ANSWER[:2], says("a", 2, "z"), ends("a"))
    found: list[Delivery] = []
    with pytest.raises(BrokenStreamError) as caught:
        await told(reading(tails), found)
    assert said(found) == "x"
    assert (caught.value.status, caught.value.error["code"]) == (500, "stream_gap")


async def test_records_that_are_no_frames_and_other_requests_do_not_stop_a_reader(log: MemoryLog, tails: Tails) -> None:
    write(log, None, b"{", b"[]", ANSWER[0], b'{"data": 7}')
    write(log, says("a", 0, "no"), key="req-2")
    write(log, frame(FrameKind.CHUNKS, "a", rid="evt-0", chunks=says("a", 0, "no").chunks), *ANSWER[1:])
    assert said(await told(reading(tails))) == "xyz"


async def test_a_stored_answer_is_read_by_its_identity(log: MemoryLog, tails: Tails) -> None:
    write(log, b"older", *ANSWER)
    assert said(await told(reading(tails, position=1, rid=RID, submission=""))) == "xyz"


@pytest.mark.parametrize("before", [(), ANSWER[:2]])
async def test_silence_is_told_again_and_again(log: MemoryLog, tails: Tails, before: tuple[Frame, ...]) -> None:
    write(log, *before)
    async with asyncio.timeout(WAIT_S), aclosing(reading(tails, idle_s=0.02)) as news:
        if before:
            assert said([await anext(news)]) == "x"
        assert [await anext(news) for _ in range(3)] == [IDLE] * 3
        write(log, *ANSWER[len(before) :])
        rest = [delivery async for delivery in news]
    assert said(rest) == ("yz" if before else "xyz")


async def test_what_is_said_to_an_earlier_submission_is_no_news_to_one_that_waits_for_its_mark(
    log: MemoryLog, tails: Tails
) -> None:
    """A door sends headers and heartbeats at each idle delivery; without them a client takes the stream for dead."""
    first = write(log, begin("a"))
    news = reading(tails, idle_s=0.05, submission="evt-2")
    async with asyncio.timeout(WAIT_S), aclosing(news):
        waiting = asyncio.ensure_future(anext(news))
        for n in range(1000):
            write(log, says("a", n, "x"))
            await asyncio.sleep(0.005)
            if waiting.done():
                break
        assert await waiting is IDLE
        write(log, ends("a"), mark(FrameKind.ATTACH, "evt-2", first=first))
        assert said([delivery async for delivery in news]) == "x" * (n + 1)


async def test_heartbeats_of_the_generator_are_no_news(log: MemoryLog, tails: Tails) -> None:
    write(log, *ANSWER[:2])
    loop = asyncio.get_running_loop()

    async def keep_beating() -> None:
        while True:
            write(log, beat("a"))
            await asyncio.sleep(0.01)

    beating = asyncio.create_task(keep_beating())
    async with asyncio.timeout(WAIT_S), aclosing(reading(tails, idle_s=0.1)) as news:
        assert said([await anext(news)]) == "x"
        since = loop.time()
        assert await anext(news) is IDLE
        assert loop.time() - since >= 0.09
    beating.cancel()
    await asyncio.gather(beating, return_exceptions=True)


async def test_a_delivery_changes_nothing_about_the_answer(log: MemoryLog, tails: Tails) -> None:
    write(log, begin("a"), says("a", 0, "x"), mark(FrameKind.DELIVERED, "evt-9"), says("a", 1, "y"), ends("a"))
    assert [text for news in await told(reading(tails)) for text in text_of(news.chunks)] == ["x", "y"]


# -- a log that is not the one that it was


async def test_a_reader_that_waits_gets_an_error_when_the_log_is_replaced(log: MemoryLog, tails: Tails) -> None:
    write(log, begin("a"), says("a", 0, "x"))
    found: list[Delivery] = []
    waiting = asyncio.create_task(told(reading(tails), found))
    async with asyncio.timeout(WAIT_S):
        while said(found) != "x":
            await asyncio.sleep(0.005)
        log.replace(AT, "another")
        with pytest.raises(LogReplacedError):
            await waiting


@pytest.mark.parametrize("rid", [None, RID])
async def test_a_reader_with_a_position_of_another_log_is_refused(
    log: MemoryLog, tails: Tails, rid: str | None
) -> None:
    log.topic_ids[AT.topic] = "new"
    write(log, *ANSWER)
    for position, topic_id in ((5, ""), (4, "old"), (0, "old")):
        news = deliveries(tails, AT, UID, position=position, idle_s=WAIT_S, rid=rid, submission=RID, topic_id=topic_id)
        with pytest.raises(LogReplacedError):
            await told(news)
    assert said(await told(deliveries(tails, AT, UID, position=0, idle_s=1, submission=RID, topic_id="new"))) == "xyz"


@pytest.mark.parametrize("kept", [0, 2], ids=["nothing", "its end only"])
async def test_an_answer_that_has_ended_and_is_not_whole_in_the_log_is_gone(
    log: MemoryLog, tails: Tails, kept: int
) -> None:
    """Its reader does not wait for an end that was removed long ago."""
    write(log, *ANSWER[len(ANSWER) - kept :])
    write(log, begin("b"), key="another")
    with pytest.raises(AnswerGoneError):
        await told(deliveries(tails, AT, UID, position=0, idle_s=WAIT_S, rid=RID, ended=True))


@pytest.mark.parametrize(("position", "error"), [(1, AnswerGoneError), (90, LogReplacedError)])
async def test_a_submission_that_attaches_to_an_answer_which_is_gone_gets_an_error(
    log: MemoryLog, tails: Tails, position: int, error: type[Exception]
) -> None:
    """The table knows the uid for longer than the log keeps its answer."""
    write(log, begin("b"), key="another")
    attach = frame(FrameKind.ATTACH, submission="evt-2", first=position, ended=True)
    write(log, attach)
    with pytest.raises(error):
        await told(reading(tails, submission="evt-2"))


async def test_a_submission_that_attaches_to_an_answer_which_has_ended_gets_it(log: MemoryLog, tails: Tails) -> None:
    write(log, *ANSWER)
    position = write(log, frame(FrameKind.ATTACH, submission="evt-2", first=0, ended=True))
    assert said(await told(reading(tails, position=position, submission="evt-2"))) == "xyz"


async def test_a_cancelled_answer_ends_with_words_of_its_own(log: MemoryLog, tails: Tails) -> None:
    write(log, begin("a"), says("a", 0, "x"), frame(FrameKind.TERMINAL, terminal=Terminal(status=Status.CANCELLED)))
    *_, last = await told(reading(tails))
    assert [choice["finish_reason"] for one in last.chunks for choice in one["choices"]] == ["cancelled"]


async def test_a_request_that_was_cancelled_before_it_began_has_an_end(log: MemoryLog, tails: Tails) -> None:
    write(log, frame(FrameKind.TERMINAL, terminal=Terminal(status=Status.CANCELLED)))
    (only,) = await told(reading(tails))
    assert only.terminal is not None


async def test_a_later_submission_of_a_cancelled_answer_is_told_what_was_said_of_it(
    log: MemoryLog, tails: Tails
) -> None:
    cancelled = frame(FrameKind.TERMINAL, rid=ANYBODY, terminal=Terminal(status=Status.CANCELLED))
    first = write(log, begin("a"))
    write(log, says("a", 0, "x"), cancelled, mark(FrameKind.ATTACH, "evt-2", first=first))
    assert said(await told(reading(tails, position=first + 1, submission="evt-2"))) == "x"
