"""The ids of events in open windows."""

from weir.insights.event_ids import HASH_BYTES, PAGE, EventIds
from weir.insights.rows import QualityRows
from weir.insights.values import WindowKey, WindowRow

ONE, OTHER = WindowKey("acme:m", 0, 1000), WindowKey("acme:m", 1000, 2000)


def test_an_event_is_known_in_the_windows_that_are_asked_for_also_after_a_restart() -> None:
    rows = QualityRows({})
    ids, row = EventIds(rows), WindowRow()
    names = [f"evt-{n}" for n in range(2 * PAGE + 3)]
    for name in names:
        ids.add(name, ONE, row)
        rows.put_window(ONE, row)
    assert (row.pages, len(row.ids)) == (2, 3 * HASH_BYTES)
    for again in (ids, EventIds(rows)):
        assert all(again.known(name, [OTHER, ONE]) for name in names)
        assert not again.known("evt-0", [OTHER])
        assert not again.known("evt-new", [ONE])


def test_a_window_that_is_closed_keeps_none() -> None:
    table: dict[bytes, bytes] = {}
    rows = QualityRows(table)
    ids, row = EventIds(rows), WindowRow()
    for n in range(PAGE + 1):
        ids.add(f"evt-{n}", ONE, row)
    ids.drop(ONE, row)
    assert (row.ids, row.pages, table) == (b"", 0, {})
    assert not ids.known("evt-0", [ONE])
