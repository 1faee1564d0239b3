"""What is asked wrongly is refused before anything is read."""

import re
from pathlib import Path
from typing import Any

import pytest

from commands.export import Options, _export, _path
from replays.errors import UsageError
from replays.exports.where import FIELDS
from replays.exports.writing import Format


def options(**given: Any) -> Options:
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
    return Options(**{**fields, **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"where": ["colour=red"]}, f"there are key, {', '.join(FIELDS)}, and data.…"),
        ({"since": "soon"}, "--from: 'soon' is no time"),
        ({"until": "soon"}, "--to: 'soon' is no time"),
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
