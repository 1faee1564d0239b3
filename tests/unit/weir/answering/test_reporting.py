"""The events about a request, on a log in memory: each with its key, and with ids that do not change."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.weir.answering.helpers import AT, REQUEST
from tests.unit.weir.chat.helpers import begin, chunk, ends, says, takeover
from tests.unit.weir.log.memory_log import MemoryLog, tails_of
from tests.unit.weir.workers import worker_of
from weir import envelope
from weir.answering.continuing import INTERRUPTED, ContinuationPlan
from weir.answering.marks import Attempt
from weir.answering.reporting import LifecycleReport, Reporting
from weir.chat import frames
from weir.chat.ends import EndedRequest
from weir.chat.fold import Answer
from weir.chat.frames import Frame, FrameKind, Status, Terminal
from weir.chat.requests import ChatRequest
from weir.chat.thinking import ThinkingEvents
from weir.chat.traces import Traces
from weir.envelope import Json
from weir.events import catalogue
from weir.events.redaction import Redactor
from weir.llm.prices import Price, Prices
from weir.log.log import Partition
from weir.log.tails import Tails

ASKED: ChatRequest = replace(
    REQUEST,
    accepted_at="2026-01-01T00:00:00.000000Z",
    body={
        "model": "small",
        "messages": [{"role": "user", "content": "My key is sk-abcdefghijklmnopqrst, and what is a weir?"}],
        "metadata": {"session_id": "s-1"},
    },
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
ENDED_AT = 1767225601.5  # 1.5 s later
USAGE = {"prompt_tokens": 100, "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 20}}
DONE = Terminal(
    status=Status.COMPLETED,
    finish_reason="stop",
    usage=USAGE,
    timings={"first_chunk_ms": 200.0, "total_ms": 1200.0},
)
SAID = Answer(rid=ASKED.event_id, attempt="att-1", attempts=1, first=3, last=9, next_seq=3, terminal=DONE)


class Desk:
    """The stage of a worker that reports."""

    def __init__(self, log: MemoryLog, tails: Tails) -> None:
        self.log = log
        self.worker = worker_of(log, tails=tails, prices=Prices({"small": Price(input=1.0, output=2.0)}))
        self.reporting = Reporting(
            self.worker,
            traces=Traces(self.worker.events, worker=self.worker.name),
            thinking_events=ThinkingEvents(endpoint="http://llm/v1", redactor=Redactor(40)),
        )

    def report(self, request: ChatRequest = ASKED) -> LifecycleReport:
        return self.reporting.of(request, AT)

    def told(self, event_type: str) -> list[envelope.Event]:
        values = [value for at in self.log.records if at.topic != AT.topic for value in self.log.values(at)]
        events = [envelope.decode(value) for value in values]
        return [event for event in events if event.event_type == event_type]

    def data(self, event_type: str) -> Json:
        (event,) = self.told(event_type)
        catalogue.data_of(event, catalogue.BY_NAME[event_type])
        return event.data

    def write(self, *written: Frame) -> int:
        offset = -1
        for one in written:
            offset = self.log.put(AT, ASKED.key, frames.encode(one, event_id="e", tenant="acme"))
        return offset


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    log = MemoryLog()
    async with tails_of(log) as tails:
        yield Desk(log, tails)


def delta(**fields: object) -> Json:
    return {"model": "small-2", "choices": [{"index": 0, "delta": fields}]}


def attempt(kind: FrameKind = FrameKind.BEGIN, number: int = 1, **does: Any) -> Attempt:
    return Attempt(f"att-{number}", ContinuationPlan(kind, **{"body": ASKED.body, **does}))


async def whole(one: Desk) -> None:
    """An answer that was generated here, from its beginning to its end."""
    report, begun = one.report(), attempt()
    report.attempted(begun)
    begun.notes.add(delta(reasoning_content="hm"))
    begun.notes.add(delta(content="A weir is a low dam, which I say at some length."))
    await report.ended(SAID, DONE, ENDED_AT)


async def test_the_figures_of_an_answer() -> None:
    async with desk() as one:
        await whole(one)
        metrics = one.data("metrics.recorded")
    assert metrics == {
        "model": "small",
        "uid": ASKED.uid,
        "route": "default",
        "status": "completed",
        "error_code": None,
        "ended_at": "2026-01-01T00:00:01.500000Z",
        "attempts": 1,
        "queue_ms": 300.0,
        "ttft_ms": 200.0,
        "latency_ms": 1500.0,
        "tokens_per_second": 50.0,
        "input_tokens": 100,
        "cached_tokens": None,
        "output_tokens": 50,
        "reasoning_tokens": 20,
        "cost_usd": 0.0002,
        "replay": None,
    }


async def test_its_trace_step_by_step() -> None:
    async with desk() as one:
        await whole(one)
        started, steps = one.data("thinking.started"), [event.data for event in one.told("thinking.step")]
        call, completed = one.data("thinking.api_call"), one.data("thinking.completed")
    assert started["goal"] == "My key is [redacted], and what is a wei…"
    assert (started["session_id"], started["actor_urn"]) == ("s-1", f"urn:weir:agent:{ASKED.tenant}:chat")
    assert [(step["index"], step["step_type"], step["reasoning"]) for step in steps] == [
        (0, "INTENT_ANALYSIS", "hm"),
        (1, "RESPONSE", "A weir is a low dam, which I say at som…"),
    ]
    assert (call["model_id"], call["endpoint"], call["latency_ms"]) == ("small-2", "http://llm/v1", 1200.0)
    assert (completed["status"], completed["outcome"], completed["path_taken"], completed["total_thinking_tokens"]) == (
        "completed",
        "success",
        ["INTENT_ANALYSIS", "RESPONSE"],
        20,
    )


async def test_the_decision_and_what_came_of_it() -> None:
    async with desk() as one:
        await whole(one)
        made, outcome = one.data("decision.made"), one.data("decision.outcome")
    assert (made["decision_type"], made["chosen"], made["candidates"][0]["model"]) == (
        "routing",
        "default:small",
        "small",
    )
    assert (outcome["outcome"], outcome["decision_id"]) == ("SUCCESSFUL", made["decision_id"])


async def test_its_end_in_the_trace() -> None:
    async with desk() as one:
        await whole(one)
        end = one.data("request.completed")
    assert (end["latency_ms"], end["tokens_input"], end["tokens_output"], end["cost_usd"]) == (1500.0, 100, 50, 0.0002)
    assert (end["session_id"], end["attempts"], end["first"], end["last"]) == ("s-1", 1, 3, 9)


async def test_the_end_of_its_trace_comes_when_all_else_is_in_the_log() -> None:
    async with desk() as one:
        order: list[str] = []
        types = ("request.completed", "metrics.recorded", "thinking.completed", "decision.outcome")

        def noted(_at: Partition, value: bytes | None) -> None:
            order.append(envelope.decode(value).event_type)

        one.log.fail_append = noted
        await whole(one)
    assert order[-1] == "request.completed"
    assert set(types) <= set(order)


async def test_all_of_it_has_the_requests_trace_context_and_lies_where_its_key_says() -> None:
    async with desk() as one:
        await whole(one)
        records = [record for found in one.log.records.values() for record in found]
    assert {dict(record.headers)["traceparent"].decode() for record in records} == {ASKED.traceparent}
    keys = {record.topic: record.key for record in records}
    assert keys["agent-metrics-events"] == f"{ASKED.tenant}:small".encode()
    assert keys["agent-thinking-events"] == ASKED.key


async def test_what_is_told_again_after_a_crash_is_the_same() -> None:
    """By a worker that has only read the answer: the same events under the same ids, so that readers can drop them."""
    async with desk() as one:
        one.write(begin("att-1"), says("att-1", 0, "x", "y"))
        last = one.write(replace(ends("att-1"), terminal=DONE, seq=2))
        report, begun = one.report(), attempt()
        report.attempted(begun)
        for text in ("x", "y"):
            begun.notes.add(chunk(text))
        answer = replace_answer(SAID, first=0, last=last, next_seq=2, finish_reasons={})
        await report.ended(answer, DONE, ENDED_AT)
        ended = EndedRequest(
            rid=ASKED.event_id,
            fingerprint=ASKED.fingerprint,
            tenant=ASKED.tenant,
            status=Status.COMPLETED,
            first=0,
            last=last,
            ended_at=ENDED_AT,
        )
        await one.report().told_again(ended)
        types = [
            "request.completed",
            "decision.outcome",
            "metrics.recorded",
            "thinking.step",
            "thinking.api_call",
            "thinking.completed",
        ]
        twice = [one.told(event_type) for event_type in types]
    for told in twice:
        assert len(told) == 2
        assert told[0].event_id == told[1].event_id
        assert told[0].data == told[1].data
    assert len({told[0].event_id for told in twice}) == len(types)


def replace_answer(answer: Answer, **changes: Any) -> Answer:
    return answer._replace(**changes)


async def test_what_another_worker_has_said_is_told_too() -> None:
    async with desk() as one:
        one.write(begin("att-1"), says("att-1", 0, "one "))
        one.write(takeover("att-2", after=1), says("att-2", 1, "two"))
        last = one.write(replace(ends("att-2"), terminal=DONE, seq=2))
        report, begun = one.report(), attempt(FrameKind.TAKEOVER, 2, goes_on=True, said=1)
        report.attempted(begun)
        begun.notes.add(chunk("two"))
        answer = replace_answer(SAID, attempt="att-2", attempts=2, first=0, last=last, next_seq=2)
        await report.ended(answer, DONE, ENDED_AT)
        (step,) = [event.data for event in one.told("thinking.step")]
        made = one.data("decision.made")
        metrics = one.data("metrics.recorded")
    assert step["reasoning"] == "one two"
    assert (made["decision_type"], made["chosen"]) == ("continuation", "continue")
    assert {each["name"]: each["rejected"] for each in made["candidates"]}[
        "restart"
    ] == "what was said would be said twice"
    assert metrics["tokens_per_second"] is None  # of two calls, one was measured


async def test_an_answer_that_lacks_its_end_only_is_told_with_what_was_said() -> None:
    async with desk() as one:
        one.write(begin("att-1"), says("att-1", 0, "all of it"))
        one.write(takeover("att-2", after=1))
        last = one.write(replace(ends("att-2"), terminal=DONE, seq=1))
        report = one.report()
        report.attempted(attempt(FrameKind.TAKEOVER, 2, body=None))
        answer = replace_answer(SAID, attempt="att-2", attempts=2, first=0, last=last, next_seq=1)
        await report.ended(answer, DONE, ENDED_AT)
        assert one.data("thinking.step")["reasoning"] == "all of it"


@pytest.mark.parametrize(
    ("does", "chosen"),
    [
        (ContinuationPlan(FrameKind.RESTART, {}), "restart"),
        (ContinuationPlan(FrameKind.TAKEOVER, error=INTERRUPTED), "fail"),
        (ContinuationPlan(FrameKind.TAKEOVER), "finish"),
        (ContinuationPlan(FrameKind.TAKEOVER, {}), "call"),
    ],
)
async def test_what_becomes_of_a_half_said_answer_is_a_decision(does: ContinuationPlan, chosen: str) -> None:
    async with desk() as one:
        report = one.report()
        report.attempted(Attempt("att-2", does))
        report.attempted(Attempt("att-3", does))
        await one.worker.events.drain(1)
        first, second = one.told("decision.made")
    assert (first.data["chosen"], first.data["decision_type"]) == (chosen, "continuation")
    assert second.data["decision_type"] == "failover"  # its own call had broken off
    assert not one.told("thinking.started")


@pytest.mark.parametrize(
    ("status", "said", "outcome", "decided"),
    [
        (Status.FAILED, 0, "failure", "FAILED"),
        (Status.FAILED, 3, "partial", "PARTIALLY_SUCCESSFUL"),
        (Status.CANCELLED, 3, "partial", "UNKNOWN"),
    ],
)
async def test_ends_that_are_none_of_a_whole_answer(status: Status, said: int, outcome: str, decided: str) -> None:
    error = {"message": "no", "code": "teapot"} if status is Status.FAILED else None
    end = Terminal(status=status, error=error)
    async with desk() as one:
        report, begun = one.report(), attempt()
        report.attempted(begun)
        await report.ended(replace_answer(SAID, terminal=end, next_seq=said), end, ENDED_AT)
        assert one.data("thinking.completed")["outcome"] == outcome
        assert one.data("decision.outcome")["outcome"] == decided
        assert one.data("metrics.recorded")["status"] == status
        assert one.data("metrics.recorded")["error_code"] == ("teapot" if error else None)


async def test_a_request_that_was_never_begun_has_figures_and_no_decision() -> None:
    end = Terminal(status=Status.EXPIRED, error={"message": "late", "code": "deadline_exceeded"})
    async with desk() as one:
        await one.report().ended(Answer(rid=ASKED.event_id, first=4, last=4, terminal=end), end, ENDED_AT)
        assert one.data("metrics.recorded")["status"] == "expired"
        assert one.data("request.expired")["attempt"] is None
        assert not one.told("decision.outcome")
        assert not one.told("thinking.api_call")
