"""The records of a range, and the errors where there are none."""

import asyncio

import pytest

from tests.unit.weir.log.memory_log import AWAY, MemoryLog
from tests.unit.weir.ranges.steps import HeardStep
from weir import timing
from weir.log.log import LogUnavailableError, Partition
from weir.ranges.errors import GoneError, NothingError, UsageError
from weir.ranges.offset_ranges import OffsetRange, each, gone_until_s, onward, records, resolve, since, span_from
from weir.ranges.when import Edge, Offsets, Time
from weir.settings import DAY
from weir.timing import CLOCKS_APART_S
from weir.topics import CHAT_REQUESTS

TOPIC = CHAT_REQUESTS.name
NOW = 30 * DAY


def at(number: int) -> Partition:
    return Partition(TOPIC, number)


async def test_a_record_of_a_time_that_no_calendar_has_is_told_of_all_the_same() -> None:
    log = MemoryLog()
    log.put(at(0), b"k", b"taken")
    log.now = 1e13  # the producer sets a Kafka timestamp
    log.put(at(0), b"k", b"left")
    log.starts[at(0)] = 1
    with pytest.raises(GoneError, match="the oldest record left is of no time"):
        await resolve(log, TOPIC, Time(0.0), Edge.LATEST, now=NOW, kept_s=7 * DAY)


@pytest.fixture
def log() -> MemoryLog:
    """Partition 0 has a record each hour since a day ago, partition 1 one of two days ago."""
    log = MemoryLog()
    for hour in range(24):
        log.now = NOW - DAY + hour * 3600
        log.put(at(0), b"k", b"%d" % hour)
    log.now = NOW - 2 * DAY
    log.put(at(1), b"k", b"old")
    return log


async def test_a_range_of_times_has_its_start_and_not_its_end(log: MemoryLog) -> None:
    spans = await resolve(log, TOPIC, Time(NOW - DAY + 7200), Time(NOW - DAY + 4 * 3600), now=NOW)
    assert spans == [OffsetRange(at(0), 2, 4)]


async def test_all_there_is(log: MemoryLog) -> None:
    assert await resolve(log, TOPIC, Edge.EARLIEST, Edge.LATEST, now=NOW) == [
        OffsetRange(at(0), 0, 24),
        OffsetRange(at(1), 0, 1),
    ]


async def test_offsets_name_the_partitions_that_are_read(log: MemoryLog) -> None:
    assert await resolve(log, TOPIC, Offsets({0: 5}), Offsets({0: 9}), now=NOW) == [OffsetRange(at(0), 5, 9)]
    assert await resolve(log, TOPIC, Time(0), Offsets({0: 9}), now=NOW) == [
        OffsetRange(at(0), 0, 9),
        OffsetRange(at(1), 0, 1),
    ]


async def test_an_empty_range_is_an_error(log: MemoryLog) -> None:
    with pytest.raises(NothingError, match="no record in this range"):
        await resolve(log, TOPIC, Time(NOW), Edge.LATEST, now=NOW)


async def test_an_end_before_the_beginning_is_an_error(log: MemoryLog) -> None:
    with pytest.raises(UsageError, match="is not after"):
        await resolve(log, TOPIC, Time(NOW - 5), Time(NOW - 6), now=NOW)


async def test_a_partition_that_is_not_there_is_an_error(log: MemoryLog) -> None:
    with pytest.raises(UsageError, match="no partition 17"):
        await resolve(log, TOPIC, Offsets({17: 0}), Edge.LATEST, now=NOW)


async def test_what_retention_took_is_an_error_and_not_a_smaller_range(log: MemoryLog) -> None:
    log.starts[at(0)] = 3
    with pytest.raises(GoneError, match="older than the topic's retention"):
        await resolve(log, TOPIC, Time(NOW - 8 * DAY), Edge.LATEST, now=NOW, kept_s=7 * DAY)
    with pytest.raises(GoneError, match="starts at offset 3"):
        await resolve(log, TOPIC, Offsets({0: 2}), Edge.LATEST, now=NOW)
    assert OffsetRange(at(0), 3, 24) in await resolve(log, TOPIC, Edge.EARLIEST, Edge.LATEST, now=NOW)
    # Within the retention nothing can be gone: what lies before the first record was never there.
    assert OffsetRange(at(0), 3, 24) in await resolve(log, TOPIC, Time(NOW - DAY), Edge.LATEST, now=NOW)


