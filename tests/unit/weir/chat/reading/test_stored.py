"""The records of a request that the log holds already."""

from tests.unit.weir.chat.helpers import UID, begin, ends, says, takeover
from tests.unit.weir.chat.reading.helpers import AT, mark, write
from tests.unit.weir.log.memory_log import MemoryLog, tails_of
from weir.chat import frames
from weir.chat.frames import FrameKind
from weir.chat.reading.pages import PAGE_RECORDS
from weir.chat.reading.stored import marks
from weir.log.tails import Tails


async def test_deliveries_that_were_made_stand_in_the_log(log: MemoryLog, tails: Tails) -> None:
    early = mark(FrameKind.DELIVERED, "evt-1", queue="q1", fingerprint="f")
    late = mark(FrameKind.DELIVERED, "evt-2", queue="q2", fingerprint="f")
    write(log, early, begin("a"), says("a", 0, "x"), ends("a"))
    position = write(log, late)
    write(log, mark(FrameKind.DELIVERED, "evt-3", queue="q1"), key="another request")
    found = await marks(tails, AT, UID, position=0, kind=FrameKind.DELIVERED)
    assert [(offset, mark.submission, mark.queue) for offset, mark in found] == [
        (0, "evt-1", "q1"),
        (position, "evt-2", "q2"),
    ]
    assert await marks(tails, AT, UID, position=position, kind=FrameKind.DELIVERED) == found[1:]


async def test_marks_of_a_long_answer_are_found_without_the_rest() -> None:
    log = MemoryLog()
    offset = write(
        log,
        begin("a"),
        *(says("a", n, '"begin"') for n in range(5 * PAGE_RECORDS)),
        takeover("b", after=5 * PAGE_RECORDS),
    )
    async with tails_of(log) as tails:
        assert [at for at, _ in await marks(tails, AT, UID, position=0, kind=frames.FrameKind.TAKEOVER)] == [offset]
        assert [at for at, _ in await marks(tails, AT, UID, position=0, kind=frames.FrameKind.BEGIN)] == [0]
