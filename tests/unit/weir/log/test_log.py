"""The common functions over every log client."""

import pytest

from tests.unit.weir.log.memory_log import AWAY, MemoryLog
from weir.log.log import LogUnavailableError, Partition, record_at

AT = Partition("t", 0)


@pytest.mark.parametrize(("offset", "value"), [(0, None), (1, None), (2, b"2"), (4, b"4"), (5, None), (-1, None)])
async def test_a_record_is_found_by_its_offset_and_by_no_other(offset: int, value: bytes | None) -> None:
    log = MemoryLog()
    for number in range(5):
        log.put(AT, b"k", b"%d" % number)
    log.starts[AT] = 2  # retention has taken two
    record = await record_at(log, AT, offset)
    assert (None if record is None else record.value) == value


async def test_a_log_that_is_away_has_an_error_and_not_no_record() -> None:
    log = MemoryLog()
    log.broken = AWAY
    with pytest.raises(LogUnavailableError):
        await record_at(log, AT, 0)
