"""The log file alone: order, group commit, failures, formats."""

import asyncio
import contextlib
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from weir.log.embedded import writer
from weir.log.embedded.file import LogFile
from weir.log.embedded.schema import FORMAT, connect
from weir.log.log import Bounds, LogRefusedError, LogUnavailableError, Partition, Record, TopicSpec

T0, T1 = Partition("t", 0), Partition("t", 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[LogFile]:
    file = LogFile.open(path)
    await file.create_topics([TopicSpec(name="t", partitions=2)])
    yield file
    await asyncio.to_thread(file.close)


async def fill_disk(log: LogFile) -> None:
    """Forbid the writing connection to let the file grow."""
    await log.run(lambda db: db.execute("PRAGMA max_page_count=1").fetchall())


async def free_disk(log: LogFile) -> None:
    await log.run(lambda db: db.execute("PRAGMA max_page_count=1000000").fetchall())


async def test_records_have_consecutive_offsets_in_call_order_and_come_back_whole(log: LogFile) -> None:
    headers = [("a", b"1"), ("b", b"\xff\x00"), ("a", b"2")]
    before = time.time()
    appended = [
        log.append(T0, b"k", b"v0", headers),
        log.append(T1, None, None),
        log.append(T0, b"", b"", timestamp=7.5),
    ]
    assert await asyncio.gather(*appended) == [0, 0, 1]
    first, second = log.read(T0, 0)
    assert (first.topic, first.partition, first.offset, first.key, first.value) == ("t", 0, 0, b"k", b"v0")
    assert list(first.headers) == headers
    assert before <= first.timestamp <= time.time()
    assert (second.key, second.value, second.timestamp) == (b"", b"", 7.5)
    assert log.read(T1, 0)[0].value is None
    assert log.bounds(T0) == Bounds(0, 2)


async def test_what_is_read_from_the_file_is_what_was_read_from_memory(path: Path) -> None:
    log = LogFile.open(path)
    await log.create_topics([TopicSpec(name="t", partitions=2)])
    await asyncio.gather(*(log.append(T0, b"k", b"%d" % i, [("h", b"\x80")]) for i in range(20)))
    remembered = log.read(T0, 3)
    await asyncio.to_thread(log.close)
    again = LogFile.open(path)
    assert again is not log
    assert again.read(T0, 3) == remembered
    assert await again.append(T0, None, b"next") == 20
    await asyncio.to_thread(again.close)


async def test_many_appends_are_few_transactions(log: LogFile) -> None:
    committed = []
    inner = log._writer._on_committed

    def count(fresh: dict[int, list[Record]]) -> None:
        committed.append(len(fresh))
        inner(fresh)

    log._writer._on_committed = count
    futures = [log.append(Partition("t", i % 2), b"k", b"v") for i in range(5000)]
    offsets = await asyncio.gather(*futures)
    assert offsets == [i // 2 for i in range(5000)]
    assert len(committed) < 100
    assert [r.offset for r in log.read(T0, 0, 5000)] == list(range(2500))


async def test_reads_are_bounded_by_count_and_by_size(log: LogFile) -> None:
    await asyncio.gather(*(log.append(T0, None, bytes(1 << 20)) for _ in range(12)))
    assert len(log.read(T0, 0, 3)) == 1  # 512 bytes for each that was asked for, and one more
    assert len(log.read(T0, 0, 5000)) == 3
    assert len(log.read(T0, 0, 50_000)) == 5  # 4 MiB and one more
    assert [r.offset for r in log.read(T0, 10, 50_000)] == [10, 11]
    assert log.read(T0, 12) == []
    assert log.read(T0, 99) == []


async def test_offset_at_finds_the_first_record_that_is_not_older(log: LogFile) -> None:
    stamps = [float(i // 3) for i in range(9000)]
    stamps[4000] = 2500.5  # a record from a clock that runs ahead
    await asyncio.gather(*(log.append(T0, None, b"", timestamp=stamp) for stamp in stamps))

    def expected(timestamp: float) -> int:
        return next((i for i, stamp in enumerate(stamps) if stamp >= timestamp), len(stamps))

    for timestamp in (-1.0, 0.0, 0.5, 1.0, 1333.0, 1500.0, 2500.5, 2501.0, 2999.0, 2999.5):
        assert log.offset_at(T0, timestamp) == expected(timestamp), timestamp
    assert log.offset_at(T1, 0.0) == 0


async def test_functions_run_in_the_order_of_the_appends(log: LogFile) -> None:
    count = "SELECT count(*) FROM records"
    log.append(T0, None, b"1")
    one = log.run(lambda db: db.execute(count).fetchone()[0])
    log.append(T0, None, b"2")
    two = log.run(lambda db: db.execute(count).fetchone()[0])
    assert (await one, await two) == (1, 2)


async def test_a_function_that_raises_fails_alone(log: LogFile) -> None:
    def refuse(db: sqlite3.Connection) -> None:
        db.execute("DELETE FROM topics")
        raise LogRefusedError("no")

    before, failed, after = log.append(T0, None, b"a"), log.run(refuse), log.append(T0, None, b"b")
    with pytest.raises(LogRefusedError, match="no"):
        await failed
    assert (await before, await after) == (0, 1)
    log.refresh()
    assert log.partitions("t") == 2


async def test_offsets_of_a_group_are_kept(log: LogFile) -> None:
    assert log.committed("g") == {}
    await log.commit("g", {T0: 3, T1: 4})
    await log.commit("g", {T0: 5})
    assert log.committed("g") == {T0: 5, T1: 4}
    assert log.committed("other") == {}


async def test_on_a_full_disk_every_waiting_append_fails_clearly_and_later_ones_work_again(log: LogFile) -> None:
    await log.append(T0, None, b"before")
    await fill_disk(log)
    results = await asyncio.gather(*(log.append(T0, None, bytes(100_000)) for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, LogUnavailableError) for result in results)
    assert "disk is full" in str(results[0])
    assert "\n" not in str(results[0])
    assert log.bounds(T0) == (0, 1)
    await free_disk(log)
    assert await log.append(T0, None, b"after") == 1
    assert [r.value for r in log.read(T0, 0)] == [b"before", b"after"]


async def test_nothing_is_acknowledged_that_is_not_in_the_file_while_the_disk_is_full_now_and_then(
    log: LogFile, path: Path
) -> None:
    """A failed record is not in the file: the offsets of the others follow on each other."""
    acknowledged: dict[int, bytes] = {}
    failed = 0

    async def append(value: bytes) -> None:
        nonlocal failed
        try:
            offset = await log.append(T0, None, value)
        except LogUnavailableError:
            failed += 1
        else:
            assert acknowledged.setdefault(offset, value) is value
            assert in_file(reader).items() >= acknowledged.items(), "at this very moment"

    with contextlib.closing(sqlite3.connect(path)) as reader:
        for round_ in range(20):
            appended = [append(b"%d " % round_ + bytes(20_000 * (n % 3))) for n in range(6)]
            await (fill_disk if round_ % 2 else free_disk)(log)
            await asyncio.gather(*appended)
        assert in_file(reader) == acknowledged
    assert sorted(acknowledged) == list(range(len(acknowledged)))
    assert failed > 20
    assert len(acknowledged) > 50


def in_file(db: sqlite3.Connection) -> dict[int, bytes]:
    return dict(db.execute("SELECT offset, value FROM log WHERE topic = 't' AND partition = 0"))


async def test_a_file_that_becomes_read_only_fails_appends_clearly_and_is_read_on(log: LogFile) -> None:
    await log.append(T0, None, b"before")
    await log.run(lambda db: db.execute("PRAGMA query_only=1").fetchall())
    with pytest.raises(LogUnavailableError, match="cannot be written: attempt to write a readonly database") as failed:
        await log.append(T0, None, b"lost")
    assert "\n" not in str(failed.value)
    log._writer._db.execute("PRAGMA query_only=0")
    assert await log.append(T0, None, b"after") == 1
    assert [r.value for r in log.read(T0, 0)] == [b"before", b"after"]


WITHOUT_RIGHTS = """
import os, sys
from weir.log.embedded.file import LogFile
from weir.log.log import LogUnavailableError
if os.geteuid() == 0:  # who may write everywhere
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
try:
    LogFile.open(sys.argv[1])
except LogUnavailableError as error:
    sys.exit(str(error))
"""


@pytest.mark.parametrize("exists", [True, False])
def test_a_file_that_may_not_be_written_is_unavailable_in_one_line(exists: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:  # not below pytest's, which other users may not read
        path = Path(folder) / "log.db"
        if exists:
            connect(path).close()
            path.chmod(0o444)
        Path(folder).chmod(0o555)
        done = subprocess.run([sys.executable, "-c", WITHOUT_RIGHTS, path], capture_output=True, text=True, check=False)
        Path(folder).chmod(0o755)
    assert done.returncode == 1
    assert re.fullmatch(f"log file {path} cannot be opened: [^\n]+\n", done.stderr)
    assert done.stdout == ""


async def test_a_commit_enqueued_before_its_caller_could_know_of_a_failed_append_is_refused(log: LogFile) -> None:
    """The commit is in a later transaction, which would succeed by itself."""
    await fill_disk(log)
    failed = log.append(T0, None, bytes(100_000))
    while not log._writer._mailboxes[asyncio.get_running_loop()].failed:
        time.sleep(0.001)  # noqa: ASYNC251  # the event loop must not hear of it yet
    commit = log.commit("g", {T0: 1})
    with pytest.raises(LogUnavailableError, match="appended before"):
        await commit
    with pytest.raises(LogUnavailableError, match="full"):
        await failed
    assert log.committed("g") == {}
    await free_disk(log)
    await log.commit("g", {T0: 1})  # now the caller knows, and wants it all the same
    assert log.committed("g") == {T0: 1}


async def test_back_pressure_waits_until_half_is_written(log: LogFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING", 50)
    await asyncio.wait_for(log.wait_ebb(), 1)
    futures = [log.append(T0, None, b"x") for _ in range(5000)]
    assert log.high
    await asyncio.wait_for(log.wait_ebb(), 5)
    assert log.backlog <= 50
    await asyncio.gather(*futures)


async def test_watches_are_called_for_their_partitions_only(log: LogFile) -> None:
    calls = []
    watch = log.watch([T0], lambda: calls.append(log.end(T0)))
    await log.append(T1, None, b"")
    await asyncio.sleep(0)
    assert calls == []
    await log.append(T0, None, b"")
    await asyncio.sleep(0)
    assert calls == [1]
    log.unwatch(watch)
    await log.append(T0, None, b"")
    await asyncio.sleep(0)
    assert calls == [1]


async def test_topics_are_created_once_and_keep_their_partitions(log: LogFile) -> None:
    await log.create_topics([TopicSpec(name="t", partitions=2, retention_s=5), TopicSpec(name="u", partitions=1)])
    assert (log.partitions("u"), log.partitions("missing")) == (1, None)
    assert log.topics["t"].retention_s == 5, "the embedded log has no other tool for it"
    with pytest.raises(LogRefusedError, match="topic t has 2 partitions, and not 3"):
        await log.create_topics([TopicSpec(name="new", partitions=1), TopicSpec(name="t", partitions=3)])
    assert log.partitions("new") is None, "all or nothing"


async def test_a_partition_that_is_not_there_is_refused(log: LogFile) -> None:
    with pytest.raises(LogRefusedError, match="no partition 7 of topic t"):
        await log.append(Partition("t", 7), None, b"")
    with pytest.raises(LogRefusedError, match="no partition 0 of topic x"):
        log.read(Partition("x", 0), 0)


async def test_a_closed_log_refuses_and_has_written_everything(path: Path) -> None:
    file = LogFile.open(path)
    await file.create_topics([TopicSpec(name="t", partitions=2)])
    pending = [file.append(T0, None, b"%d" % i) for i in range(100)]
    await asyncio.to_thread(file.close)
    assert await asyncio.gather(*pending) == list(range(100))
    with pytest.raises(LogUnavailableError, match="closed"):
        await file.append(T0, None, b"late")


async def test_opened_twice_it_is_one_and_the_stricter_durability_holds(log: LogFile, path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    again = LogFile.open(link, "FULL")
    assert again is log
    assert await log.run(lambda db: db.execute("PRAGMA synchronous").fetchone()[0]) == 2
    again.close()
    await log.append(T0, None, b"still open")


def test_a_file_of_a_newer_format_is_refused_in_one_line(path: Path) -> None:
    db = connect(path)
    db.execute(f"PRAGMA user_version={FORMAT + 1}")
    db.close()
    with pytest.raises(LogRefusedError, match=rf"has format {FORMAT + 1}.*newer") as refused:
        LogFile.open(path)
    assert "\n" not in str(refused.value)


def test_what_is_no_log_is_refused_and_left_alone(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE precious(x)")
    db.close()
    with pytest.raises(LogRefusedError, match="not a log"):
        LogFile.open(path)
    path.write_bytes(b"neither is this, but it is long enough to be looked at" * 20)
    with pytest.raises(LogRefusedError, match="not a log"):
        LogFile.open(path)


def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogUnavailableError, match="cannot be opened"):
        LogFile.open(tmp_path / "file" / "log.db")
    with pytest.raises(LogUnavailableError, match="cannot be opened"):
        LogFile.open(tmp_path)


async def test_a_person_can_read_the_log_with_sqlite(log: LogFile, path: Path) -> None:
    await log.append(T1, b"k", b"v", timestamp=0.0)
    db = sqlite3.connect(path)
    row = db.execute("SELECT topic, partition, offset, time, key, value FROM log").fetchone()
    db.close()
    assert row == ("t", 1, 0, "1970-01-01 00:00:00", b"k", b"v")
