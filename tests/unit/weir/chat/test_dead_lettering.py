"""Whose a dead letter is."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.weir.log.memory_log import MemoryLog
from weir import envelope
from weir.chat.dead_lettering import bury
from weir.settings import Settings


@pytest.mark.parametrize(
    ("value", "tenant"),
    [(envelope.encode("e", "feedback.given", "acme", {}), "acme"), (b"no JSON", "default"), (None, "default")],
)
async def test_a_letter_is_of_the_tenant_that_its_record_names(value: bytes | None, tenant: str) -> None:
    log = MemoryLog()
    app: Any = SimpleNamespace(log_client=log, settings=Settings())
    place = {"topic": "ai-feedback-events", "partition": 2, "offset": 7, "timestamp": 1.0, "headers": ()}
    message = SimpleNamespace(key=b"k", value=value, **place)
    acknowledged: list[int] = []
    event: Any = SimpleNamespace(message=message, ack=lambda: acknowledged.append(7))
    await bury(app, event, "a reason")
    (letter,) = [envelope.decode(record.value) for records in log.records.values() for record in records]
    assert (letter.tenant_id, acknowledged) == (tenant, [7])
