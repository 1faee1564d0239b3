"""The prompts that are published, and their fields."""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.weir.answering.helpers import REQUEST
from tests.unit.weir.log.memory_log import WAIT_S, MemoryLog
from weir import envelope, topics
from weir.chat.prompts import PromptEvents
from weir.chat.similarity import fingerprint
from weir.chat.thinking import last_user_text
from weir.events.publishing import Events
from weir.settings import Settings

TEXT = "Tell me a short story about a brave knight."
ASKED = replace(REQUEST, tenant="acme", username="ada", body={"messages": [{"role": "user", "content": TEXT}]})


async def told(settings: Settings, *requests: Any) -> list[envelope.Event]:
    log = MemoryLog()
    events = Events(log)
    prompts = PromptEvents(events, settings)
    for request in requests:
        prompts.emit(request)
    await events.drain(WAIT_S)
    assert {at.topic for at in log.records} <= {topics.CHAT_PROMPTS.name}
    assert all(record.key == b"acme:ada" for found in log.records.values() for record in found)
    return [envelope.decode(record.value) for found in log.records.values() for record in found]


async def test_a_prompt_is_told_of_by_its_fingerprint_and_never_by_its_text() -> None:
    (event,) = await told(Settings(), ASKED)
    assert event.data == {
        "user": "ada",
        "uid": ASKED.uid,
        "at": ASKED.accepted_at,
        "fingerprint": f"{fingerprint(TEXT):016x}",
    }


async def test_without_a_user_a_text_or_a_window_nothing_is_told() -> None:
    silent = replace(ASKED, body={"messages": [{"role": "user", "content": "ok"}]})
    assert await told(Settings(), replace(ASKED, username=None), replace(ASKED, username=""), silent) == []
    assert await told(Settings(retry_window_s=0), ASKED) == []


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        (None, ""),
        ([], ""),
        ([{"role": "system", "content": "be kind"}], ""),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "a"),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], "b"),
        ([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}], "a"),
        ([{"role": "user", "content": None}], ""),
    ],
)
def test_the_last_text_of_the_user_counts(messages: Any, text: str) -> None:
    assert last_user_text({"messages": messages}) == text
