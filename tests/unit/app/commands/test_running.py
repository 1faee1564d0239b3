"""The frame of a command: the log, the audit event before the act, and the end."""

import asyncio
from pathlib import Path

import pytest

from app.commands import running
from app.commands.running import audit, connected, run
from tests.defaults import CHAT_PARTITIONS
from tests.unit.app.commands.helpers import parts_of, worker_with
from tests.unit.weir.log.memory_log import AWAY, MemoryLog
from weir import envelope
from weir.chat.audit import REPLAY
from weir.log.embedded.client import EmbeddedLog
from weir.log.log import LogRefusedError, LogUnavailableError, Partition
from weir.ranges.errors import NothingError, ReplayError
from weir.settings import load_settings
from weir.topics import AUDIT, TOPICS, specs

# -- the log


async def topics_in(folder: Path) -> list[str]:
    log = EmbeddedLog(load_settings({"WEIR_DATA_DIR": str(folder)}).embedded_path)
    await log.start()
    try:
        return list(log.file.topics)
    finally:
        await log.stop()


async def test_a_command_that_only_reads_creates_no_topic(tmp_path: Path) -> None:
    assert await topics_in(tmp_path) == []
    worker = worker_with(
        EmbeddedLog(load_settings({"WEIR_DATA_DIR": str(tmp_path)}).embedded_path), WEIR_DATA_DIR=str(tmp_path)
    )
    async with connected(worker, create=False):
        with pytest.raises(LogRefusedError, match="has no topic audit-events"):
            await audit(worker, "chat-requests", REPLAY)
    assert await topics_in(tmp_path) == []
    async with connected(worker):
        pass
    assert set(await topics_in(tmp_path)) == {topic.name for topic in TOPICS}


async def test_a_command_leaves_the_retention_of_its_worker_as_it_is(tmp_path: Path) -> None:
    folder = {"WEIR_DATA_DIR": str(tmp_path)}
    worker = load_settings({**folder, "RETENTION_REQUESTS_S": "3000000"})
    log = EmbeddedLog(worker.embedded_path)
    await log.start()
    await log.create_topics(specs(worker)[:3], replication=1)  # some are of a newer version
    await log.stop()
    async with connected(worker_with(EmbeddedLog(worker.embedded_path), **folder)):
        pass
    log = EmbeddedLog(worker.embedded_path)
    await log.start()
    kept = {name: spec.retention_s for name, spec in log.file.topics.items()}
    await log.stop()
    assert (kept["chat-requests"], set(kept)) == (3_000_000.0, {topic.name for topic in TOPICS})


async def test_a_command_with_another_number_of_partitions_says_so(tmp_path: Path) -> None:
    folder = {"WEIR_DATA_DIR": str(tmp_path)}
    worker = load_settings({**folder, "CHAT_PARTITIONS": "13"})
    log = EmbeddedLog(worker.embedded_path)
    await log.start()
    await log.create_topics(specs(worker), replication=1)
    await log.stop()
    with pytest.raises(LogRefusedError, match="Set CHAT_PARTITIONS=13"):
        async with connected(worker_with(EmbeddedLog(worker.embedded_path), **folder)):
            pass


async def test_without_a_log_one_line_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="there is no embedded log at"):
        async with connected(worker_with(MemoryLog(), WEIR_DATA_DIR=str(tmp_path))):
            pass


# -- what is told before it is done


async def test_what_is_about_to_be_done_is_in_the_log_when_it_begins() -> None:
    log = MemoryLog()
    await audit(worker_with(log), "20261121T120000Z-3f2a91c4", REPLAY, tenant="acme")
    found = [value for number in range(CHAT_PARTITIONS) for value in log.values(Partition(AUDIT.name, number))]
    (told,) = [envelope.decode(value) for value in found]
    assert (told.tenant_id, told.data["action"], told.data["ingress"]) == ("acme", "replay.start", "cli")
    assert (told.data["resource_id"], told.data["success"]) == ("20261121T120000Z-3f2a91c4", True)
    assert told.data["actor_id"] == running._os_user()


async def test_what_cannot_be_told_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    log = MemoryLog()
    log.fail_append = lambda *_: AWAY
    with pytest.raises(LogUnavailableError, match="no broker"):
        await audit(worker_with(log), "run", REPLAY)
    monkeypatch.setattr(running, "AUDIT_S", 0.01)
    log.appending = asyncio.Event()
    with pytest.raises(LogUnavailableError, match=r"^audit-events did not take the event within 0\.01 s"):
        await audit(worker_with(log), "run", REPLAY)


# -- how it ends


async def ending(error: BaseException | None) -> None:
    if error is not None:
        raise error


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (None, 0, ""),
        (NothingError("nothing to export"), 3, "weir: nothing to export\n"),
        (AWAY, 1, "weir: no broker\n"),
        (asyncio.CancelledError(), 130, ""),
        (KeyError("a\nb"), 1, "weir: a defect: KeyError('a\\nb'); LOG_LEVEL=debug shows where\n"),
        (RecursionError("deep"), 1, "weir: a defect: RecursionError('deep'); LOG_LEVEL=debug shows where\n"),
    ],
)
def test_each_end_is_one_line_and_an_exit_code(
    error: BaseException | None, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        run(ending(error))
    assert (end.value.code, capsys.readouterr().err) == (code, told)


@pytest.mark.parametrize(("level", "shown"), [("info", False), ("debug", True)])
def test_the_place_of_a_defect_is_logged_at_debug_level(
    level: str, *, shown: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(running, "parts", parts_of(worker_with(MemoryLog(), LOG_LEVEL=level)))
    with pytest.raises(SystemExit):
        run(ending(TypeError("x")))
    assert ("Traceback" in caplog.text, "in ending" in caplog.text) == (shown, shown)
