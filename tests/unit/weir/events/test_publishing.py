import asyncio
import logging
from typing import cast

import pytest

from tests.unit.weir.log.memory_log import MemoryLog
from weir import envelope
from weir.events import publishing
from weir.events.feedback import FeedbackSubmitted, FeedbackType
from weir.events.metrics import MetricsTick
from weir.events.publishing import Events
from weir.log.log import LogUnavailableError, Partition
from weir.log.partitioner import partition_for

FEEDBACK = FeedbackSubmitted(uid="u", response_id="chatcmpl-u", feedback_type=FeedbackType.THUMBS_UP)
AT = Partition("ai-feedback-events", partition_for(b"u", 6))
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
WAIT_S = 5.0


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


async def test_an_event_has_the_envelope_its_key_and_its_headers(log: MemoryLog) -> None:
    await Events(log).publish(FEEDBACK, "acme", event_id="evt-1", traceparent=TRACEPARENT)
    (record,) = log.records[AT]
    event = envelope.decode(record.value)
    assert (event.event_id, event.event_type, event.tenant_id, event.source) == (
        "evt-1",
        "feedback.submitted",
        "acme",
        "weir",
    )
    assert event.data["feedback_type"] == "thumbs_up"
    assert record.key == b"u"
    assert dict(record.headers) == {
        "event_type": b"feedback.submitted",
        "schema_version": b"1",
        "traceparent": TRACEPARENT.encode(),
    }


async def test_what_is_emitted_keeps_its_order(log: MemoryLog) -> None:
    events = Events(log)
    for number in range(50):
        events.emit(FEEDBACK, "acme", event_id=f"evt-{number}")
    assert not log.records.get(AT)
    await events.drain(WAIT_S)
    assert [envelope.decode(value).event_id for value in log.values(AT)] == [f"evt-{n}" for n in range(50)]
    assert not events.dropped


async def test_what_lingers_leaves_by_itself(log: MemoryLog) -> None:
    Events(log).emit(FEEDBACK, "acme")
    await log.until(lambda: AT in log.records)


async def test_beyond_its_bound_events_are_dropped_counted_and_told_once(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(publishing, "WAITING_MAX", 10)
    events = Events(log)
    with caplog.at_level(logging.WARNING):
        for _ in range(25):
            events.emit(FEEDBACK, "acme")
    await events.drain(WAIT_S)
    assert len(log.values(AT)) == 10
    assert events.dropped == {"ai-feedback-events": 15}
    assert len(caplog.records) == 1


async def test_a_log_that_is_away_is_counted_for_emitted_events_and_raised_for_published_ones(log: MemoryLog) -> None:
    log.fail_append = lambda *_: LogUnavailableError("away")
    events = Events(log)
    events.emit(FEEDBACK, "acme")
    await events.drain(WAIT_S)
    assert events.dropped == {"ai-feedback-events": 1}
    with pytest.raises(LogUnavailableError):
        await events.publish(FEEDBACK, "acme")


async def test_what_cannot_be_written_is_dropped_and_breaks_nothing(log: MemoryLog) -> None:
    events = Events(log)
    events.emit(MetricsTick.model_construct(at=cast("str", object())), "acme")
    events.emit(FEEDBACK, "acme")
    await events.drain(WAIT_S)
    assert events.dropped == {"agent-metrics-events": 1}
    assert len(log.values(AT)) == 1


async def test_a_drain_does_not_wait_for_ever() -> None:
    class Stuck(MemoryLog):
        def append(self, *_args: object, **_kwargs: object) -> "asyncio.Future[int]":
            return asyncio.get_running_loop().create_future()

    events = Events(Stuck())
    events.emit(FEEDBACK, "acme")
    async with asyncio.timeout(WAIT_S):
        await events.drain(0.05)


async def test_an_event_that_does_not_fit_into_a_record_is_cut_until_it_does() -> None:
    log = MemoryLog()
    await Events(log, max_bytes=8000).publish(FEEDBACK.model_copy(update={"comment": "x" * 100_000}), "acme")
    (record,) = [record for records in log.records.values() for record in records]
    assert len(record.value or b"") <= 8000
    assert envelope.decode(record.value).data["comment"] == "x" * 1023 + "…"
