"""The times at which windows of each tenant and model are due."""

from tests.unit.weir.insights.helpers import SPANS
from weir.insights.rows import QualityRows
from weir.insights.schedule import Schedule
from weir.insights.values import JudgedWindow, ModelRow, WindowKey

NAME = "acme:m"
SIZE_MS = SPANS.size_ms


def window(number: int, name: str = NAME) -> WindowKey:
    return WindowKey(name, number * SIZE_MS, (number + 1) * SIZE_MS)


def test_the_oldest_open_window_of_a_name_is_due_at_its_end() -> None:
    schedule = Schedule(QualityRows({}), SPANS, [window(3)], [NAME])
    for number in (5, 2):
        schedule.opened(window(number))
    schedule.opened(window(9, "acme:other"))
    assert schedule.next(NAME, ModelRow()) == (3 * SIZE_MS, window(2))
    assert schedule.due(3 * SIZE_MS - 1) == []
    assert schedule.due(3 * SIZE_MS) == [NAME]
    assert schedule.due(10 * SIZE_MS) == [NAME, "acme:other"]
    assert schedule.pressing_ms(9 * SIZE_MS) == 3 * SIZE_MS
    assert schedule.pressing_ms(2 * SIZE_MS) is None
    schedule.closed(window(2))
    schedule.refresh(NAME)
    assert schedule.next(NAME, ModelRow()) == (4 * SIZE_MS, window(3))


def test_a_breach_ends_by_itself_after_a_silence_unless_a_window_comes_before() -> None:
    schedule = Schedule(QualityRows({}), SPANS, [], [])
    model = ModelRow(judged_until_ms=SIZE_MS, active={"latency": {}})
    quiet_ms = (1 + SPANS.quiet) * SIZE_MS
    assert schedule.next(NAME, model) == (quiet_ms, None)
    schedule.opened(window(SPANS.quiet))
    assert schedule.next(NAME, model) == (quiet_ms, window(SPANS.quiet))


def test_a_model_without_requests_loses_its_windows_and_then_its_row() -> None:
    table: dict[bytes, bytes] = {}
    rows = QualityRows(table)
    kept = window(0)
    rows.put_model(NAME, ModelRow(judged_until_ms=kept.end_ms, kept=[JudgedWindow(kept.start_ms, kept.end_ms, [])]))
    schedule = Schedule(rows, SPANS, [], [NAME])
    forgotten_ms = kept.end_ms + SPANS.kept * SIZE_MS
    assert (schedule.due(forgotten_ms - 1), schedule.due(forgotten_ms)) == ([], [NAME])
    assert schedule.pressing_ms(forgotten_ms) is None
    schedule.forget(NAME, forgotten_ms)
    assert (table, schedule.due(2**60)) == ({}, [])
