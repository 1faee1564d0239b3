"""The parts of the embedded log's client that Kafka's does not share: its sockets, and the durability of records.

What both logs promise is in ``tests/contracts/test_log*.py``.
"""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.logs import OnFile, until
from weir.log.embedded import doorbell
from weir.log.embedded.client import EmbeddedLog
from weir.log.embedded.schema import Synchronous
from weir.log.log import Partition, Record, TopicSpec

T0 = Partition("t", 0)
SPECS = [TopicSpec(name="t", partitions=2)]


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[OnFile]:
    log = OnFile(tmp_path / "log.db")
    yield log
    await log.close()


@pytest.mark.parametrize(("synchronous", "level"), [("NORMAL", 1), ("FULL", 2)])
async def test_what_an_acknowledged_record_survives_is_what_was_asked_for(
    tmp_path: Path, synchronous: Synchronous, level: int
) -> None:
    client = EmbeddedLog(tmp_path / "log.db", synchronous)
    await client.start()
    assert await client.file.run(lambda db: db.execute("PRAGMA synchronous").fetchone()[0]) == level
    assert await client.file.run(lambda db: db.execute("PRAGMA journal_mode").fetchone()[0]) == "wal"
    await client.stop()


async def test_there_is_one_copy_however_many_are_asked_for(log: OnFile) -> None:
    client = await log.client()
    await client.create_topics(SPECS, replication=3)
    assert await client.append(*T0, None, b"v") == 0


async def test_the_socket_of_a_dead_watcher_is_removed(log: OnFile) -> None:
    client = await log.client()
    await client.create_topics(SPECS, replication=1)
    body = """
        await log.follow(Partition("t", 0), 0, lambda _: None)
        say("watching")
        await hear()
    """
    directory = doorbell._directory(Path(log.address))
    async with log.outside(body) as other:
        assert await other.line() == "watching"
        assert [name.name.split(".")[0] for name in directory.iterdir()] == [str(other.process.pid)]
        other.process.kill()
        await other.process.wait()
    await client.append(*T0, None, b"ring")
    await until(lambda: not list(directory.iterdir()))


async def test_the_bell_of_a_deep_path_fits_into_a_socket_address(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a" * 60] * 3) / "log.db"
    client = EmbeddedLog(deep)
    await client.start()
    await client.create_topics(SPECS, replication=1)
    got: list[Record] = []
    await client.follow(T0, 0, got.extend)
    await client.append(*T0, None, b"")
    await until(lambda: got)
    directory = doorbell._directory(deep)
    assert directory.parent == Path(tempfile.gettempdir())
    assert directory.stat().st_mode & 0o777 == 0o700
    await client.stop()
    assert not directory.exists()
