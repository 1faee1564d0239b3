"""The requests table: one trace event after the other."""

import copy
from typing import Any

import orjson
import pytest

from weir.chat.lifecycle import Happening
from weir.chat.states import ATTEMPTS_SHOWN, HISTORY_SHOWN, apply, first_known, superseded
from weir.envelope import Event, Json

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
    """A door's event about the first submission may be lost with its worker, or come after that of a later one."""
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


FAILED = event(
    Happening.FAILED,
    "12:02",
    attempt="att-1",
    chunks=0,
    error={"message": "no", "code": "upstream_unavailable"},
    latency_ms=9.0,
    first=41,
    last=42,
)


def redriven(rid: str, replaces: str, chunks_from: int = 60) -> Event:
    fields = {"rid": rid, "replaces": replaces, "chunks_from": chunks_from, "accepted_at": "13:00"}
    return event(Happening.REDRIVEN, "13:01", on_disconnect="continue", **fields)


AGAIN = redriven("evt-2", "evt-1")


def test_a_request_that_comes_back_from_the_dead_letters_begins_again_and_its_end_is_history() -> None:
    row = folded(ACCEPTED, ATTEMPTED, FAILED, AGAIN)
    life = {"rid": "evt-1", "state": "failed", "ended_at": "12:02", "error": "upstream_unavailable", "attempts": 1}
    assert row == {
        **folded(ACCEPTED),
        "state": "accepted",
        "rid": "evt-2",
        "accepted_at": "13:00",
        "chunks_from": 60,
        "on_disconnect": "continue",
        "history": [life],
    }
    assert not first_known(row)
    done = folded(ACCEPTED, ATTEMPTED, FAILED, AGAIN, event(Happening.COMPLETED, rid="evt-2", first=61, last=70))
    assert (done["state"], done["first"], done["error"], done["history"]) == ("completed", 61, None, [life])


@pytest.mark.parametrize(
    "late",
    [AGAIN, FAILED, ATTEMPTED, ACCEPTED, event(Happening.CANCELLED)],
    ids=["the same", "its end", "its call", "the door", "its other end"],
)
def test_what_is_told_again_of_its_earlier_life_changes_nothing(late: Event) -> None:
    assert apply(folded(ACCEPTED, FAILED, AGAIN), late) is None


def test_a_request_begins_again_where_the_event_of_its_end_comes_later_or_its_row_is_gone() -> None:
    for row in (folded(ACCEPTED, ATTEMPTED, AGAIN), folded(AGAIN)):
        assert (row["state"], row["rid"], row["attempts"]) == ("accepted", "evt-2", [])
        assert superseded(row, "evt-1")
        assert apply(row, FAILED) is None


@pytest.mark.parametrize("before", [[ACCEPTED, ATTEMPTED], [ACCEPTED], []], ids=["running", "accepted", "gone"])
def test_an_end_that_the_row_has_not_heard_of_is_history_by_the_word_of_the_worker(before: list[Event]) -> None:
    """A worker died between settling an end and publishing it: the request comes again before that end's event."""
    known = {"replaces": "evt-1", "replaced_status": "failed", "replaced_ended_at": "12:02"}
    row = folded(*before, event(Happening.REDRIVEN, "13:01", rid="evt-2", **known))
    (life,) = row["history"]
    assert (life["rid"], life["state"], life["ended_at"]) == ("evt-1", "failed", "12:02")


def test_what_the_row_has_heard_of_an_end_counts() -> None:
    later = event(Happening.REDRIVEN, rid="evt-2", replaces="evt-1", replaced_status="expired", replaced_ended_at="9")
    (life,) = folded(ACCEPTED, FAILED, later)["history"]
    assert (life["state"], life["ended_at"]) == ("failed", "12:02")


def test_which_end_is_replaced_is_the_agents_word_and_not_a_doors() -> None:
    other = event(Happening.ACCEPTED, chunks_from=90, rid="evt-9")
    assert superseded(folded(other, AGAIN), "evt-1")


def test_only_its_last_ends_are_kept() -> None:
    lives = [redriven(f"evt-{n + 1}", f"evt-{n}") for n in range(1, HISTORY_SHOWN + 4)]
    row = folded(ACCEPTED, FAILED, *lives)
    assert len(row["history"]) == HISTORY_SHOWN
    assert row["rid"] == f"evt-{HISTORY_SHOWN + 4}"


def test_an_attempt_that_is_told_again_after_a_crash_is_listed_once() -> None:
    assert folded(ACCEPTED, ATTEMPTED, ATTEMPTED) == folded(ACCEPTED, ATTEMPTED)


LONG = "x" * 400_000
ROW_MAX_BYTES = 300_000


@pytest.mark.parametrize("value", [LONG, {"note": LONG}, [LONG] * 3, {f"n{n}": "y" * 900 for n in range(1000)}])
def test_a_row_stays_small_whatever_its_events_hold(value: object) -> None:
    """A row that its changelog refuses stops the worker, at each start again."""
    names = ("rid", "model", "username", "session_id", "ingress", "accepted_at", "replay", "replay_of", "on_disconnect")
    large: Json = dict.fromkeys(names, value)
    attempts = [
        event(Happening.ATTEMPTED, attempt=f"{n}{LONG}", mark=value, said=value, worker=value, chunks_from=40)
        for n in range(ATTEMPTS_SHOWN + 5)
    ]
    told: Json = {"error": value, "usage": value, "timings": value, "finish_reason": value, "chunks": value}
    row = folded(event(Happening.ACCEPTED, **large), *attempts, event(Happening.FAILED, **told, **large))
    for n in range(HISTORY_SHOWN + 2):
        again = event(Happening.REDRIVEN, **{**large, "rid": f"evt-{n}"}, replaces=value, replaced_ended_at=value)
        row = apply(row, again) or row
        row = apply(row, event(Happening.FAILED, **{**large, "rid": f"evt-{n}"}, **told)) or row
    assert len(orjson.dumps(row)) <= ROW_MAX_BYTES
    assert row["state"] == "failed"
