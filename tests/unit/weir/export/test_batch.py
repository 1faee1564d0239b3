"""Requests become lines of the Batch API."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.defaults import SETTINGS
from tests.unit.weir.export.helpers import (
    DEEP,
    REQUESTS,
    ask,
    body_of,
    counted,
    files_of,
    output_of,
    request_of,
    whole,
)
from tests.unit.weir.log.memory_log import MemoryLog
from tests.unit.weir.ranges.steps import HeardStep
from weir import envelope
from weir.chat import requests
from weir.export.batch import BatchWriter
from weir.export.output import Output
from weir.export.submissions import Submissions
from weir.export.tally import Skip, Tally
from weir.export.where import Where
from weir.ranges.errors import UsageError
from weir.ranges.progress import UNSEEN


def lines(raw: bytes) -> list[Any]:
    return [orjson.loads(line) for line in raw.splitlines()]


def test_a_line_has_the_body_that_was_asked_and_no_fields_of_weir(tmp_path: Path) -> None:
    own: dict[str, Any] = {"uid": "u", "username": "ada", "on_disconnect": "cancel", "deadline_s": 3, "cancel": True}
    body = body_of(stream=True, stream_options={"include_usage": True}, temperature=0, **own)
    with (output := output_of(tmp_path)):
        BatchWriter(output).add(request_of("req-1", body=body))
    assert lines((tmp_path / "out.jsonl").read_bytes()) == [
        {
            "custom_id": "req-1",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": body["messages"], "temperature": 0},
        }
    ]


def test_another_model_can_be_asked(tmp_path: Path) -> None:
    with (output := output_of(tmp_path)):
        writer = BatchWriter(output, model="new")
        for model in ("a", "b"):
            writer.add(request_of(model, body={**body_of(), "model": model}))
    assert [line["body"]["model"] for line in lines((tmp_path / "out.jsonl").read_bytes())] == ["new", "new"]


def test_a_batch_has_one_model(tmp_path: Path) -> None:
    output = output_of(tmp_path)
    writer = BatchWriter(output)
    writer.add(request_of("1"))
    with pytest.raises(UsageError, match=r"several models \(m, b\).*--where model=m.*--model"), output:
        writer.add(request_of("2", body={**body_of(), "model": "b"}))
    assert files_of(tmp_path) == {}


def test_what_is_nested_too_deeply_is_left_out(tmp_path: Path) -> None:
    with (output := output_of(tmp_path)):
        writer = BatchWriter(output)
        added = [writer.add(request_of("1", body={"model": DEEP})), writer.add(request_of("2"))]
    assert added == [False, True]
    assert [line["custom_id"] for line in lines((tmp_path / "out.jsonl").read_bytes())] == ["2"]


@pytest.mark.parametrize("limits", [{"requests_max": 2}, {"bytes_max": 300}])
def test_what_does_not_fit_into_a_file_goes_into_the_next(tmp_path: Path, limits: Any) -> None:
    with (output := output_of(tmp_path)):
        writer = BatchWriter(output, **limits)
        for number in range(5):
            writer.add(request_of(f"req-{number}"))
    files = files_of(tmp_path)
    assert sorted(files) == [f"out-{number}-of-3.jsonl" for number in (1, 2, 3)]
    assert [[line["custom_id"] for line in lines(files[name])] for name in sorted(files)] == [
        ["req-0", "req-1"],
        ["req-2", "req-3"],
        ["req-4"],
    ]
    assert max(map(len, files.values())) <= 300


def test_standard_output_is_no_place_for_several_files() -> None:
    writer = BatchWriter(Output(None), bytes_max=1)
    writer._sink.mute()
    writer.add(request_of("1"))
    with pytest.raises(UsageError, match="give a file with --output"):
        writer.add(request_of("2"))


# -- which requests


async def test_each_uid_comes_once_and_what_is_no_request_not_at_all() -> None:
    log, tally = MemoryLog(), Tally()
    ask(log, "a")
    ask(log, "b", tenant="other")
    ask(log, "a", event_id="evt-again")
    log.put(REQUESTS, b"x", b"no request")
    replay = requests.encode(request_of("r")).replace(b'"stream":true', b'"stream":true,"replay":"20261121T120000Z-1"')
    log.put(REQUESTS, b"r", replay, requests.ACCEPTED)
    log.put(
        REQUESTS, b"n", requests.encode(request_of("n")).replace(b'"stream":true', b'"replay":null'), requests.ACCEPTED
    )
    ask(log, "c", body=body_of('what is a "replay"?'))
    ask(log, "b", tenant="default")  # the first one is answered, of whichever tenant
    submissions = Submissions(log, Where(["tenant=default"]), tally, UNSEEN, settings=SETTINGS)
    found = await counted(submissions.of(whole(log)))
    assert [request.uid for _, request in found] == ["a", "n", "c"]
    assert tally.skipped == {Skip.AGAIN: 2, Skip.MALFORMED: 1, Skip.REPLAY: 1, Skip.FILTERED: 1}
    assert tally.left_out().startswith("; left out: 2 submitted again, 1 ")


async def test_a_request_that_kafkas_door_refused_leaves_its_uid_to_the_next_one() -> None:
    log, tally = MemoryLog(), Tally()
    for event_id, content in (("evt-refused", 7), ("evt-a", "hi")):
        body = {"messages": [{"role": "user", "content": content}]}
        log.put(REQUESTS, b"q-1", envelope.encode(event_id, requests.EVENT_TYPE, "acme", {"uid": "q-1", "body": body}))
    submissions = Submissions(log, Where(), tally, UNSEEN, settings=SETTINGS)
    found = await counted(submissions.of(whole(log)))
    assert [(request.event_id, request.body["model"]) for _, request in found] == [("evt-a", SETTINGS.openai_model)]
    assert tally.skipped == {Skip.REFUSED: 1}


async def test_progress_reaches_the_end_of_the_range() -> None:
    log = MemoryLog()
    for number in range(7):
        ask(log, f"req-{number}")
    step = HeardStep("requests", 7)
    await counted(Submissions(log, Where(), Tally(), step, settings=SETTINGS).of(whole(log)))
    assert step.done == 7
