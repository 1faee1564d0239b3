"""A table read back in pages: every change up to the last offset, in order, holes and removals included."""

from typing import Any

import pytest
from faust.types import TP

from tests.unit.weir.log.memory_log import MemoryLog
from weir.log import changelogs
from weir.log.changelogs import read_back
from weir.log.log import LogUnavailableError, Partition, Record

AT = TP("app-state-changelog", 2)


class Table:
    """Applies a batch as Faust's stores do."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.batches: list[int] = []
        self.persisted = -1

    def apply_changelog_batch(self, batch: list[Any]) -> None:
        self.batches.append(len(batch))
        for event in batch:
            message = event.message
            assert (event.key, event.value) == (message.key, message.value)
            assert (message.tp, message.partition) == (AT, AT.partition)
            if message.value is None:
                self.rows.pop(message.key, None)
            else:
                self.rows[message.key] = message.value
            self.persisted = message.offset


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
    monkeypatch.setattr(changelogs, "PAGE", 10)
    log = MemoryLog()
    for n in range(35):
        log.put(Partition(*AT), b"key %d" % (n % 7), b"%d" % n)
    log.put(Partition(*AT), b"key 3", None)
    return log


async def test_all_changes_up_to_the_last_one_are_applied_in_pages(log: MemoryLog) -> None:
    table = Table()
    assert await read_back(log, table, AT, after=-1, last=35) == 35
    assert table.rows == {b"key %d" % n: b"%d" % (28 + n) for n in range(7) if n != 3}
    assert table.batches == [10, 10, 10, 6]


async def test_it_goes_on_where_the_table_stands_and_stops_at_the_last_offset_asked_for(log: MemoryLog) -> None:
    table = Table()
    assert await read_back(log, table, AT, after=19, last=24) == 24
    assert (table.batches, table.persisted) == ([5], 24)
    assert await read_back(log, table, AT, after=24, last=24) == 24
    assert table.batches == [5]


async def test_holes_are_stepped_over_also_at_the_end(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    left = [record for record in log.records[Partition(*AT)] if record.offset % 3 == 0 and record.offset < 33]

    async def read(_: Partition, position: int, *, limit: int) -> list[Record]:
        return [record for record in left if record.offset >= position][:limit]

    monkeypatch.setattr(log, "read", read)
    assert await read_back(log, table, AT, after=-1, last=35) == 35
    assert table.persisted == 30


async def test_what_an_open_transaction_hides_is_not_taken_for_a_hole(log: MemoryLog) -> None:
    assert await read_back(log, Table(), AT, after=-1, last=40) == 35


async def test_a_log_that_fails_says_so_and_what_was_applied_stays(log: MemoryLog) -> None:
    table = Table()
    log.broken = LogUnavailableError("away")
    with pytest.raises(LogUnavailableError):
        await read_back(log, table, AT, after=-1, last=35)
    log.broken = None
    assert await read_back(log, table, AT, after=-1, last=35) == 35
