"""Retention and compaction on either broker, while clients write and read: offsets get holes, and readers go on."""

import asyncio
from collections.abc import Sequence

from tests.contracts.logs import Collected, Log, append_many, new_topic, offsets, read_all, until, values
from tests.contracts.test_log_tails import SMALL, take
from weir.log.log import LogClient, Partition, Record
from weir.log.tails import TailLimits, Tails


async def test_retention_takes_what_is_old_and_readers_go_on(log: Log, client: LogClient) -> None:
    at = await new_topic(client, 1, retention_s=2.0)
    tails = Tails(client, TailLimits(ring_records=5, queue_records=5, page_records=10))
    await tails.start()
    collected, other = Collected(), await log.client()
    await other.follow(at, 0, collected)
    await append_many(client, at, 50)
    async with tails.open(at, 0) as prompt, tails.open(at, 0) as overtaken, asyncio.timeout(60):
        assert await take(prompt, 49) == list(range(50))
        assert offsets(await overtaken.next(timeout=20)) == list(range(10))
        while await client.bounds(at) != (50, 50):
            await log.upkeep()
            await asyncio.sleep(0.1)
        assert await read_all(client, at) == []
        assert await client.offset_at(at, 0.0) == 50
        assert await client.append(*at, None, b"next") == 50
        for tail in (prompt, overtaken):
            assert await take(tail, 50) == [50]
        await collected.reach(at, 50)
        assert collected.offsets(at) == list(range(51))
    await tails.stop()


async def test_a_tail_that_retention_has_overtaken_goes_on_at_the_start(
    log: Log, client: LogClient, at: Partition
) -> None:
    tails = Tails(client, TailLimits(ring_records=5, queue_records=5, page_records=10))
    await tails.start()
    await append_many(client, at, 100)
    async with tails.open(at, 0) as behind, tails.open(at) as live:
        assert offsets(await behind.next(timeout=20)) == list(range(10))
        await append_many(client, at, 100)
        await until(lambda: tails_position(tails, at) == 200)  # and `live` has overflown
        await log.cut(at, 160)
        assert await take(behind, 199) == list(range(160, 200))
        assert await take(live, 199) == list(range(160, 200))
        async with tails.open(at, 0) as late:
            assert await take(late, 199) == list(range(160, 200))
        await client.append(*at, None, b"v")
        assert await take(behind, 200) == await take(live, 200) == [200]
    await tails.stop()


def tails_position(tails: Tails, at: Partition) -> int:
    return tails._feeds[at].position


async def test_retention_beside_writers_and_readers_removes_nothing_from_readers_that_keep_up(
    log: Log, client: LogClient, at: Partition
) -> None:
    tails = Tails(client, SMALL)
    await tails.start()
    collected, other = Collected(), await log.client()
    await other.follow(at, 0, collected)

    async def write() -> None:
        for _ in range(150):
            await append_many(client, at, 10)
            await asyncio.sleep(0.002)

    async with tails.open(at, 0) as tail, asyncio.timeout(60):
        writer = asyncio.create_task(write())
        read: list[int] = []
        for start in (100, 500, 501, 1200):
            read += await take(tail, start)
            await collected.reach(at, start)
            await log.cut(at, start)
            async with tails.open(at, 0) as late:
                (first, *_) = await late.next(timeout=20)
                assert first.offset == start
        await writer
        read += await take(tail, 1499)
        assert read == list(range(1500))
        await collected.reach(at, 1499)
        assert collected.offsets(at) == list(range(1500))
        assert offsets(await read_all(client, at)) == list(range(1200, 1500))
    await tails.stop()


class Table:
    """Writes a compacted partition and remembers what was written."""

    def __init__(self, client: LogClient, at: Partition) -> None:
        self.client = client
        self.at = at
        self.written: list[tuple[bytes, bytes | None]] = []  # by offset
        self.stopping = asyncio.Event()

    async def append(self, key: bytes, value: bytes | None) -> int:
        self.written.append((key, value))
        return await self.client.append(*self.at, key, value)

    async def write(self) -> None:
        assert await self.append(b"deleted", b"v") == 0
        assert await self.append(b"deleted", None) == 1
        while not self.stopping.is_set():
            count = len(self.written)
            await asyncio.gather(*(self.append(b"%d" % (n % 7), b"%d" % n) for n in range(count, count + 10)))
            await asyncio.sleep(0.005)

    async def read(self, tails: Tails, key: bytes | None = None, pause_s: float = 0.0) -> list[Record]:
        """The records that a tail from the start gets until the writing has stopped."""
        got: list[Record] = []
        async with tails.open(self.at, 0, key) as tail:
            while not self.stopping.is_set():
                got += await tail.next(timeout=0.1)
                await asyncio.sleep(pause_s)
            return got + await tail.look()

    @property
    def content(self) -> dict[bytes | None, bytes | None]:
        """The present content: the newest value of each key that is not deleted."""
        return {key: value for key, value in dict(self.written).items() if value is not None}


async def test_compaction_beside_writers_and_readers_makes_holes_that_no_reader_notices(
    log: Log, client: LogClient
) -> None:
    at = await log.new_table()
    tails, table = Tails(client, SMALL), Table(client, at)
    await tails.start()
    collected, other = Collected(), await log.client()
    await other.follow(at, 0, collected)
    async with asyncio.timeout(90):
        writer = asyncio.create_task(table.write())
        readers = [
            (None, asyncio.create_task(table.read(tails))),
            (b"3", asyncio.create_task(table.read(tails, b"3"))),
            (None, asyncio.create_task(table.read(tails, pause_s=0.05))),
        ]
        while len(table.written) < 2500 or len(await read_all(client, at)) > len(table.written) / 3:
            await log.upkeep()
            await asyncio.sleep(0.2)
        readers.append((None, late := asyncio.create_task(table.read(tails))))
        await asyncio.sleep(0.3)
        table.stopping.set()
        await writer
        acknowledged = len(table.written) - 10  # later records may have come after a reader's last look
        await asyncio.gather(*(reader for _, reader in readers))
        last = await table.append(b"last", None)
        await collected.reach(at, last)
        for _ in range(3):
            await log.upkeep()
            await asyncio.sleep(0.3)
    await tails.stop()
    await log.close()
    client = await log.client()  # a new client has no records in memory
    remaining = await read_all(client, at)
    assert_complete(collected.records[0], remaining, table)
    for key, reader in readers:
        wanted = [record for record in remaining if key in (None, record.key) and record.offset < acknowledged]
        assert_complete(reader.result(), wanted, table)
    assert len(late.result()) < len(table.written) / 2, "it began in the holes"

    assert offsets(remaining)[-1] == last == len(table.written) - 1, "the last record stays, although it deletes"
    assert values(await client.read(at, last)) == [None]
    assert {record.key: record.value for record in remaining} == table.content | {b"last": None}
    for position in (0, 1, offsets(remaining)[1] - 1, last - 1, last):
        assert await read_all(client, at, position, limit=2) == [r for r in remaining if r.offset >= position]


def assert_complete(got: Sequence[Record], remaining: Sequence[Record], table: Table) -> None:
    """Each remaining record once and in order; other records only if they were in the log when they were read."""
    assert offsets(got) == sorted(set(offsets(got)))
    assert {record.offset for record in remaining} <= {record.offset for record in got}
    assert [(record.key, record.value) for record in got] == [table.written[record.offset] for record in got]
