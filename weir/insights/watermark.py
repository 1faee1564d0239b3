"""The watermark of one partition: the event time up to which its windows are closed. No I/O.

For each source the newest event time is known; the watermark is the older of the two, less the lateness. So windows do
not depend on which of the two topics was read faster. It never goes back, not even where settings were changed.
"""

from weir.insights.reading import RecordSource
from weir.insights.values import PartitionRow


class Watermark:
    """The event time of one partition.

    Args:
        row: the partition's row.
        lateness_ms: how long a window waits for late events.
    """

    def __init__(self, row: PartitionRow, lateness_ms: int) -> None:
        self.newest = {RecordSource(source): at_ms for source, at_ms in row.newest.items()}
        self.closed_ms = row.closed_ms  # windows that end by then were closed when the row was written
        self._lateness_ms = lateness_ms

    @property
    def ms(self) -> int:
        """The watermark: windows that end by then are closed."""
        if len(self.newest) < len(RecordSource):
            return self.closed_ms
        return max(self.closed_ms, min(self.newest.values()) - self._lateness_ms)

    def advance(self, source: RecordSource, at_ms: int) -> None:
        """Note the time of an event from a source."""
        self.newest[source] = max(at_ms, self.newest.get(source, at_ms))

    def before(self, end_ms: int) -> list[RecordSource]:
        """The sources whose time is not past a window's end and the lateness."""
        return [one for one in RecordSource if self.newest.get(one, 0) - self._lateness_ms < end_ms]

    def row(self) -> PartitionRow:
        """The row to write for the partition. From now on its windows are closed up to here."""
        self.closed_ms = self.ms
        return PartitionRow({source.value: at_ms for source, at_ms in self.newest.items()}, self.closed_ms)
