"""The requests table: one trace event after the other."""

import copy
from typing import Any

import pytest

from answers.envelope import Event, Json
from app.lifecycle import Happening
from tables.requests import ATTEMPTS_SHOWN, apply, first_known

NAMES = {"uid": "req-1", "rid": "evt-1", "model": "m", "username": "ada", "ingress": "http", "stream": True}


def event(happening: str, at: str = "12:00", **data: Any) -> Event:
    fields = {**NAMES, "accepted_at": "11:59", "worker": "w:1", **data}
    return Event("evt-9", happening, "acme", at, "weir", fields)


def folded(*events: Event) -> Json:
    row: Json | None = None
    for one in events:
        row = apply(row, one) or row
    assert row is not None
    return row


ACCEPTED = event(Happening.ACCEPTED, chunks_from=40, on_disconnect="cancel", prompt_chars=5)
ATTEMPTED = event(Happening.ATTEMPTED, "12:01", attempt="att-1", chunks_from=40, mark="begin", said=0)
COMPLETED = event(
    Happening.COMPLETED,
    "12:02",
    attempt="att-1",
    finish_reason="stop",
    usage={"total_tokens": 3},
    chunks=4,
    error=None,
    timings={"total_ms": 60.0},
    latency_ms=75.5,
    cost_usd=0.25,
    first=41,
    last=44,
)


def test_a_row_tells_the_whole_life_of_a_request() -> None:
    assert folded(ACCEPTED, ATTEMPTED, COMPLETED) == {
        "uid": "req-1",
        "tenant": "acme",
        "state": "completed",
        "attempts": [
            {"attempt": "att-1", "worker": "w:1", "mark": "begin", "said": 0, "started_at": "12:01"},
        ],
        "rid": "evt-1",
        "model": "m",
        "username": "ada",
        "session_id": None,
        "ingress": "http",
        "stream": True,
        "accepted_at": "11:59",
        "chunks_from": 40,
        "on_disconnect": "cancel",
        "prompt_chars": 5,
        "ended_at": "12:02",
        "latency_ms": 75.5,
        "cost_usd": 0.25,
        "timings": {"total_ms": 60.0},
        "usage": {"total_tokens": 3},
        "chunks": 4,
        "finish_reason": "stop",
        "error": None,
        "first": 41,
        "last": 44,
    }


def test_the_agents_word_may_come_before_the_doors() -> None:
    assert folded(ATTEMPTED, ACCEPTED, COMPLETED) == folded(ACCEPTED, ATTEMPTED, COMPLETED)


@pytest.mark.parametrize("late", [ACCEPTED, ATTEMPTED, event(Happening.FAILED), event(Happening.CANCELLED)])
def test_nothing_changes_a_row_that_has_ended(late: Event) -> None:
    ended = folded(ACCEPTED, ATTEMPTED, COMPLETED)
    assert apply(ended, late) is None


def test_a_second_submission_does_not_move_where_the_answer_starts() -> None:
    again = event(Happening.ACCEPTED, chunks_from=90, rid="evt-2", username="bob", accepted_at="13:00")
    assert folded(ACCEPTED, ATTEMPTED, again) == folded(ACCEPTED, ATTEMPTED)
    assert folded(ACCEPTED, again) == folded(ACCEPTED)


@pytest.mark.parametrize("agents", [ATTEMPTED, event(Happening.CANCELLED, chunks_from=40)])
def test_which_submission_came_first_is_the_agents_word(agents: Event) -> None:
    """A door's word of the first one may be lost with its worker, or come after that of a later one."""
    again = event(Happening.ACCEPTED, chunks_from=90, rid="evt-2")
    for row in (folded(again), folded(again, ACCEPTED)):
        assert not first_known(row)
    row = folded(again, ACCEPTED, agents)
    assert first_known(row)
    assert (row["rid"], row["chunks_from"]) == ("evt-1", 40)


@pytest.mark.parametrize("kind", ["request.forgotten", "thinking.step", "", "ACCEPTED"])
def test_what_is_no_step_makes_no_row(kind: str) -> None:
    assert apply(None, event(kind)) is None


def test_attempts_are_listed_and_only_the_last_ones_are_kept() -> None:
    row = folded(ACCEPTED, *(event(Happening.ATTEMPTED, attempt=f"att-{n}") for n in range(ATTEMPTS_SHOWN + 5)))
    assert [one["attempt"] for one in row["attempts"]] == [f"att-{n}" for n in range(5, ATTEMPTS_SHOWN + 5)]
    assert row["state"] == "running"


def test_apply_leaves_the_row_as_it_was() -> None:
    row = folded(ACCEPTED, ATTEMPTED)
    before = copy.deepcopy(row)
    apply(row, event(Happening.ATTEMPTED, attempt="att-2"))
    apply(row, COMPLETED)
    assert row == before


def test_an_attempt_that_is_told_again_after_a_crash_is_listed_once() -> None:
    assert folded(ACCEPTED, ATTEMPTED, ATTEMPTED) == folded(ACCEPTED, ATTEMPTED)
