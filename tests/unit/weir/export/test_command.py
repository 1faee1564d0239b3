"""Wrong options are refused before any record is read."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from app.commands import export as command
from app.commands.export import ExportArguments, _export, _path
from tests.unit.app.commands.helpers import parts_of, worker_with
from tests.unit.weir.export.helpers import ask, files_of
from tests.unit.weir.log.memory_log import AWAY, MemoryLog
from weir.export.where import FIELDS
from weir.export.writing import Format
from weir.log.log import LogRefusedError, LogUnavailableError, Partition, Record
from weir.ranges.errors import UsageError


def options(**given: Any) -> ExportArguments:
    fields: dict[str, Any] = {
        "topic": "chat-requests",
        "since": "-2h",
        "until": "now",
        "format": Format.JSONL,
        "output": None,
        "force": False,
        "where": (),
        "limit": None,
        "model": None,
        "min_score": None,
        "unrated": False,
    }
    return ExportArguments(**{**fields, **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"where": ["colour=red"]}, f"there are key, {', '.join(FIELDS)}, and data.…"),
        ({"since": "soon"}, "--from: 'soon' is not a time"),
        ({"until": "soon"}, "--to: 'soon' is not a time"),
        ({"topic": "audit-events", "format": Format.FINETUNE}, "is made of chat-requests, not of audit-events"),
        ({"topic": "audit-events", "format": Format.BATCH}, "is made of chat-requests, not of audit-events"),
        ({"model": "m"}, "--model belongs to --format openai-batch"),
        ({"unrated": True}, "--min-score and --all belong to --format openai-finetune"),
        ({"min_score": 0.0, "format": Format.BATCH}, "--min-score and --all belong to"),
        ({"output": "/nowhere/at/all"}, "there is no folder /nowhere/at"),
    ],
)
async def test_what_cannot_be_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        await _export(options(**given))


class Reading(MemoryLog):
    """Notes which records were there when those of a topic were read."""

    def __init__(self) -> None:
        super().__init__()
        self.known: list[set[str]] = []

    async def read(self, at: Partition, position: int, *, limit: int = 500) -> list[Record]:
        self.known.append({place.topic for place in self.records})
        return await super().read(at, position, limit=limit)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Reading:
    log = Reading()
    ask(log, "req-1")
    log.now = time.time()
    monkeypatch.setattr(command, "parts", parts_of(worker_with(log, KAFKA_BOOTSTRAP_SERVERS="here:9092")))
    return log


async def test_the_audit_event_of_an_export_is_in_the_log_before_records_are_read(log: Reading, tmp_path: Path) -> None:
    await _export(options(since="earliest", output=str(tmp_path / "a.jsonl")))
    assert [sorted(known) for known in log.known] == [["audit-events", "chat-requests"]]
    assert len((tmp_path / "a.jsonl").read_bytes().splitlines()) == 1


async def test_where_that_cannot_be_told_nothing_is_exported(log: Reading, tmp_path: Path) -> None:
    log.fail_append = lambda *_: AWAY
    with pytest.raises(LogUnavailableError):
        await _export(options(since="earliest", output=str(tmp_path / "a.jsonl")))
    assert (log.known, files_of(tmp_path)) == ([], {})


async def test_an_export_creates_no_topic(log: Reading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_options: Any) -> Any:
        raise LogRefusedError("this principal may only read")

    monkeypatch.setattr(log, "create_topics", refuse)
    await _export(options(since="earliest", output=str(tmp_path / "a.jsonl")))


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("chat-requests", "there is no topic chat-requests here: no worker has run on this log, or it is another one"),
        ("nope", "there is no topic 'nope'; Weir's topics are "),
    ],
)
async def test_a_log_that_is_not_of_weir_is_answered_in_one_line(
    log: Reading, topic: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(name: str) -> int:
        raise LogRefusedError(f"Kafka has no topic {name}")

    monkeypatch.setattr(log, "partitions", none)
    with pytest.raises(UsageError, match=f"^{message}"):
        await _export(options(topic=topic, output="-"))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "chat-requests_2h_now.jsonl"),
        ({"since": "2026-11-20T08:00:00Z", "until": "latest"}, "chat-requests_2026-11-20T08-00-00Z_latest.jsonl"),
        ({"since": "0:1200,3:88", "format": Format.PARQUET}, "chat-requests_0-1200-3-88_now.parquet"),
        ({"format": Format.BATCH}, "chat-requests_2h_now.batch.jsonl"),
        ({"format": Format.FINETUNE, "output": "here.jsonl"}, "here.jsonl"),
    ],
)
def test_a_file_is_named_by_topic_and_range(given: dict[str, Any], name: str) -> None:
    assert _path(options(**given)) == Path(name)


def test_standard_output_is_no_file() -> None:
    assert _path(options(output="-")) is None
