"""The requests that a run replays."""

from typing import Any

import pytest

from tests.defaults import CHAT_PARTITIONS, SETTINGS
from tests.unit.weir.log.memory_log import MemoryLog
from tests.unit.weir.ranges.steps import HeardSteps
from tests.unit.weir.replay.requests.answering import place, put, recorded, request_of
from weir import envelope, topics
from weir.chat import frames, requests
from weir.chat.frames import Frame, FrameKind, Status
from weir.events.ingress import Ingress
from weir.llm.prices import Prices
from weir.log.log import Partition
from weir.ranges.errors import NothingError, UsageError
from weir.ranges.offset_ranges import resolve
from weir.ranges.when import Edge
from weir.replay.requests.plans import ReplayPlan
from weir.replay.requests.selecting import Selection, select
from weir.replay.runs import Run, RunKind


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.now = 1_800_000_000.0
    return log


async def run_of(log: MemoryLog, **plan: Any) -> Run:
    spans = await resolve(log, topics.CHAT_REQUESTS.name, Edge.EARLIEST, Edge.LATEST, now=log.now)
    ends = [(await log.bounds(Partition(topics.CHAT_CHUNKS.name, number))).end for number in range(CHAT_PARTITIONS)]
    parameters = ReplayPlan(since="earliest", **plan).as_json()
    return Run(id="r", kind=RunKind.REQUESTS, parameters=parameters, spans=spans, ends={topics.CHAT_CHUNKS.name: ends})


async def chosen(log: MemoryLog, run: Run | None = None, **plan: Any) -> Selection:
    return await select(log, run or await run_of(log, **plan), Prices({}), HeardSteps(), SETTINGS)


def uids(selection: Selection) -> list[str]:
    return [one.request.uid for one in selection.originals]


async def test_the_oldest_come_first_from_whatever_partition(log: MemoryLog) -> None:
    for n in range(20):
        recorded(log, f"q-{n}", "yes")
    assert uids(await chosen(log)) == [f"q-{n}" for n in range(20)]
    assert uids(await chosen(log, limit=3)) == ["q-0", "q-1", "q-2"]


async def test_each_is_known_with_its_end(log: MemoryLog) -> None:
    recorded(log, "done", "one ", "two")
    recorded(log, "failed", status=Status.FAILED)
    recorded(log, "runs", "one", status=None)
    put(log, request_of(log, "waits"))
    ends = {one.request.uid: one.ended for one in (await chosen(log)).originals}
    told = {uid: end and (end.outcome.status, end.text) for uid, end in ends.items()}
    assert told == {
        "done": ("completed", "one two"),
        "failed": ("failed", ""),
        "runs": ("running", ""),
        "waits": ("unknown", ""),
    }
    done = ends["done"]
    assert done is not None
    assert (done.outcome.latency_ms, done.outcome.ttft_ms, done.outcome.output_tokens) == (500.0, 3.0, 2)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"tenant": "acme", "model": "big"}, ["b"]),
        ({"ingress": "rabbitmq"}, ["c"]),
        ({"stream": "true"}, ["c"]),
        ({"status": "failed"}, ["d"]),
        ({"error_code": "server_error", "username": "ann"}, ["d"]),
        ({"uid": "a"}, ["a"]),
    ],
)
async def test_conditions_hold_for_requests_and_for_how_they_ended(
    log: MemoryLog, where: dict[str, str], expected: list[str]
) -> None:
    recorded(log, "a", "x", tenant="other")
    recorded(log, "b", "x", model="big")
    recorded(log, "c", "x", ingress=Ingress.RABBITMQ, stream=True)
    recorded(log, "d", status=Status.FAILED, username="ann")
    assert uids(await chosen(log, where=where)) == expected


async def test_a_limit_counts_what_fits_the_conditions(log: MemoryLog) -> None:
    for n in range(10):
        recorded(log, f"q-{n}", "x", status=Status.FAILED if n % 2 else Status.COMPLETED)
    assert uids(await chosen(log, where={"status": "failed"}, limit=2)) == ["q-1", "q-3"]


async def test_replays_second_submissions_and_records_without_a_request_are_skipped(log: MemoryLog) -> None:
    first = recorded(log, "a", "x")
    put(log, request_of(log, "a", event_id="evt-again"))
    recorded(log, "r", "x", replay="some-run", replay_of="a")
    log.put(place(topics.CHAT_REQUESTS.name, "x"), b"x", b"not JSON")
    selection = await chosen(log)
    assert [one.request.event_id for one in selection.originals] == [first.event_id]
    assert selection.passed_over == {"malformed": 1, "replays": 1, "sent twice": 1}


async def test_a_request_that_kafkas_door_refused_leaves_its_uid_to_the_next_one(log: MemoryLog) -> None:
    """A client that gets the error sends the request again, under the same uid and perhaps without a model."""
    at, messages = place(topics.CHAT_REQUESTS.name, "a"), [{"role": "user", "content": "hi"}]
    for event_id, body in (("evt-refused", {"messages": "hi"}), ("evt-a", {"messages": messages})):
        log.put(at, b"a", envelope.encode(event_id, requests.EVENT_TYPE, "acme", {"uid": "a", "body": body}))
    selection = await chosen(log)
    (original,) = selection.originals
    assert (original.request.event_id, original.request.body) == ("evt-a", {"model": SETTINGS.openai_model})
    assert selection.passed_over == {"refused": 1}


async def test_a_second_submission_whose_first_is_older_than_the_range_is_skipped(log: MemoryLog) -> None:
    again = request_of(log, "a", event_id="evt-again")
    put(log, again)
    mark = Frame(uid="a", rid="evt-a", kind=FrameKind.ATTACH, submission="evt-again", first=0)
    at = place(topics.CHAT_CHUNKS.name, "a")
    log.put(at, b"a", frames.encode(mark, event_id="e", tenant="acme"))
    recorded(log, "b", "x")
    selection = await chosen(log)
    assert uids(selection) == ["b"]
    assert selection.passed_over == {"sent twice": 1}


async def test_what_comes_after_the_start_of_a_run_changes_nothing(log: MemoryLog) -> None:
    late = recorded(log, "a", "x", status=None)
    run = await run_of(log)
    recorded(log, "b", "x")
    assert uids(await chosen(log, run)) == ["a"]
    assert late.uid == "a"
    (one,) = (await chosen(log, run)).originals
    assert one.ended is not None
    assert one.ended.outcome.status == "running"


async def test_nothing_that_fits_is_an_error(log: MemoryLog) -> None:
    recorded(log, "a", "x")
    with pytest.raises(NothingError):
        await chosen(log, where={"tenant": "nobody"})


async def test_what_has_left_the_log_since_a_run_was_begun_is_counted_and_hides_nothing_else(log: MemoryLog) -> None:
    for n in range(20):
        recorded(log, f"q-{n}", "x")
    run = await run_of(log)
    at = place(topics.CHAT_REQUESTS.name, "q-0")
    log.starts[at] = 1
    selection = await chosen(log, run)
    assert uids(selection) == [f"q-{n}" for n in range(1, 20)]
    assert selection.passed_over == {"gone from the log": 1}


async def test_more_requests_than_fit_into_memory_are_refused(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(20):
        recorded(log, f"q-{n}", "x")
    monkeypatch.setattr("weir.replay.requests.selecting.SEEN_MAX", 2)
    with pytest.raises(UsageError, match="smaller range"):
        await chosen(log, limit=1)
