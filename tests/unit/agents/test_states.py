"""The state agent: rows that come, change and go."""

import pytest

from agents import states
from tables import requests, terminals
from tables.terminals import Ended
from weir.chat.lifecycle import Happening
from weir.envelope import Event


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "table", {})
    monkeypatch.setattr(terminals, "table", {})


def event(happening: str, uid: object = "req-1") -> Event:
    return Event("evt-9", happening, "acme", "2026-01-31T12:00:00Z", "weir", {"uid": uid, "rid": "evt-1"})


def test_events_become_a_row_and_a_forgotten_request_leaves_both_tables() -> None:
    states.fold_event(event(Happening.ACCEPTED))
    states.fold_event(event(Happening.COMPLETED))
    row = requests.get("req-1")
    assert row is not None
    assert row["state"] == "completed"
    ended = Ended(rid="evt-1", fingerprint="f", tenant="t", status="completed", first=0, last=1, ended_at=0.0)
    terminals.put("req-1", ended)
    states.fold_event(event(Happening.FORGOTTEN))
    assert requests.get("req-1") is None
    assert terminals.get("req-1") is None


@pytest.mark.parametrize("odd", [event("thinking.step"), event(Happening.ACCEPTED, None), event(Happening.ACCEPTED, 7)])
def test_an_event_that_is_none_of_ours_makes_no_row(odd: Event) -> None:
    states.fold_event(odd)
    assert list(requests.rows()) == []


@pytest.mark.parametrize(
    ("since", "is_expired"),
    [
        ("1970-01-01T00:00:10Z", True),
        ("1970-01-01T00:00:50Z", False),
        (10.0, True),
        (50.0, False),
        (None, True),
        ("yesterday", True),  # nonsense must neither stay for ever nor stop the sweep
    ],
)
def test_a_row_expires_a_while_after_its_request_ended(since: object, is_expired: bool) -> None:
    assert states.expired(since, now=100.0, after_s=60.0) is is_expired
