"""A dead letter fits into a record, whatever its own record holds."""

from collections.abc import Awaitable

import pytest

from tests.unit.weir.log.memory_log import MemoryLog
from weir import envelope
from weir.chat.dead_letters import write
from weir.envelope import Json
from weir.log.log import Headers, LogRefusedError, Record, RecordTooLargeError

LONG = "x" * 400_000


class Narrow(MemoryLog):
    """A log whose topics take records of 100,000 bytes."""

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Awaitable[int]:
        if len(value or b"") > 100_000:
            raise RecordTooLargeError("cannot append: the record is larger than the topic takes")
        return super().append(topic, partition, key, value, headers)


async def buried(log: MemoryLog, record: Record, reason: str = "no", details: Json | None = None) -> Json:
    await write(log, record, reason=reason, tenant=LONG, value_max_bytes=1 << 20, details=details)
    (letter,) = [one for records in log.records.values() for one in records]
    return envelope.decode(letter.value).data


def of(value: bytes = b"v", key: bytes = b"k", headers: Headers = ()) -> Record:
    return Record("chat-requests", 0, 7, 1.0, key, value, headers)


@pytest.mark.parametrize(
    ("record", "reason", "details"),
    [
        (of(), LONG, None),
        (of(), "no", {"error": {"type": LONG, "code": LONG}}),
        (of(), "no", {f"field {n}": LONG for n in range(50)}),
        (of(key=LONG.encode()), "no", None),
        (of(headers=[(LONG, LONG.encode())] * 100), "no", None),
        (of(value=LONG.encode()), "no", {"uid": "u"}),
    ],
    ids=["reason", "error", "details", "key", "headers", "value"],
)
async def test_a_letter_is_made_small_enough_for_the_topic(record: Record, reason: str, details: Json | None) -> None:
    told = await buried(Narrow(), record, reason, details)
    assert (told["topic"], told["partition"], told["offset"]) == ("chat-requests", 0, 7)
    assert told["size_bytes"] == len(record.value or b"")


async def test_a_value_that_fits_is_kept() -> None:
    assert (await buried(MemoryLog(), of(value=LONG.encode())))["value"] is not None


async def test_a_refusal_for_another_reason_is_told_to_the_caller() -> None:
    class Closed(MemoryLog):
        def append(self, *_: object) -> Awaitable[int]:
            raise LogRefusedError("no such topic")

    with pytest.raises(LogRefusedError):
        await buried(Closed(), of())
