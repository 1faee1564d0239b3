"""Rows of the terminals and the requests table, as bytes."""

from tests.unit.weir.workers import MAX_BYTES
from weir.chat.ends import EndedRequest, ends
from weir.chat.states import request_rows

ROW = {"uid": "ü", "tenant": "acme", "state": "running", "attempts": []}
ENDED = EndedRequest(rid="evt-1", fingerprint="f", tenant="acme", status="completed", first=1, last=9, ended_at=1.5)


def test_entries_are_bytes_that_are_read_as_they_were_written() -> None:
    """A value that Faust's own codecs cannot decode would loop for ever in recovery."""
    table: dict[bytes, bytes] = {}
    terminals = ends(table, MAX_BYTES)
    assert terminals.get("ü") is None
    terminals.put("ü", ENDED)
    assert [(type(key), type(value)) for key, value in table.items()] == [(bytes, bytes)]
    assert terminals.get("ü") == ENDED
    assert list(terminals.items()) == [("ü", ENDED)]
    terminals.forget("ü")
    terminals.forget("ü")
    assert table == {}


def test_rows_are_bytes_that_are_read_as_they_were_written() -> None:
    table: dict[bytes, bytes] = {}
    requests = request_rows(table, MAX_BYTES)
    assert requests.get("ü") is None
    requests.put("ü", ROW)
    assert [(type(key), type(value)) for key, value in table.items()] == [(bytes, bytes)]
    assert requests.get("ü") == ROW
    assert list(requests.items()) == [("ü", ROW)]
    requests.forget("ü")
    requests.forget("ü")
    assert table == {}
