"""What a worker shows of its own rows: what decides knows sooner than what tells."""

import pytest

from answers.envelope import Json
from tables import lookup, requests, terminals
from tables.terminals import Ended

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


@pytest.mark.parametrize("row", [None, {"uid": "u", "tenant": "t", "rid": "evt-2", "state": "running", "attempts": []}])
def test_an_end_is_shown_before_its_row_tells_it(row: Json | None) -> None:
    found = shown(row)
    assert found is not None
    assert (found["state"], found["rid"], found["last"]) == ("failed", "evt-1", 9)


def test_the_end_of_an_earlier_life_is_not_shown_while_a_request_is_answered_anew() -> None:
    row = {"uid": "u", "tenant": "t", "rid": "evt-2", "state": "running", "attempts": [], "history": [{"rid": "evt-1"}]}
    assert shown(row) == row
