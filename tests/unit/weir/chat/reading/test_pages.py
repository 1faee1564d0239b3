"""Answers of many pages: delivered as if they were read at once, and held a page at a time."""

import random
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from tests.unit.weir.chat.helpers import RID, UID, beat, begin, ends, restart, says, takeover, text_of
from tests.unit.weir.chat.reading.helpers import AT, said, told, write
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog, tails_of
from weir.chat.fold import Answer, fold
from weir.chat.frames import Frame
from weir.chat.reading.delivery import IDLE, Delivery
from weir.chat.reading.following import deliveries
from weir.chat.reading.pages import PAGE_RECORDS, counted
from weir.chat.reading.stored import recounted
from weir.errors import UnavailableError
from weir.log.log import Partition, Record
from weir.log.memory import Memory
from weir.log.tails import TailLimits, Tails

LONG = 5 * PAGE_RECORDS
LARGE = "x" * 400_000


class Counting(MemoryLog):
    """Counts the records that are read."""

    read_records = 0

    async def read(self, at: Partition, position: int, *, limit: int = 500) -> list[Record]:
        found = await super().read(at, position, limit=limit)
        self.read_records += len(found)
        return found


def reading(tails: Tails, idle_s: float = WAIT_S) -> AsyncGenerator[Delivery, None]:
    return deliveries(tails, AT, UID, position=0, idle_s=idle_s, rid=RID)


def history(seed: int) -> list[Frame]:
    """A long answer with restarts and takeovers, void ones among them, and frames of attempts that are over."""
    rng = random.Random(seed)
    made, answer, attempts = [begin("a0")], Answer(rid=RID), 1
    answer = fold(answer, 0, made[0]).answer
    while len(made) < LONG:
        choice, void = rng.random(), rng.random() < 0.5
        after = rng.randrange(-1, max(answer.last, 0)) if void else answer.last
        if choice < 0.005:
            one = restart(f"a{attempts}", after=after)
            attempts += 1
        elif choice < 0.01:
            one = takeover(f"a{attempts}", after=after)
            attempts += 1
        elif choice < 0.05:
            one = says(f"a{rng.randrange(attempts)}", rng.randrange(answer.next_seq + 1), "never mind ")
            if one.attempt == answer.attempt:
                continue
        elif choice < 0.1:
            one = beat(answer.attempt)
        else:
            one = says(answer.attempt, answer.next_seq, f'{len(made)} "restart" ')
        answer = fold(answer, len(made), one).answer
        made.append(one)
    return [*made, ends(answer.attempt)]


def at_once(made: list[Frame]) -> str:
    """Return the deliveries to a reader that folds all of the answer before it delivers any of it."""
    answer, text = Answer(rid=RID), ""
    for offset, one in enumerate(made):
        folded = fold(answer, offset, one)
        text = "" if folded.answer.restarts > answer.restarts else text
        text += "".join(text_of(folded.chunks))
        answer = folded.answer
    return text


@pytest.mark.parametrize("seed", range(25))
async def test_a_reader_of_pages_is_told_what_a_reader_of_all_is_told(seed: int) -> None:
    log, made = MemoryLog(), history(seed)
    write(log, *made)
    async with tails_of(log) as tails:
        found = await told(reading(tails))
        assert said(found) == at_once(made)
        assert [d.restarted for d in found[1:]] == [False] * (len(found) - 1)  # at most the first is flagged
        answer, chunks = await recounted(tails, AT, UID, position=0, rid=RID, upto=len(made))
        assert ("".join(text_of(chunks)), answer.terminal) == (at_once(made), found[-1].terminal)


async def test_a_client_that_stops_reading_keeps_its_reader_at_its_first_page() -> None:
    log = Counting()
    write(log, begin("a"), *(says("a", n, f"{n} ") for n in range(LONG)))
    async with tails_of(log) as tails, aclosing(reading(tails)) as news:
        assert said([await anext(news)]) == "0 "
        searched = log.read_records  # for restarts, once for all readers
        others = [reading(tails) for _ in range(20)]
        for other in others:
            assert said([await anext(other)]) == "0 "
        assert log.read_records - searched <= 20 * 2 * PAGE_RECORDS
        for other in others:
            await other.aclose()


async def test_deliveries_of_one_page_say_that_more_is_there_and_the_last_does_not() -> None:
    log = MemoryLog()
    write(log, begin("a"), *(says("a", n, "x") for n in range(3)))
    async with tails_of(log) as tails, aclosing(reading(tails)) as news:
        assert [(await anext(news)).more for _ in range(3)] == [True, True, False]
        write(log, says("a", 3, "x"), ends("a"))
        assert [(await anext(news)).more for _ in range(2)] == [True, False]


async def test_a_restart_after_a_reader_came_is_told_to_it() -> None:
    log = MemoryLog()
    last = write(log, begin("a"), *(says("a", n, "x") for n in range(LONG)))
    async with tails_of(log) as tails, aclosing(reading(tails)) as news:
        await anext(news)
        write(log, restart("b", after=last), says("b", 0, "y"), ends("b"))
        rest = [delivery async for delivery in news]
    again = [delivery.restarted for delivery in rest].index(True)
    assert said(rest[again:]) == "y"


async def test_readers_of_large_frames_share_a_bound_and_wait_for_each_other() -> None:
    log = MemoryLog()
    write(log, begin("a"), says("a", 0, LARGE), says("a", 1, LARGE), ends("a"))
    tails = Tails(log, TailLimits(memory_bytes=4 << 20))
    await tails.start()
    try:
        first, second = reading(tails, 0.05), reading(tails, 0.05)
        async with aclosing(first), aclosing(second):
            assert said([await anext(first)]) == LARGE
            assert tails.memory.held_bytes > 0
            assert await anext(second) is IDLE
            assert await anext(second) is IDLE
            await first.aclose()
            waited = await anext(second)
            while waited is IDLE:
                waited = await anext(second)
            assert said([waited]) == LARGE
            assert said(await told(second)) == LARGE
        assert tails.memory.held_bytes == 0
    finally:
        await tails.stop()


async def test_an_answer_that_is_collected_is_counted_and_refused_where_there_is_no_room() -> None:
    log = MemoryLog()
    write(log, begin("a"), *(says("a", n, LARGE) for n in range(5)), ends("a"))
    async with tails_of(log) as tails:
        memory = Memory(10 << 20)
        assert said(await told(counted(reading(tails), memory))) == 5 * LARGE
        assert memory.held_bytes == 0
        assert memory.take(9 << 20)
        with pytest.raises(UnavailableError) as refused:
            await told(counted(reading(tails), memory))
        assert refused.value.error["code"] == "readers_memory"
        assert memory.held_bytes == 9 << 20
