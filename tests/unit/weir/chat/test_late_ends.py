"""An end whose event was lost is published again, out of the log."""

from typing import Any

import pytest

from tests.defaults import CHAT_PARTITIONS
from tests.unit.weir.log.memory_log import MemoryLog
from weir import envelope, topics
from weir.chat import frames
from weir.chat.ends import EndedRequest
from weir.chat.frames import Frame, FrameKind, Status, Terminal
from weir.chat.late_ends import LATE_S, is_late, tell
from weir.chat.states import apply
from weir.envelope import Json
from weir.events.publishing import Events
from weir.events.redaction import Redactor
from weir.log.log import Partition
from weir.log.partitioner import partition_for

UID = "req-1"
ENDED = EndedRequest(rid="evt-1", fingerprint="f", tenant="acme", status="failed", first=0, last=0, ended_at=1000.0)
RUNNING: Json = {"uid": UID, "tenant": "acme", "rid": "evt-1", "state": "running", "attempts": [{"attempt": "att-1"}]}
EXPIRY_S = 86_400.0


@pytest.mark.parametrize(
    ("row", "age_s", "late"),
    [
        (RUNNING, LATE_S + 1, True),
        (RUNNING, LATE_S - 1, False),
        (RUNNING, EXPIRY_S + 1, False),
        (None, LATE_S + 1, True),
        ({**RUNNING, "state": "accepted"}, LATE_S + 1, True),
        ({**RUNNING, "state": "failed"}, LATE_S + 1, False),
        ({**RUNNING, "state": "completed"}, LATE_S + 1, False),
        ({**RUNNING, "rid": "evt-2", "history": [{"rid": "evt-1"}]}, LATE_S + 1, False),
    ],
)
def test_an_end_is_late_when_its_row_does_not_show_it_for_a_minute(row: Json | None, age_s: float, late: bool) -> None:
    assert is_late(row, ENDED, ENDED.ended_at + age_s, EXPIRY_S) is late


async def told(log: MemoryLog, row: Json | None) -> Json:
    """Return the row after the event of the end."""
    events = Events(log)
    await tell(log, events, UID, ENDED, row, worker="host:1", redactor=Redactor(10))
    at = Partition(topics.AGENT_TRACES.name, partition_for(UID.encode(), CHAT_PARTITIONS))
    (value,) = log.values(at)
    after = apply(row, envelope.decode(value))
    assert after is not None
    return after


async def test_the_row_gets_all_that_the_log_knows_of_the_end() -> None:
    log = MemoryLog()
    error: dict[str, Any] = {"message": "a long message", "type": "t", "param": None, "code": "c", "status": 502}
    error["detail"] = [{"input": "a long prompt"}]
    terminal = Terminal(
        status=Status.FAILED, weir_finish="inferred", error=error, usage={"total_tokens": 7}, timings={"total_ms": 5.0}
    )
    frame = Frame(uid=UID, rid="evt-1", kind=FrameKind.TERMINAL, attempt="att-1", seq=4, terminal=terminal)
    at = Partition(topics.CHAT_CHUNKS.name, partition_for(UID.encode(), CHAT_PARTITIONS))
    log.put(at, UID.encode(), frames.encode(frame, event_id="e", tenant="acme"))
    row = await told(log, RUNNING)
    assert (row["state"], row["ended_at"], row["chunks"]) == ("failed", "1970-01-01T00:16:40.000000Z", 4)
    assert (row["usage"], row["timings"]) == ({"total_tokens": 7}, {"total_ms": 5.0})
    assert row["error"] == {**error, "message": "a long me…", "detail": [{"input": "a long pr…"}]}
    assert row["attempts"] == RUNNING["attempts"]


async def test_a_request_that_has_no_row_gets_one_and_so_does_one_that_the_log_has_lost() -> None:
    row = await told(MemoryLog(), None)
    assert (row["state"], row["uid"], row["tenant"], row["rid"]) == ("failed", UID, "acme", "evt-1")
    assert (row["first"], row["last"], row["error"]) == (0, 0, None)
