"""Readers of one key find their places in the index: records of other keys cost them nothing."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.unit.weir.log.tails.test_tails import AT, MemoryLog, offsets, take
from weir.log.log import LogUnavailableError
from weir.log.tails import Tail, TailLimits, Tails
from weir.log.tails.index import Index

LIMITS = TailLimits(ring_records=8, queue_records=8, page_records=50, look_wait_s=0.02, index_block=4)


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def tails(log: MemoryLog) -> AsyncIterator[Tails]:
    tails = Tails(log, LIMITS)
    await tails.start()
    async with asyncio.timeout(20):
        yield tails
        await tails.stop()


def fill(log: MemoryLog, count: int) -> None:
    """Records of other keys, written before a tail follows."""
    log.auto = False
    for _ in range(count):
        log.write(b"other")
    log.auto = True


def index_of(tail: Tail) -> Index:
    return tail.feed.index


async def whole(tails: Tails, position: int, key: bytes) -> list[int]:
    async with tails.open(AT, position, key) as tail:
        return offsets(await tail.catch_up())


async def test_a_thousand_readers_of_an_old_log_scan_it_once(log: MemoryLog, tails: Tails) -> None:
    keys = [b"uid-%d" % number for number in range(1000)]
    for key in keys:
        for _ in range(3):
            log.write(key)
    got = await asyncio.gather(*(whole(tails, 0, key) for key in keys))
    assert got == [[3 * n, 3 * n + 1, 3 * n + 2] for n in range(1000)]
    assert log.calls["read"] <= 3000 / 50 + 1000 * 2  # the scan, and of each its own records
    log.calls["read"] = 0
    assert await asyncio.gather(*(whole(tails, 0, b"new-%d" % n) for n in range(1000))) == [[]] * 1000
    assert log.calls["read"] == 0


async def test_a_scan_is_shared_by_all_readers_that_wait_for_it(log: MemoryLog, tails: Tails) -> None:
    for _ in range(500):
        log.write(b"other")
    assert await asyncio.gather(*(whole(tails, 0, b"new-%d" % n) for n in range(100))) == [[]] * 100
    assert log.calls["read"] == 500 / 50


async def test_what_was_delivered_is_known_without_a_scan(log: MemoryLog, tails: Tails) -> None:
    start = (await tails.end(AT)).offset
    for _ in range(50):
        log.write(b"a")
    for _ in range(50):
        log.write(b"b")
    assert await whole(tails, start, b"nobody") == []
    assert log.calls["read"] == 0
    assert await whole(tails, start, b"a") == list(range(50))
    assert log.calls["read"] <= 2
    async with tails.open(AT, 0, b"b") as tail:
        log.write(b"b")
        assert await take(tail, 51) == list(range(50, 101))


async def test_a_slow_reader_of_a_key_skips_what_others_wrote_meanwhile(log: MemoryLog, tails: Tails) -> None:
    async with tails.open(AT, None, b"a") as tail:
        for _ in range(9):  # more than its queue holds
            log.write(b"a")
        for _ in range(1000):
            log.write(b"b")
        assert await take(tail, 9) == list(range(9))
        assert await tail.next(timeout=0.01) == []
        assert tail.caught_up
        assert log.calls["read"] <= 2


async def test_readers_at_different_positions_get_their_records(log: MemoryLog, tails: Tails) -> None:
    for number in range(600):
        log.write(b"k%d" % (number % 7))
    log.read_delay_s = 0.0005
    positions = [599, 300, 0, 450, 1, 100, 600]
    got = await asyncio.gather(*(whole(tails, position, b"k3") for position in positions))
    assert got == [[n for n in range(position, 600) if n % 7 == 3] for position in positions]


async def test_a_reader_that_waits_for_little_does_not_wait_for_all(log: MemoryLog, tails: Tails) -> None:
    fill(log, 5000)
    log.read_delay_s = 0.001
    far = asyncio.create_task(whole(tails, 0, b"new"))
    assert await whole(tails, 4980, b"new") == []
    assert not far.done()
    assert await far == []


async def test_the_bound_is_kept_and_older_readers_are_right(log: MemoryLog) -> None:
    tails = Tails(log, TailLimits(ring_records=8, page_records=50, index_block=4, index_bytes=20_000))
    await tails.start()
    for number in range(1000):
        log.write(b"k%d" % (number // 4))
    async with tails.open(AT, 0, b"k1") as tail:
        index = index_of(tail)
        assert offsets(await tail.catch_up()) == [4, 5, 6, 7]
        assert index.full
        start = index.start
        assert 0 < start < 1000
        for number in range(1000):
            log.write(b"n%d" % (number // 4))
        assert index.start > start
        assert index._size_bytes <= 20_000
        assert len(index._places) < 100
    for position, key, want in (
        (0, b"k0", range(4)),
        (3, b"k0", range(3, 4)),
        (0, b"k249", range(996, 1000)),
        (0, b"n249", range(1996, 2000)),
        (index.start, b"n249", range(1996, 2000)),
        (1997, b"n249", range(1997, 2000)),
        (0, b"nobody", range(0)),
    ):
        assert await whole(tails, position, key) == list(want)
    await tails.stop()


async def test_an_index_that_gives_up_while_it_is_scanned_claims_nothing_that_it_lost(log: MemoryLog) -> None:
    tails = Tails(log, TailLimits(ring_records=8, page_records=50, index_block=4, index_bytes=20_000))
    await tails.start()
    for _ in range(100):
        log.write(None)
    log.read_delay_s = 0.005
    async with tails.open(AT, 0, b"a") as tail:
        reading = asyncio.create_task(tail.catch_up())
        await asyncio.sleep(0.002)
        log.write(b"a")
        for number in range(200):
            log.write(b"k%d" % number)
        assert index_of(tail).full
        assert offsets(await reading + await tail.catch_up()) == [100]
    await tails.stop()


async def test_a_scan_that_fails_is_the_error_of_all_its_readers_and_costs_no_record(
    log: MemoryLog, tails: Tails
) -> None:
    for number in range(300):
        log.write(b"k%d" % (number % 3))
    log.read_delay_s = 0.003
    async with tails.open(AT, 0, b"k0") as one, tails.open(AT, 0, b"k1") as two:
        both = asyncio.gather(one.catch_up(), two.catch_up(), return_exceptions=True)
        while index_of(one).start > 200:
            await asyncio.sleep(0.001)
        log.broken, reads = True, log.calls["read"]
        assert [type(result) for result in await both] == [LogUnavailableError, LogUnavailableError]
        assert log.calls["read"] <= reads + 1
        log.broken = False
        assert 0 < index_of(one).start <= 200
        assert offsets(await one.catch_up()) == list(range(0, 300, 3))
        assert offsets(await two.catch_up()) == list(range(1, 300, 3))


async def test_a_leader_that_is_behind_cannot_hide_records_from_the_index(log: MemoryLog, tails: Tails) -> None:
    for _ in range(20):
        log.write(b"a")
    async with tails.open(AT, 0, b"a") as tail:
        log.unheard = 10
        with pytest.raises(LogUnavailableError, match="was at 20 and is back at 10"):
            await tail.catch_up()
        log.unheard = 0
        assert offsets(await tail.catch_up()) == list(range(20))


async def test_a_cancelled_reader_leaves_the_others_their_scan(log: MemoryLog, tails: Tails) -> None:
    for number in range(500):
        log.write(b"k%d" % (number % 2))
    log.read_delay_s = 0.001
    first, second = (asyncio.create_task(whole(tails, 0, key)) for key in (b"k0", b"k1"))
    await asyncio.sleep(0.004)
    first.cancel()
    assert await second == list(range(1, 500, 2))
    assert first.cancelled()


async def test_a_scan_ends_when_no_reader_waits_any_more(log: MemoryLog, tails: Tails) -> None:
    fill(log, 5000)
    log.read_delay_s = 0.001
    async with tails.open(AT, 0, b"a") as tail:
        assert await tail.next(timeout=0.01) == []
        await asyncio.sleep(0.01)
        reads = log.calls["read"]
        await asyncio.sleep(0.02)
        assert log.calls["read"] == reads < 100
        waiting = asyncio.create_task(tail.next())
        await asyncio.sleep(0.005)
        await tail.close()
        assert await waiting == []


async def test_stopping_ends_a_scan_and_its_waiters(log: MemoryLog) -> None:
    tails = Tails(log, LIMITS)
    await tails.start()
    fill(log, 5000)
    async with tails.open(AT, 0, b"a") as tail:
        log.read_delay_s = 60.0
        waiting = asyncio.create_task(tail.next())
        await asyncio.sleep(0.005)
        await asyncio.wait_for(tails.stop(), 1)
        assert await asyncio.wait_for(waiting, 1) == []


async def test_a_position_that_retention_overtook_is_scanned_to_the_start_of_the_log_only(
    log: MemoryLog, tails: Tails
) -> None:
    log.hole(100_000)
    for _ in range(100):
        log.write(b"a")
    log.start_offset = 100_050
    assert await whole(tails, 0, b"a") == list(range(100_050, 100_100))
    assert await whole(tails, 0, b"b") == []
    assert log.calls["read"] <= 5


async def test_a_large_hole_takes_few_reads(log: MemoryLog, tails: Tails) -> None:
    log.write(b"a")
    log.hole(100_000)
    log.write(b"b")
    log.write(b"a")
    log.hole(10_000)
    assert await whole(tails, 0, b"a") == [0, 100_002]
    assert log.calls["read"] < 60


async def test_records_that_retention_removes_after_they_were_indexed_are_skipped(log: MemoryLog, tails: Tails) -> None:
    for number in range(200):
        log.write(b"k%d" % (number % 2))
    assert await whole(tails, 0, b"nobody") == []
    log.start_offset = 150
    assert await whole(tails, 0, b"k0") == list(range(150, 200, 2))
    log.start_offset = 200
    assert await whole(tails, 0, b"k0") == []
