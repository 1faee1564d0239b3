"""The embedded log client: the LogClient protocol, feeds, and other processes on the same file."""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from transports.embedded import doorbell
from transports.embedded.client import EmbeddedLog
from transports.log import LogClient, LogRefusedError, LogUnavailableError, Partition, Record, TopicSpec

T0 = Partition("t", 0)
SPECS = [TopicSpec(name="t", partitions=2)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[EmbeddedLog]:
    log = EmbeddedLog(path)
    await log.start()
    await log.create_topics(SPECS, replication=3)
    yield log
    await log.stop()


async def until(condition: Callable[[], object], *, within_s: float = 10.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # the subject must not help its own test
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def process(path: Path, body: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process with the log open as `log`; `say` writes a line to us."""
    program = textwrap.dedent("""
        import asyncio, sys, time
        from transports.embedded.client import EmbeddedLog
        from transports.log import Partition

        def say(*words):
            print(*words, flush=True)

        async def main():
            log = EmbeddedLog(sys.argv[1])
            await log.start()
        {}
            await log.stop()

        asyncio.run(main())
    """).format(textwrap.indent(textwrap.dedent(body).strip("\n"), "    "))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(path), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.communicate()


async def line(child: asyncio.subprocess.Process) -> str:
    assert child.stdout is not None
    return (await child.stdout.readline()).decode().strip()


def test_it_is_a_log_client() -> None:
    client: LogClient = EmbeddedLog("unused.db")
    assert client is not None


async def test_append_and_read(log: EmbeddedLog) -> None:
    assert log.partitions("t") == 2
    assert [await log.append("t", 0, b"k", b"%d" % i) for i in range(3)] == [0, 1, 2]
    assert await log.bounds(T0) == (0, 3)
    assert [r.value for r in await log.read(T0, 1, limit=1)] == [b"1"]
    assert await log.read(T0, 3) == []
    assert await log.offset_at(T0, time.time() + 60) == 3
    assert await log.offset_at(T0, 0) == 0


async def test_a_missing_topic_is_refused(log: EmbeddedLog) -> None:
    with pytest.raises(LogRefusedError, match="no topic x"):
        log.partitions("x")
    with pytest.raises(LogRefusedError):
        await log.append("x", 0, None, b"")
    with pytest.raises(LogRefusedError):
        await log.follow(Partition("x", 0), 0, lambda _: None)


async def test_before_start_and_after_stop_it_is_unavailable(path: Path) -> None:
    log = EmbeddedLog(path)
    with pytest.raises(LogUnavailableError, match="not open"):
        await log.bounds(T0)
    await log.start()
    await log.start()
    await log.stop()
    await log.stop()
    with pytest.raises(LogUnavailableError, match="not open"):
        await log.bounds(T0)


async def test_a_feed_delivers_everything_from_its_position_once_and_in_order(log: EmbeddedLog) -> None:
    await asyncio.gather(*(log.append("t", 0, None, b"%d" % i) for i in range(1500)))
    got: list[int] = []
    await log.follow(T0, 10, lambda records: got.extend(r.offset for r in records))
    with pytest.raises(LogRefusedError, match="followed already"):
        await log.follow(T0, 0, lambda _: None)
    await asyncio.gather(*(log.append("t", 0, None, b"%d" % i) for i in range(1500)))
    await until(lambda: len(got) >= 2990)
    assert got == list(range(10, 3000))
    await log.unfollow(T0)
    await log.append("t", 0, None, b"unheard")
    await asyncio.sleep(0.05)
    assert len(got) == 2990
    await log.follow(T0, 3000, lambda records: got.extend(r.offset for r in records))
    await until(lambda: got[-1] == 3000)


async def test_a_follower_that_raises_is_heard_of_and_goes_on(
    log: EmbeddedLog, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[int] = []

    def deliver(records: Sequence[Record]) -> None:
        got.extend(r.offset for r in records)
        if got == [0]:
            raise ValueError("a bug")

    await log.follow(T0, 0, deliver)
    await log.append("t", 0, None, b"")
    await until(lambda: got)
    await log.append("t", 0, None, b"")
    await until(lambda: got == [0, 1])
    assert "a bug" in caplog.text


async def test_a_feed_in_this_process_wakes_at_once(log: EmbeddedLog) -> None:
    woken = asyncio.Event()
    await log.follow(T0, 0, lambda _: woken.set())
    await asyncio.sleep(0.05)
    begin = time.perf_counter()
    await log.append("t", 0, None, b"")
    await woken.wait()
    assert time.perf_counter() - begin < 0.05


async def test_a_feed_wakes_when_another_process_appends(log: EmbeddedLog, path: Path) -> None:
    delays: list[float] = []

    def deliver(records: Sequence[Record]) -> None:
        delays.extend(time.time() - float(r.value or b"0") for r in records)

    await log.follow(T0, 0, deliver)
    body = """
        for _ in range(40):
            await log.append("t", 0, None, b"%r" % time.time())
            await asyncio.sleep(0.01)
    """
    async with process(path, body) as child:
        assert await child.wait() == 0
    await until(lambda: len(delays) == 40, within_s=1)
    assert sorted(delays)[35] < 0.05, delays  # a busy machine may hold up one of them


async def test_a_topic_that_another_process_creates_is_found(log: EmbeddedLog, path: Path) -> None:
    body = """
        from transports.log import TopicSpec
        await log.create_topics([TopicSpec(name="new", partitions=3)], replication=1)
        await log.append("new", 2, b"k", b"v")
    """
    async with process(path, body) as child:
        assert await child.wait() == 0
    assert log.partitions("new") == 3
    assert [r.value for r in await log.read(Partition("new", 2), 0)] == [b"v"]


async def test_two_processes_append_without_losing_or_reordering_anything(log: EmbeddedLog, path: Path) -> None:
    got: list[bytes] = []
    await log.follow(T0, 0, lambda records: got.extend(r.value or b"" for r in records))
    body = """
        await asyncio.gather(*(log.append("t", 0, None, b"theirs %d" % i) for i in range(3000)))
    """
    async with process(path, body) as child:
        ours = []
        for i in range(3000):
            ours.append(log.append("t", 0, None, b"ours %d" % i))
            if i % 50 == 0:
                await asyncio.sleep(0.002)
        offsets = await asyncio.gather(*ours)
        assert await child.wait() == 0
    await until(lambda: len(got) >= 6000)
    assert [v for v in got if v.startswith(b"ours")] == [b"ours %d" % i for i in range(3000)]
    assert [v for v in got if v.startswith(b"theirs")] == [b"theirs %d" % i for i in range(3000)]
    assert [got[offset] for offset in offsets] == [b"ours %d" % i for i in range(3000)]


async def test_a_killed_process_loses_nothing_that_it_acknowledged(path: Path) -> None:
    log = EmbeddedLog(path)
    await log.start()
    await log.create_topics(SPECS, replication=1)
    await log.stop()
    body = """
        acknowledged = -1
        def done(future):
            say(future.result())
        i = 0
        while True:
            for _ in range(20):
                log.append("t", 0, None, b"%d" % i).add_done_callback(done)
                i += 1
            await asyncio.sleep(0)
    """
    last = -1
    for _ in range(3):
        async with process(path, body) as child:
            for _ in range(500):
                last = int(await line(child))
            os.kill(child.pid, signal.SIGKILL)
            rest, _ = await child.communicate()
            whole = rest.decode().split("\n")[:-1]
            last = int(whole[-1]) if whole else last
        await log.start()
        start, end = await log.bounds(T0)
        assert start == 0
        assert end > last
        offsets = [r.offset for r in await log.read(T0, 0, limit=1_000_000)]
        assert offsets == list(range(end)), "and no holes"
        await log.stop()


async def test_the_socket_of_a_dead_watcher_is_removed(log: EmbeddedLog, path: Path) -> None:
    body = """
        await log.follow(Partition("t", 0), 0, lambda _: None)
        say("watching")
        await asyncio.sleep(60)
    """
    directory = doorbell._directory(log.file.path)
    async with process(path, body) as child:
        assert await line(child) == "watching"
        assert [name.name.split(".")[0] for name in directory.iterdir()] == [str(child.pid)]
    await log.append("t", 0, None, b"ring")
    await until(lambda: not list(directory.iterdir()), within_s=1)


async def test_the_bell_of_a_deep_path_fits_into_a_socket_address(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a" * 60] * 3) / "log.db"
    log = EmbeddedLog(deep)
    await log.start()
    await log.create_topics(SPECS, replication=1)
    got: list[Record] = []
    await log.follow(T0, 0, got.extend)
    await log.append("t", 0, None, b"")
    await until(lambda: got)
    directory = doorbell._directory(log.file.path)
    assert directory.parent == Path(tempfile.gettempdir())
    assert directory.stat().st_mode & 0o777 == 0o700
    await log.stop()
    assert not directory.exists()
