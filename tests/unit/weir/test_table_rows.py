"""Rows that their changelog would refuse are not written; values that are not rows are skipped, with one log line."""

import logging

import pytest

from weir.chat.states import request_rows
from weir.envelope import dumps
from weir.settings import Settings
from weir.table_rows import LOGGED_MAX, TableRows, UnreadableRows, row_max_bytes


@pytest.mark.parametrize(
    ("record_bytes", "row_bytes"), [(None, 1_000_000), (8 << 20, 1_000_000), (1 << 16, (1 << 16) - 4096)]
)
def test_a_row_fits_into_a_record_of_its_changelog(
    record_bytes: int | None, row_bytes: int, caplog: pytest.LogCaptureFixture
) -> None:
    settings = (
        Settings()
        if record_bytes is None
        else Settings(kafka_max_message_bytes=record_bytes, request_max_bytes=record_bytes)
    )
    table: dict[bytes, bytes] = {}
    rows = TableRows("t", table, encode=bytes, decode=lambda _, value: value, max_bytes=row_max_bytes(settings))
    fits = row_bytes - len(b"key")
    rows.put("key", bytes(fits))
    assert [len(value) for value in table.values()] == [fits]
    rows.put("key", bytes(fits + 1))
    assert [len(value) for value in table.values()] == [fits]
    assert "is not written" in caplog.text


GARBAGE = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"7",
    b"\xff",
    dumps({"uid": "other", "tenant": "t", "state": "running", "attempts": []}),
    dumps({"uid": "u", "tenant": "t", "state": "flying", "attempts": []}),
    dumps({"uid": "u", "tenant": "t", "state": "running", "attempts": [1]}),
]


@pytest.mark.parametrize("value", GARBAGE)
def test_what_is_no_row_counts_as_missing_and_is_told_of_once(value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    good = {"uid": "good", "tenant": "t", "state": "running", "attempts": []}
    rows = request_rows({b"u": value, b"good": dumps(good)}, 1000)
    with caplog.at_level(logging.ERROR):
        assert [rows.get("u"), rows.get("u")] == [None, None]
        assert list(rows.items()) == [("good", good)]
    assert (rows.unreadable.count, len(caplog.records)) == (1, 1)


def test_a_key_that_is_no_text_is_no_row() -> None:
    rows = request_rows({b"\xff": b"{}"}, 1000)
    assert list(rows.items()) == []
    assert rows.unreadable.count == 1


def test_what_was_told_is_remembered_within_a_bound(caplog: pytest.LogCaptureFixture) -> None:
    unreadable = UnreadableRows("t")
    for number in range(LOGGED_MAX + 1):
        unreadable(b"%d" % number, ValueError())
    unreadable(b"%d" % LOGGED_MAX, ValueError())
    assert (unreadable.count, len(caplog.records)) == (LOGGED_MAX + 1, LOGGED_MAX + 1)
    unreadable(b"0", ValueError())
    assert unreadable.count == LOGGED_MAX + 2
