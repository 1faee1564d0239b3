"""A whole export, of each kind that joins no topics."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.defaults import SETTINGS
from tests.unit.weir.chat.helpers import FAILED, begin, ends, frame, says
from tests.unit.weir.export.helpers import (
    FEEDBACK,
    REQUESTS,
    ask,
    files_of,
    output_of,
    rate,
    request_of,
    say,
    whole,
)
from tests.unit.weir.log.memory_log import AWAY, MemoryLog
from weir.chat import requests
from weir.chat.frames import FrameKind
from weir.export.opinions import Opinions
from weir.export.tally import Skip, Tally
from weir.export.where import Where
from weir.export.writing import Export, ExportOptions, Format
from weir.log.log import LogUnavailableError, Partition
from weir.ranges.offset_ranges import OffsetRange
from weir.ranges.progress import UNSEEN
from weir.settings import load_settings


async def exported(
    log: MemoryLog, folder: Path, format_: Format, *spans: OffsetRange, **asked: Any
) -> tuple[list[Any], Tally]:
    with (output := output_of(folder)):
        export = Export(
            log, ExportOptions(format=format_, spans=list(spans or [whole(log)]), **asked), output, SETTINGS
        )
        opinions = Opinions(log, load_settings({}))
        await opinions.read([whole(log, FEEDBACK)], UNSEEN)
        await export.write(opinions, UNSEEN)
    return [orjson.loads(line) for line in (folder / "out.jsonl").read_bytes().splitlines()], export.tally


async def test_records_come_by_partition_and_offset(tmp_path: Path) -> None:
    log = MemoryLog()
    spans = []
    for number in (0, 4):
        at = Partition("any-changelog", number)
        for value in (b"1", None, b"\xff"):
            log.put(at, b"k", value)
        spans.append(whole(log, at))
    lines, tally = await exported(log, tmp_path, Format.JSONL, *spans)
    assert [(line["partition"], line["offset"], line["value"]) for line in lines] == [
        (number, offset, value) for number in (0, 4) for offset, value in enumerate([1, None, {"base64": "/w=="}])
    ]
    assert (tally.written, tally.left_out()) == (6, "")


async def test_a_limit_counts_what_is_written(tmp_path: Path) -> None:
    log = MemoryLog()
    for number in range(9):
        ask(log, f"u{number}", tenant="acme" if number % 2 else "other")
    for format_ in (Format.JSONL, Format.BATCH):
        folder = tmp_path / format_
        folder.mkdir()
        lines, tally = await exported(log, folder, format_, where=Where(["tenant=acme"]), limit=3)
        assert (len(lines), tally.written, tally.skipped) == (3, 3, {Skip.FILTERED: 3})


async def test_examples_are_answers_that_were_said_to_be_good(tmp_path: Path) -> None:
    log = MemoryLog()
    for uid in ("good", "bad", "corrected", "unrated", "failed", "foreign"):
        ask(log, uid)
        say(log, uid, begin("x"), says("x", 0, f"of {uid}"), ends("x", *([FAILED] if uid == "failed" else [])))
    rate(log, "good", "thumbs_up")
    rate(log, "bad", "thumbs_down")
    rate(log, "corrected", "correction", original="of corrected", corrected="better")
    rate(log, "failed", "rating", rating=5)
    rate(log, "foreign", "thumbs_up", tenant="other")
    lines, tally = await exported(log, tmp_path, Format.FINETUNE)
    assert [[message["content"] for message in line["messages"]] for line in lines] == [
        ["ask good", "of good"],
        ["ask corrected", "better"],
    ]
    assert tally.skipped == {Skip.LOW: 1, Skip.UNRATED: 2, Skip.FAILED: 1}
    (tmp_path / "out.jsonl").unlink()
    lines, _ = await exported(log, tmp_path, Format.FINETUNE, unrated=True, min_score=-1, limit=3)
    assert [line["messages"][1]["content"] for line in lines] == ["of good", "of bad", "better"]


@pytest.mark.parametrize("format_", [Format.BATCH, Format.FINETUNE])
async def test_malformed_records_of_a_client_are_counted_and_hide_no_request(tmp_path: Path, format_: Format) -> None:
    log = MemoryLog()
    value = requests.encode(request_of("deep"))
    value = value.replace(b'"role":"user"', b'"role":"user","name":' + b"[" * 600 + b"]" * 600)
    for field in (b'"uid":"deep"', b'"source":"weir"'):
        name = field.partition(b":")[0]
        log.put(REQUESTS, b"deeper", value.replace(field, name + b":" + b"[" * 1000 + b"]" * 1000), requests.ACCEPTED)
    log.put(REQUESTS, b"deep", value, requests.ACCEPTED)
    ask(log, "good")
    for uid in ("deep", "good"):
        say(log, uid, begin("x", after=-1), says("x", 0, f"of {uid}"), ends("x"))
    lines, tally = await exported(log, tmp_path, format_, unrated=True)
    assert (len(lines), tally.skipped) == (1, {Skip.MALFORMED: 3})


def redriven(log: MemoryLog, uid: str) -> None:
    """A request failed, and came back from the dead letters twice: the resumed run sent it again."""
    ask(log, uid)
    say(log, uid, begin("x"), ends("x", FAILED))
    for _ in range(2):
        ask(log, uid, event_id=f"evt-{uid}-2", redriven=({"run": "r", "rid": f"evt-{uid}"},))


async def test_a_request_that_was_answered_when_it_came_back_is_an_example_once(tmp_path: Path) -> None:
    log = MemoryLog()
    for uid in ("good", "corrected", "attached"):
        redriven(log, uid)
    for uid in ("good", "corrected"):
        say(log, uid, begin("y"), says("y", 0, "at last"), ends("y"), life="-2")
    say(log, "attached", frame(FrameKind.ATTACH, submission="evt-attached-2", first=0))
    rate(log, "good", "thumbs_up")
    rate(log, "attached", "thumbs_up")
    rate(log, "corrected", "correction", original="at last", corrected="right")
    lines, tally = await exported(log, tmp_path, Format.FINETUNE)
    assert sorted([message["content"] for message in line["messages"]] for line in lines) == [
        ["ask corrected", "right"],
        ["ask good", "at last"],
    ]
    assert tally.skipped == {Skip.FAILED: 2, Skip.AGAIN: 5}
    (tmp_path / "out.jsonl").unlink()
    lines, tally = await exported(log, tmp_path, Format.BATCH)
    assert [line["custom_id"] for line in lines] == ["good", "corrected", "attached"]
    assert tally.skipped == {Skip.AGAIN: 6}


async def test_a_correction_that_retention_took_meanwhile_is_told(tmp_path: Path) -> None:
    log = MemoryLog()
    ask(log, "a")
    rate(log, "a", "correction", original="x", corrected="y")
    with (output := output_of(tmp_path)):
        export = Export(log, ExportOptions(format=Format.FINETUNE, spans=[whole(log)]), output, SETTINGS)
        opinions = Opinions(log, load_settings({}))
        await opinions.read([whole(log, FEEDBACK)], UNSEEN)
        log.starts[FEEDBACK] = 1
        await export.write(opinions, UNSEEN)
    assert export.tally.skipped == {Skip.GONE: 1}


async def test_a_log_that_goes_away_leaves_no_file(tmp_path: Path) -> None:
    log = MemoryLog()
    ask(log, "a")
    span = OffsetRange(REQUESTS, 0, 9)
    log.broken = AWAY
    with pytest.raises(LogUnavailableError), (output := output_of(tmp_path)):
        await Export(log, ExportOptions(format=Format.JSONL, spans=[span]), output, SETTINGS).write(
            Opinions(log, load_settings({})), UNSEEN
        )
    assert files_of(tmp_path) == {}
