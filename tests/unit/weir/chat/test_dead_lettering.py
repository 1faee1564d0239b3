"""The tenant of a dead letter."""

from typing import Any

import pytest

from tests.unit.weir.log.memory_log import MemoryLog
from tests.unit.weir.workers import FakeEvent, FakeMessage, worker_of
from weir import envelope
from weir.chat.dead_lettering import dead_letter


@pytest.mark.parametrize(
    ("value", "tenant"),
    [(envelope.encode("e", "feedback.given", "acme", {}), "acme"), (b"no JSON", "default"), (None, "default")],
)
async def test_a_letter_is_of_the_tenant_that_its_record_names(value: bytes | None, tenant: str) -> None:
    log = MemoryLog()
    event: Any = FakeEvent(FakeMessage(value=value, topic="ai-feedback-events", partition=2))
    await dead_letter(worker_of(log), event, "a reason")
    (letter,) = [envelope.decode(record.value) for records in log.records.values() for record in records]
    assert (letter.tenant_id, event.acks) == (tenant, 1)
