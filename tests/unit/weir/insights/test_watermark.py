"""The event time that a partition has reached."""

from weir.insights.reading import RecordSource
from weir.insights.values import PartitionRow
from weir.insights.watermark import Watermark

METRICS, SIGNALS = RecordSource.METRICS, RecordSource.SIGNALS


def test_the_older_of_the_two_sources_counts_less_the_lateness() -> None:
    watermark = Watermark(PartitionRow(), 100)
    watermark.advance(METRICS, 5000)
    assert (watermark.ms, watermark.before(1)) == (0, [SIGNALS])
    watermark.advance(SIGNALS, 3000)
    watermark.advance(SIGNALS, 2000)  # out of order
    assert watermark.ms == 2900
    assert [watermark.before(end_ms) for end_ms in (2900, 2901, 5000)] == [[], [SIGNALS], [METRICS, SIGNALS]]


def test_it_goes_on_from_its_row_and_never_back() -> None:
    first = Watermark(PartitionRow(), 0)
    for source in RecordSource:
        first.advance(source, 7000)
    row = first.row()
    assert (row.newest, row.closed_ms, first.closed_ms) == ({"metrics": 7000, "signals": 7000}, 7000, 7000)
    later = Watermark(PartitionRow.decode(row.encode()), 500)
    assert (later.ms, later.newest) == (7000, {METRICS: 7000, SIGNALS: 7000})
