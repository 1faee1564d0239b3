"""Retention removes prefixes, compaction makes holes, and readers notice neither."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from weir.log.embedded.file import LogFile
from weir.log.embedded.upkeep import Upkeep, vacuum
from weir.log.log import LogUnavailableError, Partition, TopicSpec

KEPT, SHORT, TABLE = Partition("kept", 0), Partition("short", 0), Partition("table", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[LogFile]:
    file = LogFile.open(path)
    await file.create_topics(
        [
            TopicSpec(name="kept", partitions=1),
            TopicSpec(name="short", partitions=1, retention_s=100.0),
            TopicSpec(name="table", partitions=1, compacted=True),
        ]
    )
    yield file
    await asyncio.to_thread(file.close)


def forget(log: LogFile) -> None:
    """Act as if the file had just been opened: compacted records may still be read from memory."""
    log._recent.clear()


async def append(log: LogFile, at: Partition, key: bytes, value: bytes | None, age_s: float = 1000.0) -> None:
    await log.append(at, key, value, timestamp=time.time() - age_s)


def compaction(log: LogFile) -> Upkeep:
    return Upkeep(log, min_dirty=1)


async def test_retention_takes_the_old_prefix_and_nothing_else(log: LogFile) -> None:
    for at in (KEPT, SHORT):
        for i in range(2500):
            log.append(at, None, b"%d" % i, timestamp=time.time() - 1000)
        log.append(at, None, b"young")
        await append(log, at, b"", b"old behind a young one")
    await Upkeep(log).sweep()
    assert log.bounds(SHORT) == (2500, 2502)
    assert log.bounds(KEPT) == (0, 2502)
    forget(log)
    assert [r.value for r in log.read(SHORT, 0)] == [b"young", b"old behind a young one"]
    assert len(log.read(KEPT, 0, 5000)) == 2502
    assert log.offset_at(SHORT, 0) == 2500


async def test_compaction_keeps_the_newest_record_of_each_key_and_the_last_of_all(log: LogFile) -> None:
    for round_ in range(3):
        for key in (b"a", b"b", b"c"):
            await append(log, TABLE, key, b"%d" % round_)
    await append(log, TABLE, b"a", None)
    await append(log, TABLE, b"a", None)
    await Upkeep(log, min_dirty=1, tombstone_s=1.0).sweep()
    forget(log)
    assert [(r.offset, r.key, r.value) for r in log.read(TABLE, 0)] == [
        (7, b"b", b"2"),
        (8, b"c", b"2"),
        (10, b"a", None),  # would go, but recovery waits for the record at the end
    ]
    assert log.bounds(TABLE) == (0, 11)


async def test_tombstones_stay_for_their_time_and_never_uncover_what_they_delete(log: LogFile) -> None:
    await append(log, TABLE, b"a", b"alive")
    await append(log, TABLE, b"a", None)
    await append(log, TABLE, b"z", b"last")
    await compaction(log).sweep()
    forget(log)
    assert [(r.key, r.value) for r in log.read(TABLE, 0)] == [(b"a", None), (b"z", b"last")]
    await Upkeep(log, min_dirty=1, tombstone_s=1.0).sweep()
    forget(log)
    assert [(r.key, r.value) for r in log.read(TABLE, 0)] == [(b"z", b"last")]


async def test_young_records_and_records_without_a_key_are_not_compacted(log: LogFile) -> None:
    for _ in range(2):
        await log.append(TABLE, None, b"no key", timestamp=0.0)
    await append(log, TABLE, b"a", b"superseded, young", age_s=1)
    await append(log, TABLE, b"a", b"new", age_s=1)
    await compaction(log).sweep()
    forget(log)
    assert len(log.read(TABLE, 0)) == 4


async def test_a_partition_is_compacted_again_only_when_half_of_it_is_new(log: LogFile) -> None:
    upkeep = compaction(log)
    for i in range(10):
        await append(log, TABLE, b"%d" % i, b"")
    await upkeep.sweep()
    for i in range(5):
        await append(log, TABLE, b"%d" % i, b"")
    await upkeep.sweep()
    forget(log)
    assert len(log.read(TABLE, 0)) == 15
    for i in range(5):
        await append(log, TABLE, b"%d" % i, b"")
    await upkeep.sweep()
    forget(log)
    assert len(log.read(TABLE, 0)) == 10


async def test_freed_space_is_used_again(log: LogFile) -> None:
    async def fill() -> int:
        for _ in range(3000):
            log.append(SHORT, None, bytes(1000), timestamp=0.0)
        await log.barrier()
        await Upkeep(log).sweep()
        pages: int = await log.run(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        return pages

    first = await fill()
    assert await fill() <= first * 1.2


async def test_vacuum_gives_space_back_when_no_process_uses_the_file(path: Path) -> None:
    log = LogFile.open(path)
    await log.create_topics([TopicSpec(name="short", partitions=1, retention_s=100.0)])
    for _ in range(3000):
        log.append(SHORT, b"k", bytes(1000), timestamp=0.0)
    await log.append(SHORT, b"k", b"kept")
    await Upkeep(log).sweep()
    with pytest.raises(LogUnavailableError, match="cannot be compacted"):
        await log.run(lambda _: vacuum(path))
    await asyncio.to_thread(log.close)
    before, after = vacuum(path)
    assert after < before / 5
    log = LogFile.open(path)
    assert [r.value for r in log.read(SHORT, 0)] == [b"kept"]
    await asyncio.to_thread(log.close)
