"""A worker's view of its own rows: one state, that of their events, and the place of an ended answer in the log."""

import pytest

from tests.defaults import CHAT_PARTITIONS
from tests.unit.weir.log.memory_log import MemoryLog
from tests.unit.weir.workers import ends_in_memory, requests_in_memory, worker_of
from weir.chat.ends import EndedRequest
from weir.chat.lookup import Lookup
from weir.chat.states import first_known, has_ended
from weir.envelope import Json
from weir.peers import Owners

ENDED = EndedRequest(rid="evt-1", fingerprint="f", tenant="t", status="failed", first=3, last=9, ended_at=1.0)


class FakeRouter:
    """A group of no workers: only this worker's own rows are asked for."""

    def table_metadata(self, table: str) -> dict[str, dict[str, list[int]]]:
        del table
        return {}

    def tables_metadata(self) -> dict[str, dict[str, list[int]]]:
        return {}


def shown(row: Json | None) -> Json | None:
    requests, ends = requests_in_memory(), ends_in_memory()
    ends.put("u", ENDED)
    if row is not None:
        requests.put("u", row)
    owners = Owners(FakeRouter(), own="http://here:8080", partitions=CHAT_PARTITIONS)
    return Lookup(worker_of(MemoryLog()), owners, requests=requests, ends=ends)._own_row("u")


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
    assert has_ended(found)
    assert first_known(found)
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


def test_the_end_of_an_earlier_life_is_not_shown_while_a_request_is_answered_again() -> None:
    row = {"uid": "u", "tenant": "t", "rid": "evt-2", "state": "running", "attempts": [], "history": [{"rid": "evt-1"}]}
    assert shown(row) == row
