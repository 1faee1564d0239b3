"""What a reader of an answer is told, on a log in memory and the real tails."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from tests.unit.weir.chat.helpers import DONE, FAILED, RID, UID, beat, begin, ends, frame, restart, says, text_of
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog, tails_of
from weir import topics
from weir.chat import frames
from weir.chat.frames import ANYBODY, Frame, Kind, Status, Terminal
from weir.chat.reading import IDLE, BrokenStreamError, Delivery, deliveries, marks, origin, repeated, resumed
from weir.errors import AnswerGoneError, InvalidRequestError, from_terminal
from weir.llm.errors import UpstreamRefusedError
from weir.log.log import LogReplacedError, Partition
from weir.log.tails import Tails

AT = Partition(topics.CHAT_CHUNKS.name, 3)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def tails(log: MemoryLog) -> AsyncIterator[Tails]:
    async with tails_of(log) as tails:
        yield tails


def write(log: MemoryLog, *records: Frame | bytes | None, key: str = UID) -> int:
    """The offset of the last one."""
    offset = -1
    for record in records:
        value = frames.encode(record, event_id="e", tenant="t") if isinstance(record, Frame) else record
        offset = log.put(AT, key.encode(), value)
    return offset


def reading(
    tails: Tails, *, position: int = 0, idle_s: float = WAIT_S, rid: str | None = None, submission: str = RID
) -> AsyncGenerator[Delivery, None]:
    return deliveries(tails, AT, UID, position=position, idle_s=idle_s, rid=rid, submission=submission)


async def told(news: AsyncGenerator[Delivery, None], into: list[Delivery] | None = None) -> list[Delivery]:
    """All there is, to the terminal; what came before an error is in ``into``."""
    found = [] if into is None else into
    async with asyncio.timeout(WAIT_S), aclosing(news):
        async for delivery in news:
            found.append(delivery)
    return found


def said(found: list[Delivery]) -> str:
    return "".join(text_of(chunk for delivery in found for chunk in delivery.chunks))


ANSWER = (begin("a"), says("a", 0, "x"), says("a", 1, "y", "z"), ends("a"))


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
    attach = frame(Kind.ATTACH, submission="evt-2", first=1)
    write(log, *ANSWER[2:], attach)
    found = await told(reading(tails, position=4, submission="evt-2"))
    assert said(found) == "xyz"
    assert found[-1].terminal == DONE


async def test_a_second_submission_that_came_early_waits_for_its_mark(log: MemoryLog, tails: Tails) -> None:
    write(log, *ANSWER[:2])
    async with asyncio.timeout(WAIT_S), aclosing(reading(tails, position=2, submission="evt-2")) as news:
        waiting = asyncio.ensure_future(anext(news))
        write(log, *ANSWER[2:3], frame(Kind.ATTACH, submission="evt-3", first=0))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        write(log, frame(Kind.ATTACH, submission="evt-2", first=0))
        assert said([await waiting, await anext(news)]) == "xyz"


async def test_another_body_under_the_same_uid_is_a_conflict(log: MemoryLog, tails: Tails) -> None:
    write(log, *ANSWER, frame(Kind.CONFLICT, submission="evt-2", first=0))
    with pytest.raises(InvalidRequestError) as caught:
        await told(reading(tails, submission="evt-2"))
    assert (caught.value.status, caught.value.error["code"], caught.value.error["param"]) == (
        409,
        "uid_conflict",
        "uid",
    )
    assert said(await told(reading(tails))) == "xyz", "the first one's answer is untouched"


async def test_who_reads_by_the_uid_gets_the_answer_though_all_that_is_known_is_another_body_under_it(
    log: MemoryLog, tails: Tails
) -> None:
    first = write(log, begin("a"))
    later = write(log, says("a", 0, "x"), mark(Kind.CONFLICT, "evt-2", first=first), ends("a")) - 1
    news = deliveries(tails, AT, UID, position=later, idle_s=WAIT_S, submission="evt-2", own=False)
    assert said(await told(news)) == "x"
    assert await origin(tails, AT, UID, position=later, submission="evt-2", own=False) == (RID, first)


async def test_the_conflict_of_somebody_else_is_none_of_ours(log: MemoryLog, tails: Tails) -> None:
    write(log, begin("a"), frame(Kind.CONFLICT, submission="evt-2", first=0), says("a", 0, "x"), ends("a"))
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
async def test_who_comes_after_a_restart_is_told_only_what_is_said_again(
    log: MemoryLog, tails: Tails, pages: int
) -> None:
    """Else who asks again because the answer was restarted would hear just that, for ever."""
    half = [says("a", n, "x") for n in range(pages)]
    write(log, begin("a"), *half, restart("b", after=pages), says("b", 0, "B"), says("b", 1, "C"))
    attach = frame(Kind.ATTACH, submission="evt-2", first=0)
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
    write(log, frame(Kind.CHUNKS, "a", rid="evt-0", chunks=says("a", 0, "no").chunks), *ANSWER[1:])
    assert said(await told(reading(tails))) == "xyz"


@pytest.mark.parametrize("end", [DONE, FAILED, Terminal(status=Status.CANCELLED, finish_reason="cancelled")])
async def test_a_client_that_asks_again_after_the_end_hears_how_it_ended(
    log: MemoryLog, tails: Tails, end: Terminal
) -> None:
    last = write(log, begin("a"), says("a", 0, "x"), ends("a", end))
    again = write(log, frame(Kind.ATTACH, submission="evt-2", first=0, ended=True))
    news = repeated(log, tails, AT, UID, position=again, submission="evt-2", offset=last, place=0, idle_s=WAIT_S)
    (heard,) = await told(news)
    assert (heard.terminal, heard.chunks, heard.offset) == (end, (), last)


@pytest.mark.parametrize("how", ["stored", "resumed", "repeated"])
async def test_a_reader_that_leaves_has_let_go_of_its_page_and_its_tail_at_once(
    log: MemoryLog, tails: Tails, how: str
) -> None:
    write(log, begin("a"), says("a", 0, "x"), *(says("a", n, "x" * 200_000) for n in range(1, 9)), ends("a"))
    write(log, frame(Kind.ATTACH, submission="evt-2", first=0, ended=True))
    news: AsyncGenerator[Delivery, None] | None = reading(tails, rid=RID)
    if how == "resumed":
        news = await resumed(log, tails, AT, UID, offset=1, place=0, idle_s=WAIT_S)
    elif how == "repeated":
        news = repeated(log, tails, AT, UID, position=0, submission="evt-2", offset=1, place=0, idle_s=WAIT_S)
    assert news is not None
    async with asyncio.timeout(WAIT_S), aclosing(news):
        await anext(news)
        assert tails.memory.held_bytes > 0
    assert (tails.memory.held_bytes, tails.readers) == (0, 0)


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
    """A door sends headers and heartbeats when there is no news; without them a client takes it for dead."""
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
        write(log, ends("a"), mark(Kind.ATTACH, "evt-2", first=first))
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


def test_the_error_of_a_terminal_becomes_the_error_of_the_api() -> None:
    error = from_terminal({"message": "m", "type": "t", "param": "p", "code": "c", "status": 503})
    assert (error.status, error.error) == (503, {"message": "m", "type": "t", "param": "p", "code": "c"})
    assert from_terminal({}).status == 500


def test_an_error_of_an_llm_comes_out_of_its_terminal_with_all_members_and_headers() -> None:
    members = {"status": "RESOURCE_EXHAUSTED", "headers": 5, "metadata": {"raw": "busy"}}
    headers = {"retry-after": "7", "x-should-retry": "false"}
    given = UpstreamRefusedError("m", status=429, kind="t", code="c", param="p", members=members, headers=headers)
    error = from_terminal(given.terminal_error)
    assert (error.status, error.headers) == (429, headers)
    assert error.error == {"message": "m", "type": "t", "param": "p", "code": "c", **members}
    assert error.late_body["error"] == error.error | {"retry_after": "7"}


@pytest.mark.parametrize("headers", [5, ["a"], {"retry-after": 5}, {"retry-after": "a\r\nb: c"}, {"set-cookie": "a"}])
def test_headers_of_a_record_that_are_none_are_left_out(headers: object) -> None:
    assert from_terminal({"status": 429, "headers": headers}).headers == {}


@pytest.mark.parametrize("status", ["RESOURCE_EXHAUSTED", 200, 999, None, True])
def test_a_status_of_a_record_that_is_none_of_an_error_is_a_500(status: object) -> None:
    assert from_terminal({"status": status}).status == 500


# -- for those who ask where an answer starts, and whether a queue has it


def mark(kind: Kind, submission: str, **fields: Any) -> Frame:
    return frame(kind, submission=submission, **fields)


async def test_the_first_submission_starts_with_its_begin_mark(log: MemoryLog, tails: Tails) -> None:
    write(log, b"no frame")
    first = write(log, begin("a"))
    write(log, says("a", 0, "x"))
    assert await origin(tails, AT, UID, position=0, submission=RID) == (RID, first)


async def test_a_later_submission_starts_where_the_first_one_did(log: MemoryLog, tails: Tails) -> None:
    first = write(log, begin("a"))
    later = write(log, says("a", 0, "x"), ends("a")) + 1
    write(log, mark(Kind.ATTACH, "evt-2", first=first))
    assert await origin(tails, AT, UID, position=later, submission="evt-2") == (RID, first)


async def test_a_submission_that_nobody_has_looked_at_waits_for_its_mark(log: MemoryLog, tails: Tails) -> None:
    asking = asyncio.create_task(origin(tails, AT, UID, position=0, submission=RID))
    await asyncio.sleep(0.01)
    assert not asking.done()
    first = write(log, begin("a"))
    async with asyncio.timeout(WAIT_S):
        assert await asking == (RID, first)


async def test_a_submission_with_another_body_has_no_start(log: MemoryLog, tails: Tails) -> None:
    write(log, begin("a"), mark(Kind.CONFLICT, "evt-2", first=0))
    with pytest.raises(InvalidRequestError) as caught:
        await origin(tails, AT, UID, position=1, submission="evt-2")
    assert caught.value.status == 409


async def test_deliveries_that_were_made_stand_in_the_log(log: MemoryLog, tails: Tails) -> None:
    early = mark(Kind.DELIVERED, "evt-1", queue="q1", fingerprint="f")
    late = mark(Kind.DELIVERED, "evt-2", queue="q2", fingerprint="f")
    write(log, early, begin("a"), says("a", 0, "x"), ends("a"))
    position = write(log, late)
    write(log, mark(Kind.DELIVERED, "evt-3", queue="q1"), key="another request")
    found = await marks(tails, AT, UID, position=0, kind=Kind.DELIVERED)
    assert [(offset, mark.submission, mark.queue) for offset, mark in found] == [
        (0, "evt-1", "q1"),
        (position, "evt-2", "q2"),
    ]
    assert await marks(tails, AT, UID, position=position, kind=Kind.DELIVERED) == found[1:]


async def test_a_delivery_changes_nothing_about_the_answer(log: MemoryLog, tails: Tails) -> None:
    write(log, begin("a"), says("a", 0, "x"), mark(Kind.DELIVERED, "evt-9"), says("a", 1, "y"), ends("a"))
    assert [text for news in await told(reading(tails)) for text in text_of(news.chunks)] == ["x", "y"]


# -- for those who come back


async def back(
    log: MemoryLog, tails: Tails, offset: int, place: int, uid: str = UID
) -> AsyncGenerator[Delivery, None] | None:
    return await resumed(log, tails, AT, uid, offset=offset, place=place, idle_s=WAIT_S)


async def test_a_reader_who_comes_back_gets_what_follows_its_last_chunk(log: MemoryLog, tails: Tails) -> None:
    write(log, begin("a"))
    first = write(log, says("a", 0, "v", "w", "x"))
    write(log, beat("a"), says("zombie", 3, "no"), says("a", 2, "x", "y"), ends("a"))
    for place, rest in enumerate(["wxy", "xy", "y"]):
        news = await back(log, tails, first, place)
        assert news is not None
        assert "".join(text for one in await told(news) for text in text_of(one.chunks)) == rest


async def test_a_reader_who_comes_back_with_the_end_gets_nothing_more(log: MemoryLog, tails: Tails) -> None:
    end = write(log, begin("a"), says("a", 0, "x"), ends("a"))
    assert await back(log, tails, end, 0) is None


async def test_a_reader_who_comes_back_hears_of_a_restart(log: MemoryLog, tails: Tails) -> None:
    first = write(log, begin("a"), says("a", 0, "x"))
    write(log, restart("b", after=first), says("b", 0, "y"), ends("b"))
    news = await back(log, tails, first, 0)
    assert news is not None
    assert any(one.restarted for one in await told(news))


async def test_a_reader_who_comes_back_goes_on_across_a_takeover(log: MemoryLog, tails: Tails) -> None:
    first = write(log, begin("a"), says("a", 0, "x"))
    write(log, frame(Kind.TAKEOVER, "b", after=first), says("a", 1, "no"), says("b", 1, "y"), ends("b"))
    news = await back(log, tails, first, 0)
    assert news is not None
    assert [text for one in await told(news) for text in text_of(one.chunks)] == ["y"]


@pytest.mark.parametrize(("offset", "uid"), [(0, UID), (1, "another uid")], ids=["a mark", "of another"])
async def test_an_event_that_no_reader_can_have_is_refused(log: MemoryLog, tails: Tails, offset: int, uid: str) -> None:
    write(log, begin("a"), says("a", 0, "x"))
    with pytest.raises(InvalidRequestError) as caught:
        await back(log, tails, offset, 0, uid)
    assert caught.value.status == 400


@pytest.mark.parametrize("offset", [1, 3, 99, 10**18], ids=["before its start", "at its end", "behind it", "far away"])
async def test_an_event_that_the_log_does_not_keep_any_more_is_gone(log: MemoryLog, tails: Tails, offset: int) -> None:
    """Behind its end are the events of a log that was there before this one."""
    first = write(log, begin("a"), says("a", 0, "x"))
    write(log, says("a", 1, "y"))
    log.starts[AT] = first + 1
    with pytest.raises(AnswerGoneError) as caught:
        await back(log, tails, offset, 0)
    assert (caught.value.status, caught.value.error["code"]) == (410, "gone")


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
    """Its reader does not wait for an end that was told long ago."""
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
    attach = frame(Kind.ATTACH, submission="evt-2", first=position, ended=True)
    write(log, attach)
    with pytest.raises(error):
        await told(reading(tails, submission="evt-2"))


async def test_a_submission_that_attaches_to_an_answer_which_has_ended_gets_it(log: MemoryLog, tails: Tails) -> None:
    write(log, *ANSWER)
    position = write(log, frame(Kind.ATTACH, submission="evt-2", first=0, ended=True))
    assert said(await told(reading(tails, position=position, submission="evt-2"))) == "xyz"


async def test_a_cancelled_answer_ends_with_words_of_its_own(log: MemoryLog, tails: Tails) -> None:
    write(log, begin("a"), says("a", 0, "x"), frame(Kind.TERMINAL, terminal=Terminal(status=Status.CANCELLED)))
    *_, last = await told(reading(tails))
    assert [choice["finish_reason"] for one in last.chunks for choice in one["choices"]] == ["cancelled"]


async def test_a_request_that_was_cancelled_before_it_began_has_an_end(log: MemoryLog, tails: Tails) -> None:
    write(log, frame(Kind.TERMINAL, terminal=Terminal(status=Status.CANCELLED)))
    (only,) = await told(reading(tails))
    assert only.terminal is not None


async def test_a_request_that_was_cancelled_before_anybody_knew_its_first_submission_has_an_end(
    log: MemoryLog, tails: Tails
) -> None:
    end = write(log, frame(Kind.TERMINAL, rid=ANYBODY, terminal=Terminal(status=Status.CANCELLED)))
    for submission in (RID, "evt-2"):
        (only,) = await told(reading(tails, submission=submission))
        assert only.terminal is not None
        assert await origin(tails, AT, UID, position=0, submission=submission) == (submission, end)


async def test_a_later_submission_of_a_cancelled_answer_is_told_what_was_said_of_it(
    log: MemoryLog, tails: Tails
) -> None:
    cancelled = frame(Kind.TERMINAL, rid=ANYBODY, terminal=Terminal(status=Status.CANCELLED))
    first = write(log, begin("a"))
    write(log, says("a", 0, "x"), cancelled, mark(Kind.ATTACH, "evt-2", first=first))
    assert said(await told(reading(tails, position=first + 1, submission="evt-2"))) == "x"
