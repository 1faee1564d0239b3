"""The frame writer with a log that a test controls."""

import asyncio
from collections.abc import Awaitable

import pytest

from tests.unit.weir.answering.helpers import REQUEST
from tests.unit.weir.chat.helpers import DONE, chunk, text_of
from tests.unit.weir.log.memory_log import AWAY
from weir import envelope
from weir.answering.frame_writer import CHUNKS_PER_FRAME, CHUNKS_WAITING_MAX, FrameWriter
from weir.chat import frames
from weir.chat.frames import Frame, FrameKind
from weir.envelope import Json
from weir.llm.errors import UpstreamError
from weir.log.log import LogError, LogUnavailableError, RecordTooLargeError


class Slow:
    """A log that confirms when the test lets it."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.flights: list[asyncio.Future[int]] = []

    def append(self, value: bytes) -> Awaitable[int]:
        self.values.append(value)
        self.flights.append(asyncio.get_running_loop().create_future())
        return self.flights[-1]

    @property
    def frames(self) -> list[Frame]:
        return [frames.decode(value) for value in self.values]

    async def land(self, error: Exception | None = None) -> None:
        """Confirm the frame in flight, and let the writer see it."""
        flight = self.flights[-1]
        if error is None:
            flight.set_result(len(self.flights) - 1)
        else:
            flight.set_exception(error)
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
def log() -> Slow:
    return Slow()


def writer(log: Slow, next_seq: int = 0, max_bytes: int = 1 << 20) -> FrameWriter:
    return FrameWriter(log.append, REQUEST, "evt-1", "att-1", next_seq, max_bytes=max_bytes)


def shown(log: Slow) -> list[tuple[FrameKind, int, str]]:
    return [(frame.kind, frame.seq, "".join(text_of(frame.chunks))) for frame in log.frames]


async def test_the_first_chunk_leaves_at_once(log: Slow) -> None:
    await writer(log).say(chunk("a"))
    assert shown(log) == [(FrameKind.CHUNKS, 0, "a")]


async def test_chunks_collect_while_a_frame_is_on_its_way_and_leave_together(log: Slow) -> None:
    one = writer(log)
    for text in "abcd":
        await one.say(chunk(text))
    assert shown(log) == [(FrameKind.CHUNKS, 0, "a")]
    await log.land()
    assert shown(log)[1:] == [(FrameKind.CHUNKS, 1, "bcd")]
    await one.say(chunk("e"))
    assert len(log.values) == 2
    await log.land()
    assert shown(log)[2:] == [(FrameKind.CHUNKS, 4, "e")]
    await log.land()
    await one.say(chunk("f"))
    assert shown(log)[3:] == [(FrameKind.CHUNKS, 5, "f")], "with nothing on its way, a frame is a token"


async def test_an_attempt_that_goes_on_numbers_its_chunks_from_where_the_answer_stands(log: Slow) -> None:
    await writer(log, next_seq=7).say(chunk("a"))
    assert shown(log) == [(FrameKind.CHUNKS, 7, "a")]


async def test_frames_carry_weirs_names_and_all_that_the_model_sent(log: Slow) -> None:
    said = {"id": "theirs", "choices": [{"index": 0, "delta": {"content": "a"}, "x": 1}], "x": None}
    await writer(log).say(said)
    (frame,) = log.frames
    assert (frame.uid, frame.rid, frame.attempt) == (REQUEST.uid, "evt-1", "att-1")
    assert frame.chunks == [{**said, "id": f"chatcmpl-{REQUEST.uid}"}]
    event = envelope.decode(log.values[0])
    assert (event.tenant_id, event.event_id) == ("acme", "att-1.1")


async def test_a_frame_holds_a_bounded_number_of_chunks(log: Slow) -> None:
    one = writer(log)
    for _ in range(CHUNKS_PER_FRAME + 3):
        await one.say(chunk("a"))
    await log.land()
    await log.land()
    assert [len(frame.chunks) for frame in log.frames] == [1, CHUNKS_PER_FRAME, 2]
    assert [frame.seq for frame in log.frames] == [0, 1, CHUNKS_PER_FRAME + 1]


async def test_a_model_faster_than_the_log_has_to_wait(log: Slow) -> None:
    one = writer(log)
    for _ in range(CHUNKS_WAITING_MAX):
        await one.say(chunk("a"))
    waiting = asyncio.create_task(one.say(chunk("a")))
    await settled()
    assert not waiting.done()
    await log.land()
    await asyncio.wait_for(waiting, 10)
    assert len(log.frames[-1].chunks) == CHUNKS_PER_FRAME


async def test_the_terminal_comes_after_all_that_was_said(log: Slow) -> None:
    one = writer(log)
    for text in "abc":
        await one.say(chunk(text))
    ending = asyncio.create_task(one.end(DONE))
    await settled()
    assert shown(log) == [(FrameKind.CHUNKS, 0, "a")]
    await log.land()
    assert shown(log)[1:] == [(FrameKind.CHUNKS, 1, "bc")]
    await log.land()
    assert shown(log)[2:] == [(FrameKind.TERMINAL, 3, "")]
    assert log.frames[-1].terminal == DONE
    assert not ending.done(), "it is not said before it is in the log"
    await log.land()
    await asyncio.wait_for(ending, 10)


async def test_a_frame_that_failed_is_told_at_the_next_word_and_nothing_follows_it(log: Slow) -> None:
    """Otherwise the next frame would leave a gap."""
    one = writer(log)
    await one.say(chunk("a"))
    await one.say(chunk("b"))
    await log.land(AWAY)
    with pytest.raises(LogUnavailableError):
        await one.say(chunk("c"))
    assert len(log.values) == 1


async def test_a_frame_that_failed_is_told_at_the_end_and_no_terminal_follows_it(log: Slow) -> None:
    one = writer(log)
    await one.say(chunk("a"))
    ending = asyncio.create_task(one.end(DONE))
    await settled()
    await log.land(AWAY)
    with pytest.raises(LogUnavailableError):
        await asyncio.wait_for(ending, 10)
    assert [frame.kind for frame in log.frames] == [FrameKind.CHUNKS]


async def test_a_terminal_that_failed_is_told(log: Slow) -> None:
    ending = asyncio.create_task(writer(log).end(DONE))
    await settled()
    await log.land(AWAY)
    with pytest.raises(LogUnavailableError):
        await asyncio.wait_for(ending, 10)


async def test_a_caller_that_waits_for_room_gets_a_failure_too(log: Slow) -> None:
    one = writer(log)
    for _ in range(CHUNKS_WAITING_MAX):
        await one.say(chunk("a"))
    waiting = asyncio.create_task(one.say(chunk("a")))
    await settled()
    await log.land(AWAY)
    with pytest.raises(LogUnavailableError):
        await asyncio.wait_for(waiting, 10)


async def test_a_heartbeat_is_written_only_when_nothing_else_is_on_its_way(log: Slow) -> None:
    one = writer(log)
    one.beat()
    assert shown(log) == [(FrameKind.HEARTBEAT, 0, "")]
    one.beat()
    await one.say(chunk("a"))
    assert len(log.values) == 1
    await log.land()
    assert shown(log)[1:] == [(FrameKind.CHUNKS, 0, "a")]
    one.beat()
    assert len(log.values) == 2


async def test_the_time_of_the_last_frame_is_known(log: Slow) -> None:
    one = writer(log)
    before = one.wrote_at
    await one.say(chunk("a"))
    assert one.wrote_at >= before


async def test_chunks_that_do_not_fit_into_one_record_leave_in_several(log: Slow) -> None:
    one = writer(log, max_bytes=2000)
    for text in ("a", "b" * 700, "c" * 700, "d" * 700):
        await one.say(chunk(text))
    ending = asyncio.create_task(one.flush())
    for _ in range(4):
        await settled()
        if not ending.done():
            await log.land()
    await asyncio.wait_for(ending, 10)
    assert all(len(value) <= 2000 for value in log.values)
    assert "".join(text for _, _, text in shown(log)) == "a" + "b" * 700 + "c" * 700 + "d" * 700
    assert [seq for _, seq, _ in shown(log)] == sorted(seq for _, seq, _ in shown(log))


def nested() -> Json:
    deep: Json = {}
    for _ in range(400):
        deep = {"x": deep}
    return {**chunk("x"), "deep": deep}


@pytest.mark.parametrize("odd", [chunk("x" * 5000), nested()], ids=["too large", "too deep"])
async def test_a_chunk_that_cannot_be_written_ends_the_answer_and_a_terminal_can_follow(log: Slow, odd: Json) -> None:
    one = writer(log, max_bytes=2000)
    await one.say(chunk("a"))
    await one.say(odd)  # waits behind the first
    await log.land()
    with pytest.raises(UpstreamError, match="the model sent a chunk"):
        await one.flush()
    ending = asyncio.create_task(one.end(DONE))
    await settled()
    await log.land()
    await asyncio.wait_for(ending, 10)
    assert [(frame.kind, frame.seq) for frame in log.frames] == [(FrameKind.CHUNKS, 0), (FrameKind.TERMINAL, 1)]


async def test_an_append_that_was_cancelled_is_in_doubt(log: Slow) -> None:
    one = writer(log)
    await one.say(chunk("a"))
    await one.say(chunk("b"))
    log.flights[0].cancel()
    await settled()
    with pytest.raises(LogError):
        await one.flush()
    assert len(log.values) == 1


async def test_a_heartbeat_that_failed_ends_nothing(log: Slow) -> None:
    one = writer(log)
    one.beat()
    await log.land(AWAY)
    one.check()
    await one.say(chunk("a"))
    assert shown(log)[1:] == [(FrameKind.CHUNKS, 0, "a")]


async def test_words_that_wait_behind_a_failed_heartbeat_leave_all_the_same(log: Slow) -> None:
    one = writer(log)
    one.beat()
    await one.say(chunk("a"))
    await log.land(AWAY)
    assert shown(log)[1:] == [(FrameKind.CHUNKS, 0, "a")]


async def test_a_word_that_failed_is_told_without_another_word(log: Slow) -> None:
    """So that the LLM's output is not read in vain."""
    one = writer(log)
    await one.say(chunk("a"))
    await log.land(AWAY)
    with pytest.raises(LogUnavailableError):
        one.check()


async def test_a_frame_that_the_topic_refuses_ends_the_answer_and_the_terminal_leaves_no_gap(log: Slow) -> None:
    """The topic may take less than Weir's own limit. The same frame would be refused for ever."""
    one = writer(log)
    await one.say(chunk("a"))
    await log.land()
    await one.say(chunk("b"))
    await one.say(chunk("c"))  # waits behind it
    await log.land(RecordTooLargeError("cannot append: the record is larger than the topic takes"))
    with pytest.raises(UpstreamError, match="more than a record holds"):
        await one.flush()
    ending = asyncio.create_task(one.end(DONE))
    await settled()
    await log.land()
    await asyncio.wait_for(ending, 10)
    assert [(frame.kind, frame.seq) for frame in log.frames] == [
        (FrameKind.CHUNKS, 0),
        (FrameKind.CHUNKS, 1),
        (FrameKind.TERMINAL, 1),
    ]
    assert not one.failed.done()
