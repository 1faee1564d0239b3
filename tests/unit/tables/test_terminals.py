import pytest

from tables import requests, terminals
from tables.terminals import Ended

ROW = {"uid": "ü", "tenant": "acme", "state": "running", "attempts": []}
ENDED = Ended(rid="evt-1", fingerprint="f", tenant="acme", status="completed", first=1, last=9, ended_at=1.5)


def test_entries_are_bytes_that_are_read_as_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Faust's own codecs cannot decode would loop for ever in recovery."""
    table: dict[bytes, bytes] = {}
    monkeypatch.setattr(terminals, "table", table)
    assert terminals.get("ü") is None
    terminals.put("ü", ENDED)
    assert [(type(key), type(value)) for key, value in table.items()] == [(bytes, bytes)]
    assert terminals.get("ü") == ENDED
    terminals.forget("ü")
    terminals.forget("ü")
    assert table == {}


def test_rows_are_bytes_that_are_read_as_they_were_written(monkeypatch: pytest.MonkeyPatch) -> None:
    table: dict[bytes, bytes] = {}
    monkeypatch.setattr(requests, "table", table)
    assert requests.get("ü") is None
    requests.put("ü", ROW)
    assert [(type(key), type(value)) for key, value in table.items()] == [(bytes, bytes)]
    assert requests.get("ü") == ROW
    assert list(requests.rows()) == [ROW]
    requests.forget("ü")
    requests.forget("ü")
    assert table == {}