async def test_a_span_is_read_page_by_page_and_no_further(log: MemoryLog) -> None:
    pages = [[record.offset for record in page] async for page in records(log, OffsetRange(at(0), 2, 9), page=3)]
    assert pages == [[2, 3, 4], [5, 6, 7], [8]]


@pytest.mark.parametrize(
    ("span", "page", "counts"),
    [
        (OffsetRange(at(0), 2, 9), 3, [3, 3, 1, 0]),
        (OffsetRange(at(0), 2, 9), 100, [7, 0]),
        (OffsetRange(at(0), 22, 30), 100, [2, 6]),  # no record stands at its end
        (OffsetRange(at(0), 24, 30), 100, [6]),
        (OffsetRange(at(0), 5, 5), 100, [0]),
    ],
)
async def test_all_offsets_of_a_span_are_told_whether_or_not_a_record_is_there(
    log: MemoryLog, span: OffsetRange, page: int, counts: list[int]
) -> None:
    step = HeardStep("records", span.size)
    found = [record.offset async for record in each(log, span, page=page, step=step)]
    assert found == list(range(span.start, min(span.end, 24)))
    assert step.counts == counts
    assert step.done == span.size


async def test_what_was_not_read_is_not_told_as_done(log: MemoryLog) -> None:
    step = HeardStep()
    found = each(log, OffsetRange(at(0), 0, 20), page=5, step=step)
    assert [(await anext(found)).offset for _ in range(7)] == list(range(7))
    log.broken = AWAY
    assert [(await anext(found)).offset for _ in range(3)] == [7, 8, 9]
    with pytest.raises(LogUnavailableError):
        await anext(found)
    assert step.done == 10


async def test_others_have_their_turn_while_a_span_is_read(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "TURN_S", 0.0)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    assert len([record async for record in each(log, OffsetRange(at(0), 0, 20))]) == 20
    task.cancel()
    assert turns >= 20


@pytest.mark.parametrize(
    ("kept_from", "start", "span"),
    [
        (0, 0, (0, 24)),
        (0, 5, (5, 24)),
        (7, 5, (7, 24)),
        (0, 24, (24, 24)),
        (0, 30, (30, 30)),  # a position that the log does not reach any more is empty, and no error
    ],
)
async def test_from_an_offset_on_is_what_is_left_as_far_as_it_goes_now(
    log: MemoryLog, kept_from: int, start: int, span: tuple[int, int]
) -> None:
    log.starts[at(0)] = kept_from
    assert await onward(log, at(0), start) == OffsetRange(at(0), *span)


@pytest.mark.parametrize("seconds", [NOW, NOW - 1.0, NOW + 1.0])
async def test_what_any_clock_dates_is_looked_for_from_so_much_earlier_as_clocks_differ(seconds: float) -> None:
    log = MemoryLog()
    early = seconds - CLOCKS_APART_S
    for log.now in (early - 1.0, early, seconds, seconds + 9.0):
        log.put(at(0), b"k", b"v")
    assert await since(log, at(0), seconds) == OffsetRange(at(0), 1, 4)


@pytest.mark.parametrize(("kept_from", "seconds"), [(0, 0.0), (1, 101.0), (3, 103.0), (4, NOW)])
async def test_what_may_be_gone_is_older_than_the_oldest_record_that_is_left(kept_from: int, seconds: float) -> None:
    log = MemoryLog()
    for log.now in (100.0, 101.0, 102.0, 103.0):
        log.put(at(0), b"k", b"v")
    log.starts[at(0)] = kept_from
    assert await gone_until_s(log, at(0), NOW) == seconds


def test_a_span_can_be_written_down() -> None:
    span = OffsetRange(at(3), 5, 8)
    assert span_from(span.as_json()) == span
