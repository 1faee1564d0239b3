"""Two partitions as one stream, by time."""

from tests.unit.weir.log.memory_log import MemoryLog
from tests.unit.weir.ranges.steps import HeardStep
from weir.log.log import Partition
from weir.ranges.merged import merged
from weir.ranges.offset_ranges import OffsetRange

ONE, OTHER = Partition("one", 0), Partition("other", 0)


async def test_records_come_by_their_time_and_in_the_order_of_their_partition() -> None:
    log = MemoryLog()
    for at, seconds in ((ONE, 1.0), (OTHER, 1.0), (ONE, 5.0), (ONE, 3.0), (OTHER, 4.0), (OTHER, 6.0)):
        log.now = seconds
        log.put(at, b"k", b"v")
    spans, step = [OffsetRange(ONE, 0, 3), OffsetRange(OTHER, 0, 2)], HeardStep("records", 5)
    found = [(record.topic, record.offset) async for record in merged(log, spans, step=step)]
    assert found == [("one", 0), ("other", 0), ("other", 1), ("one", 1), ("one", 2)]
    assert step.done == 5
    assert [record async for record in merged(log, [])] == []
