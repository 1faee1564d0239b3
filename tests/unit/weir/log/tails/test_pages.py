"""Pages of older records."""

import asyncio

import pytest

from tests.unit.weir.log.tails.test_tails import AT, MemoryLog, offsets
from weir.log.log import LogUnavailableError, Partition, Record
from weir.log.tails.pages import LogPages


class Counting(MemoryLog):
    """Notes how many reads were under way at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0

    async def read(self, at: Partition, position: int, *, limit: int = 500) -> list[Record]:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await super().read(at, position, limit=limit)
        finally:
            self.now -= 1


async def test_only_so_many_reads_are_under_way() -> None:
    log = Counting()
    for _ in range(10):
        log.write()
    log.read_delay_s = 0.001
    pages = LogPages(log, 3)
    got = await asyncio.gather(*(pages.read(AT, position, 2, 10) for position in range(8)))
    assert [offsets(page) for page in got] == [[position, position + 1] for position in range(8)]
    assert log.most == 3


async def test_an_empty_page_below_a_known_end_is_a_hole_only_where_the_log_still_goes_so_far() -> None:
    log = MemoryLog()
    log.write()
    log.hole(4)
    pages = LogPages(log, 1)
    assert await pages.read(AT, 1, 2, 5) == []
    log.unheard = 2
    with pytest.raises(LogUnavailableError, match="was at 5 and is back at 3"):
        await pages.read(AT, 1, 2, 5)
