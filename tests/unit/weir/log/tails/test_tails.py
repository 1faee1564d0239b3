"""Tails over a small log in memory: order, each record once, at every seam between ring, pages and live feed."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from weir import timing
from weir.log.log import Bounds, Deliver, Headers, LogUnavailableError, Partition, Record, Retentions, TopicSpec
from weir.log.tails import Tail, TailLimits, Tails

AT = Partition("chunks", 0)
SMALL = TailLimits(ring_records=8, queue_records=8, page_records=3, look_wait_s=0.02)


class MemoryLog:
    """One partition in memory. The feed delivers when the test says so, or at once with ``auto``."""

    def __init__(self, *, auto: bool = True) -> None:
        self.records: list[Record] = []
        self.end = 0
        self.start_offset = 0
        self.auto = auto
        self.fed = 0  # offset up to which the feed has delivered
        self.deliver: Deliver | None = None
        self.calls = {"bounds": 0, "read": 0, "follow": 0, "unfollow": 0}
        self.broken = False
        self.unheard = 0  # records that a new leader does not know to be durable yet
        self.read_delay_s = 0.0

    def write(self, key: bytes | None = b"k", value: bytes = b"v") -> int:
        self.records.append(Record(AT.topic, AT.partition, self.end, 0.0, key, value, ()))
        self.end += 1
        if self.auto:
            self.feed()
        return self.end - 1

    def hole(self, size: int = 1) -> None:
        self.end += size

    def feed(self, up_to: int | None = None) -> None:
        up_to = self.end if up_to is None else up_to
        news = [record for record in self.records if self.fed <= record.offset < up_to]
        self.fed = max(self.fed, up_to)
        if self.deliver is not None and news:
            self.deliver(news)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def create_topics(self, topics: Sequence[TopicSpec], *, replication: int) -> Retentions:
        del replication
        return {topic.name: topic.retention_s for topic in topics}

    def partitions(self, topic: str) -> int:
        del topic
        return 1

    def record_max_bytes(self, topic: str) -> int:
        del topic
        return 1 << 20

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Awaitable[int]:
        raise NotImplementedError

    async def bounds(self, at: Partition) -> Bounds:
        del at
        self.calls["bounds"] += 1
        await asyncio.sleep(0)
        return Bounds(self.start_offset, self.end - self.unheard)

    async def offset_at(self, at: Partition, timestamp: float) -> int:
        raise NotImplementedError

    async def read(self, at: Partition, position: int, *, limit: int = 500) -> list[Record]:
        del at
        self.calls["read"] += 1
        await asyncio.sleep(self.read_delay_s)
        if self.broken:
            raise LogUnavailableError("no broker")
        start, end = max(position, self.start_offset), self.end - self.unheard
        return [r for r in self.records if start <= r.offset < end][:limit]

    async def topic_id(self, topic: str) -> str:
        del topic
        return ""

    async def follow(
        self, at: Partition, position: int, deliver: Deliver, on_replaced: Callable[[], None] = lambda: None
    ) -> None:
        del at, on_replaced
        self.calls["follow"] += 1
        assert self.deliver is None, "one follower per partition"
        await asyncio.sleep(0)
        self.deliver, self.fed = deliver, position
        if self.auto:
            self.feed()

    async def unfollow(self, at: Partition) -> None:
        del at
        self.calls["unfollow"] += 1
        self.deliver = None


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
async def tails(log: MemoryLog) -> AsyncIterator[Tails]:
    tails = Tails(log, SMALL)
    await tails.start()
    async with asyncio.timeout(20):
        yield tails
        await tails.stop()


def offsets(records: Sequence[Record]) -> list[int]:
    return [record.offset for record in records]


async def take(tail: Tail, count: int) -> list[int]:
    """The offsets of the next ``count`` records or more."""
    taken: list[int] = []
    while len(taken) < count:
        records = await tail.next(timeout=2)
        assert records, f"nothing came after {taken}"
        taken += offsets(records)
    return taken


async def test_the_ring_spares_the_broker(log: MemoryLog, tails: Tails) -> None:
    await tails.end(AT)
    for _ in range(6):
        log.write()
    async with tails.open(AT, 2) as tail:
        assert await take(tail, 4) == [2, 3, 4, 5]
    assert log.calls["read"] == 0


async def test_a_position_older_than_the_ring_is_read_from_the_broker(log: MemoryLog, tails: Tails) -> None:
    await tails.end(AT)
    for _ in range(20):
        log.write()
    async with tails.open(AT, 1) as tail:
        assert await take(tail, 19) == list(range(1, 20))
    assert log.calls["read"] > 0


async def test_a_key_sees_only_its_records(log: MemoryLog, tails: Tails) -> None:
    keys = [b"a", b"b", None, b"a", b"b", b"a", b"a"]
    for key in keys:
        log.write(key)
    async with tails.open(AT, 0, b"a") as tail, tails.open(AT, 0, b"nobody") as silent:
        assert await take(tail, 4) == [0, 3, 5, 6]
        log.write(b"b")
        log.write(b"a")
        assert await take(tail, 1) == [8]
        assert await silent.next(timeout=0.01) == []
        assert silent.caught_up
        assert silent.position == 9


async def test_compaction_holes_are_skipped(log: MemoryLog, tails: Tails) -> None:
    log.write()
    log.hole(5)
    log.write()
    log.hole(3)  # at the end, too
    async with tails.open(AT, 0) as tail:
        assert await take(tail, 2) == [0, 6]
        assert offsets(await tail.look()) == []
        assert tail.position == 10
        log.write()
        assert await take(tail, 1) == [10]


@pytest.mark.parametrize(
    ("position", "upto", "found"),
    [
        (0, None, range(7)),
        (5, None, range(5, 7)),
        (7, None, ()),
        (0, 0, ()),
        (0, 4, range(6)),  # the last page goes further
        (0, 6, range(6)),
        (0, 99, range(7)),  # a record that is yet to come is not waited for
    ],
)
async def test_the_records_that_are_there_come_page_by_page(
    log: MemoryLog, tails: Tails, position: int, upto: int | None, found: Sequence[int]
) -> None:
    for _ in range(7):
        log.write()
    async with tails.open(AT, position) as tail:
        pages = [offsets(records) async for records in tail.pages(upto)]
    assert [offset for page in pages for offset in page] == list(found)
    assert all(0 < len(page) <= SMALL.page_records for page in pages)


async def test_others_have_their_turn_between_pages(
    log: MemoryLog, tails: Tails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timing, "TURN_S", 0.0)
    await tails.end(AT)
    for _ in range(8):
        log.write()  # all of them are in the ring: no page waits for the broker
    turns, found = 0, 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with tails.open(AT, 0) as tail:
        task = asyncio.create_task(other())
        async for _ in tail.pages():
            found += 1
        task.cancel()
    assert log.calls["read"] == 0
    assert turns >= found > 0


async def test_pages_of_a_log_that_fails_end_with_its_error_and_go_on_where_they_stood(
    log: MemoryLog, tails: Tails
) -> None:
    await tails.end(AT)
    for _ in range(20):
        log.write()
    async with tails.open(AT, 0) as tail:
        pages = tail.pages()
        seen = offsets(await anext(pages))
        log.broken = True
        with pytest.raises(LogUnavailableError):
            await anext(pages)
        log.broken = False
        seen += [offset async for records in tail.pages() for offset in offsets(records)]
        assert seen == list(range(20))


async def test_an_overflow_in_the_middle_of_a_batch_keeps_the_order(log: MemoryLog, tails: Tails) -> None:
    log.auto = False
    async with tails.open(AT) as tail:
        for _ in range(30):
            log.write()
        log.feed()  # more than the queue and the ring hold
        assert await take(tail, 30) == list(range(30))


async def test_a_tail_opened_ahead_of_the_feed_ignores_what_lies_below_it(log: MemoryLog, tails: Tails) -> None:
    log.auto = False
    await tails.end(AT)
    for _ in range(5):
        log.write()
    async with tails.open(AT, 3) as tail:
        log.feed()
        assert await take(tail, 2) == [3, 4]


async def test_catch_up_stops_at_the_live_position(log: MemoryLog, tails: Tails) -> None:
    for key in (b"a", b"b", b"a"):
        log.write(key)
    async with tails.open(AT, 0, b"a") as tail:
        assert offsets(await tail.catch_up()) == [0, 2]
        assert await tail.catch_up() == []
        log.write(b"a")
        assert offsets(await tail.catch_up()) == [3]


async def test_look_sees_what_the_feed_has_not_delivered_yet(log: MemoryLog, tails: Tails) -> None:
    log.auto = False
    async with tails.open(AT, 0) as tail:
        log.write()
        log.write()
        assert await tail.catch_up() == []
        assert offsets(await tail.look()) == [0, 1]
        log.feed()  # the feed comes later with the same records
        log.write()
        log.feed()
        assert await take(tail, 1) == [2]


async def test_look_waits_for_a_feed_that_is_just_about_to_deliver(log: MemoryLog, tails: Tails) -> None:
    log.auto = False
    async with tails.open(AT, 0) as tail:
        log.write()
        asyncio.get_running_loop().call_later(0.005, log.feed)
        assert offsets(await tail.look()) == [0]
        assert log.calls["read"] == 0


async def test_a_failed_read_is_an_error_and_loses_nothing(log: MemoryLog, tails: Tails) -> None:
    for _ in range(10):
        log.write()
    async with tails.open(AT, 0) as tail:
        log.broken = True
        with pytest.raises(LogUnavailableError):
            await tail.next(timeout=1)
        log.broken = False
        first = offsets(await tail.next(timeout=1))
        log.broken = True
        with pytest.raises(LogUnavailableError):
            await tail.catch_up()
        log.broken = False
        assert first + await take(tail, 7) == list(range(10))


async def test_a_new_leader_that_is_behind_costs_no_record(log: MemoryLog, tails: Tails) -> None:
    """Kafka: after a change of leaders, the new one learns only from its followers how much of its log is durable."""
    for _ in range(10):
        log.write()
    async with tails.open(AT, 0) as tail:
        log.unheard = 6
        assert await take(tail, 4) == [0, 1, 2, 3]
        for ask in (tail.next, tail.catch_up):
            with pytest.raises(LogUnavailableError, match="was at 10 and is back at 4"):
                await ask()
        log.unheard = 0
        assert await take(tail, 6) == [4, 5, 6, 7, 8, 9]


async def test_closing_wakes_a_reader_that_waits(tails: Tails) -> None:
    tail = tails.open(AT)
    await tail.__aenter__()
    waiting = asyncio.create_task(tail.next())
    await asyncio.sleep(0)
    await tail.close()
    assert await asyncio.wait_for(waiting, 1) == []
    assert [records async for records in tail] == []


async def test_a_cancelled_next_loses_nothing(log: MemoryLog, tails: Tails) -> None:
    for _ in range(10):
        log.write()
    log.read_delay_s = 0.01
    async with tails.open(AT, 0) as tail:
        for _ in range(5):
            assert await tail.next(timeout=0.002) == []
        log.read_delay_s = 0
        assert await take(tail, 10) == list(range(10))


async def test_a_second_task_on_one_tail_is_refused(tails: Tails) -> None:
    async with tails.open(AT) as tail:
        waiting = asyncio.create_task(tail.next(timeout=0.05))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="one reader"):
            await tail.next(timeout=0.05)
        await waiting


async def test_an_idle_partition_is_unfollowed_and_can_be_followed_again(log: MemoryLog) -> None:
    tails = Tails(log, TailLimits(linger_s=0.02))
    await tails.start()
    async with tails.open(AT):
        await asyncio.sleep(0.06)
        assert log.calls["unfollow"] == 0
    await asyncio.sleep(0.08)
    assert log.calls["unfollow"] == 1
    async with tails.open(AT, 0) as tail:
        log.write()
        assert await take(tail, 1) == [0]
    await tails.stop()
    assert log.calls["follow"] == log.calls["unfollow"] == 2


async def read_somehow(tail: Tail, chance: random.Random) -> list[Record]:
    way = chance.random()
    with contextlib.suppress(LogUnavailableError):
        if way < 0.1:
            return await tail.look()
        if way < 0.2:
            return await tail.catch_up()
        return await tail.next(timeout=chance.random() * 0.002)
    return []


@pytest.mark.parametrize("seed", range(40))
async def test_every_reader_gets_every_record_once_and_in_order(seed: int) -> None:
    """Random writers, holes, late feeds, slow readers, starting points, failures, and indexes of any size."""
    chance = random.Random(seed)
    log = MemoryLog(auto=False)
    limits = TailLimits(
        ring_records=chance.randint(1, 20),
        queue_records=chance.randint(1, 10),
        page_records=chance.randint(1, 7),
        look_wait_s=0.001,
        index_block=chance.randint(1, 8),
        index_bytes=chance.choice([0, 1000, 5000, 1 << 20]),
    )
    tails = Tails(log, limits)
    await tails.start()
    keys = [b"a", b"b", b"c", None]
    for _ in range(chance.choice([0, 200])):  # older than the feed
        log.write(chance.choice(keys))
    log.start_offset = chance.randint(0, log.end) // 2

    async def write() -> None:
        for _ in range(300):
            if chance.random() < 0.1:
                log.hole(chance.choice([1, 4, 40]))
            log.write(chance.choice(keys))
            log.broken = chance.random() < 0.1
            if chance.random() < 0.4:
                log.feed(chance.randint(log.fed, log.end))
            if chance.random() < 0.2:
                await asyncio.sleep(0)
        log.write(b"end")
        log.broken = False
        log.feed()

    async def read(key: bytes | None) -> tuple[bytes | None, int, list[int]]:
        await asyncio.sleep(chance.random() * 0.003)
        position = chance.randint(0, log.end)
        got: list[int] = []
        async with tails.open(AT, position, key) as tail:
            while not (finished.is_set() and tail.position >= log.end):
                got += offsets(await read_somehow(tail, chance))
        return key, position, got

    finished = asyncio.Event()
    readers = [asyncio.create_task(read(chance.choice([b"a", b"b", b"none", None]))) for _ in range(20)]
    await asyncio.gather(asyncio.sleep(0), write())
    finished.set()
    async with asyncio.timeout(10):
        for key, position, got in await asyncio.gather(*readers):
            first = max(position, log.start_offset)
            want = [r.offset for r in log.records if r.offset >= first and key in (None, r.key)]
            assert got == want
    await tails.stop()
