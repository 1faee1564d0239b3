"""A user who asks nearly the same again."""

from collections import Counter
from typing import Any

import pytest

from tests.defaults import CHAT_PARTITIONS
from tests.unit.weir import workers
from tests.unit.weir.log.memory_log import MemoryLog
from tests.unit.weir.workers import FakeMessage
from weir import envelope, topics
from weir.chat.prompts import PromptAsked, PromptsForgotten
from weir.chat.similarity import fingerprint
from weir.envelope import Event, utc_iso
from weir.feedback import retries
from weir.feedback.retry_watch import RetryWatch
from weir.feedback.rules import Count
from weir.log.partitioner import partition_for

KEY = "acme:ada"
PARTITION = partition_for(KEY.encode(), CHAT_PARTITIONS)
KNIGHT = "Tell me a short story about a brave knight."


class FakeEvent(workers.FakeEvent):
    def __init__(self, value: bytes, *, generation: int = 1, partition: int = PARTITION) -> None:
        super().__init__(FakeMessage(value=value, partition=partition, generation_id=generation))


def asked(uid: str, at: float, text: str = KNIGHT, **more: Any) -> Any:
    data = {"user": "ada", "uid": uid, "at": utc_iso(at), "fingerprint": f"{fingerprint(text):016x}"}
    return FakeEvent(envelope.encode(f"evt-{uid}", PromptAsked.EVENT_TYPE, "acme", data), **more)


def forgotten(before: float) -> Any:
    data = {"user": "ada", "before": utc_iso(before)}
    return FakeEvent(envelope.encode("evt-f", PromptsForgotten.EVENT_TYPE, "acme", data))


class Stage:
    def __init__(self) -> None:
        self.log = MemoryLog()
        self.counts, self.rows = Counter[Count](), workers.prompts_in_memory()
        self.watch = RetryWatch(workers.worker_of(self.log), rows=self.rows, counts=self.counts)

    async def take(self, *events: Any) -> list[Event]:
        """Return the feedback after these prompts."""
        for event in events:
            await self.watch.take(event)
            assert event.acks == 1
        assert {at.topic for at in self.log.records} <= {topics.AI_FEEDBACK.name}
        return [envelope.decode(record.value) for log in self.log.records.values() for record in log]


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_it_is_feedback_on_the_earlier_request(stage: Stage) -> None:
    (told,) = await stage.take(asked("a", 100), asked("b", 130, f"Please {KNIGHT}"))
    assert told.tenant_id == "acme"
    assert told.data["uid"] == "a"
    assert (told.data["feedback_type"], told.data["feedback_source"]) == ("implicit_reject", "retry")
    assert (told.data["user_id"], told.data["metadata"]) == ("ada", {"retried_by": "b"})
    assert stage.counts == {"retried": 1}


async def test_what_is_delivered_again_tells_nothing_new(stage: Stage) -> None:
    await stage.take(asked("a", 100), asked("b", 130))
    before = stage.rows.get(KEY)
    told = await stage.take(asked("a", 100), asked("b", 130))
    assert len(told) == 1
    assert stage.rows.get(KEY) == before


async def test_each_request_is_told_of_under_one_id(stage: Stage) -> None:
    await stage.take(asked("a", 100), asked("b", 130))
    stage.rows.forget(KEY)  # the worker died before its row was written
    told = await stage.take(asked("a", 100), asked("b", 130))
    assert len(told) == 2
    assert len({event.event_id for event in told}) == 1


@pytest.mark.parametrize("later", [asked("b", 300), asked("b", 130, "What is the capital of France?"), asked("a", 130)])
async def test_what_is_no_retry_tells_nothing(stage: Stage, later: Any) -> None:
    assert await stage.take(asked("a", 100), later) == []


async def test_old_prompts_leave_and_then_the_row(stage: Stage) -> None:
    await stage.take(asked("a", 100), asked("b", 160), forgotten(120))
    assert [prompt.uid for prompt in retries.prompts(stage.rows.get(KEY))] == ["b"]
    await stage.take(forgotten(200))
    assert stage.rows.get(KEY) is None


async def test_a_former_owner_writes_no_row(stage: Stage) -> None:
    await stage.take(asked("a", 100, generation=0))
    assert stage.rows.get(KEY) is None


@pytest.mark.parametrize(
    "odd",
    [
        FakeEvent(b"{"),
        FakeEvent(envelope.encode("e", "prompt.whispered", "acme", {})),
        FakeEvent(envelope.encode("e", PromptAsked.EVENT_TYPE, "acme", {"user": "ada"})),
        FakeEvent(envelope.encode("e", PromptAsked.EVENT_TYPE, "acme", {"user": "ada", "fingerprint": "knight"})),
        asked("a", 100, partition=(PARTITION + 1) % 6),
    ],
)
async def test_a_record_that_is_not_an_event_of_prompts_is_skipped(stage: Stage, odd: Any) -> None:
    odd.acks = 0
    assert await stage.take(odd) == []
    assert stage.rows.get(KEY) is None
