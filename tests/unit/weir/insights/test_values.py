"""The values of the quality table's rows."""

import pytest

from weir.insights.values import JudgedWindow, ModelRow, PartitionRow, RebuiltRow, WindowRow, newest_and_closed

MODEL = ModelRow(
    judged_until_ms=5, kept=[JudgedWindow(1, 2, ["latency"])], active={"cost": {"previous": None}}, late=1, heard_ms=9
)
WINDOW = WindowRow(offsets={"metrics": 4}, newest={"signals": 7}, ids=b"\x00\xff", pages=2, closed=True)
REBUILT = RebuiltRow(run="r", at=3, folded={"metrics": 8}, swapping="s", passed=2, why="w")


@pytest.mark.parametrize("row", [MODEL, ModelRow(), REBUILT, PartitionRow({"metrics": 3}, 2)])
def test_a_value_is_read_as_it_was_written(row: ModelRow | RebuiltRow | PartitionRow) -> None:
    assert type(row).decode(row.encode()) == row


def test_a_window_is_read_as_it_was_written_and_its_place_in_time_without_its_figures() -> None:
    again = WindowRow.decode(WINDOW.encode())
    assert (again.offsets, again.newest, again.ids, again.pages, again.closed) == (
        {"metrics": 4},
        {"signals": 7},
        b"\x00\xff",
        2,
        True,
    )
    assert again.window.figures() == WINDOW.window.figures()
    assert newest_and_closed(WINDOW.encode()) == ({"signals": 7}, True)


def test_fields_that_a_later_version_adds_to_a_partition_are_skipped() -> None:
    assert PartitionRow.decode(b'[{"metrics": 3}, 2, "new"]') == PartitionRow({"metrics": 3}, 2)


@pytest.mark.parametrize("value", [b"{}", b"[", b'[{"metrics": "x"}, 2]', b"[{}, null]", b"[[], 1]"])
def test_what_is_no_value_is_an_error(value: bytes) -> None:
    with pytest.raises((TypeError, ValueError)):
        PartitionRow.decode(value)
