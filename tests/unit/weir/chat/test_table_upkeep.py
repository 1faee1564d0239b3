"""Rows of the requests table that come, change and go."""

import pytest

from tests.unit.weir.log.memory_log import MemoryLog
from tests.unit.weir.workers import ends_in_memory, requests_in_memory, worker_of
from weir.chat.ends import EndedRequest
from weir.chat.lifecycle import Happening
from weir.chat.table_upkeep import TableUpkeep, expired
from weir.envelope import Event
from weir.events.redaction import Redactor


class Stage:
    def __init__(self) -> None:
        self.requests, self.ends = requests_in_memory(), ends_in_memory()
        self.upkeep = TableUpkeep(
            worker_of(MemoryLog()),
            requests=self.requests,
            ends=self.ends,
            redactor=Redactor(100),
        )


@pytest.fixture
def stage() -> Stage:
    return Stage()


def event(happening: str, uid: object = "req-1") -> Event:
    return Event("evt-9", happening, "acme", "2026-01-31T12:00:00Z", "weir", {"uid": uid, "rid": "evt-1"})


def test_events_become_a_row_and_a_forgotten_request_leaves_both_tables(stage: Stage) -> None:
    stage.upkeep.fold(event(Happening.ACCEPTED))
    stage.upkeep.fold(event(Happening.COMPLETED))
    row = stage.requests.get("req-1")
    assert row is not None
    assert row["state"] == "completed"
    ended = EndedRequest(rid="evt-1", fingerprint="f", tenant="t", status="completed", first=0, last=1, ended_at=0.0)
    stage.ends.put("req-1", ended)
    stage.upkeep.fold(event(Happening.FORGOTTEN))
    assert stage.requests.get("req-1") is None
    assert stage.ends.get("req-1") is None


@pytest.mark.parametrize("odd", [event("thinking.step"), event(Happening.ACCEPTED, None), event(Happening.ACCEPTED, 7)])
def test_an_event_that_is_not_weirs_makes_no_row(stage: Stage, odd: Event) -> None:
    stage.upkeep.fold(odd)
    assert list(stage.requests.items()) == []


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
    assert expired(since, now=100.0, after_s=60.0) is is_expired
