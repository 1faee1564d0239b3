"""What a worker shows of its own rows: one state, that of its events, and where an answer stands that has ended."""

import pytest

from tables import requests, terminals
from tables.terminals import Ended
from web import lookup
from weir.envelope import Json

ENDED = Ended(rid="evt-1", fingerprint="f", tenant="t", status="failed", first=3, last=9, ended_at=1.0)


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "table", {})
    monkeypatch.setattr(terminals, "table", {})


def shown(row: Json | None) -> Json | None:
    terminals.put("u", ENDED)
    if row is not None:
        requests.put("u", row)
    return lookup._own_row("u")


@pytest.mark.parametrize(
    ("row", "state"),
    [
        (None, "unknown"),
        ({"uid": "u", "tenant": "t", "rid": "evt-2", "state": "accepted", "attempts": []}, "accepted"),
        (
            {"uid": "u", "tenant": "t", "rid": "evt-1", "state": "running", "attempts": [{"attempt": "att-1"}]},
            "running",
        ),
    ],
)
def test_a_row_keeps_its_state_until_its_end_is_told_and_says_where_the_answer_stands(
    row: Json | None, state: str
) -> None:
    found = shown(row)
    assert found is not None
    assert (found["state"], found["rid"], found["first"], found["last"]) == (state, "evt-1", 3, 9)
    assert requests.has_ended(found)
    assert requests.first_known(found)
    assert "finish_reason" not in found


def test_a_row_that_tells_its_end_shows_all_about_it() -> None:
    row = {
        "uid": "u",
        "rid": "evt-1",
        "tenant": "t",
        "state": "failed",
        "attempts": [],
        "ended_at": "2026-01-01T00:00:00Z",
    }
    told = {**row, "first": 3, "last": 9, "finish_reason": None, "chunks": 2}
    assert shown(told) == told


def test_the_end_of_an_earlier_life_is_not_shown_while_a_request_is_answered_anew() -> None:
    row = {"uid": "u", "tenant": "t", "rid": "evt-2", "state": "running", "attempts": [], "history": [{"rid": "evt-1"}]}
    assert shown(row) == row
