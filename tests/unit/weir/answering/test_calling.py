"""The parameters of a call: the client's wishes, and the worker's limits less their use by earlier attempts."""

import time
from dataclasses import replace

import pytest

from tests.unit.weir.answering.helpers import AT, REQUEST
from tests.unit.weir.chat.helpers import RID, begin, restart, says
from tests.unit.weir.log.memory_log import MemoryLog, tails_of
from weir.answering.calling import LEAST_S, CallRules, call_of
from weir.answering.view import View
from weir.chat import frames
from weir.chat.frames import Frame
from weir.chat.requests import ChatRequest
from weir.envelope import utc_iso
from weir.events.ingress import Ingress
from weir.llm.calls import Allowance
from weir.options import ThinkTags

RULES = CallRules(header_wait_s=3.0, answer=Allowance(max_bytes=100_000, max_tokens=100, max_s=600.0))


async def viewed(*records: Frame) -> tuple[View, int]:
    """Return the view of these records, and the size of those with chunks."""
    log = MemoryLog()
    values = [frames.encode(record, event_id="e", tenant="acme") for record in records]
    for value in values:
        log.put(AT, REQUEST.key, value)
    async with tails_of(log) as tails, tails.open(AT, 0, key=REQUEST.key) as tail:
        view = View(tail, RID)
        await view.look()
    return view, sum(len(value) for value, record in zip(values, records, strict=True) if record.chunks)


async def test_an_attempt_that_takes_over_gets_what_is_left_of_the_limits() -> None:
    view, size = await viewed(begin("a"), says("a", 0, "x", "y"), says("a", 2, "z"))
    assert view.begun_at is not None
    view.begun_at = time.time() - 100.0
    allowance = call_of(REQUEST, RULES, view).allowance
    assert allowance.max_bytes == 100_000 - size
    assert allowance.max_tokens == 97
    assert 400.0 < allowance.max_s <= 500.0


async def test_an_answer_that_is_said_again_has_all_of_its_limits() -> None:
    view, _ = await viewed(begin("a"), says("a", 0, "x", "y"), restart("b", after=1))
    allowance = call_of(REQUEST, RULES, view).allowance
    assert (allowance.max_bytes, allowance.max_tokens) == (100_000, 100)


async def test_an_attempt_that_comes_late_has_time_to_say_so() -> None:
    view, _ = await viewed(begin("a"), says("a", 0, "x"))
    assert view.begun_at is not None
    view.begun_at = time.time() - 10_000.0
    assert call_of(REQUEST, RULES, view).allowance.max_s == LEAST_S


@pytest.mark.parametrize(
    ("request_", "waited_s", "within_s"),
    [
        (REQUEST, 0.0, 2.4),
        (REQUEST, 1.0, 1.4),
        (REQUEST, 2.9, 0.0),
        (REQUEST, 60.0, None),  # the headers are sent
        (replace(REQUEST, stream=False), 0.0, None),
        (replace(REQUEST, ingress=Ingress.RABBITMQ), 0.0, None),
    ],
)
async def test_retries_end_while_a_stream_can_still_have_their_status(
    request_: ChatRequest, waited_s: float, within_s: float | None
) -> None:
    view, _ = await viewed()
    accepted = replace(request_, accepted_at=utc_iso(time.time() - waited_s))
    assert call_of(accepted, RULES, view).retry_within_s == (within_s and pytest.approx(within_s, abs=0.3))


@pytest.mark.parametrize(
    ("wanted", "setting", "tags"),
    [
        (None, ThinkTags.SPLIT, ThinkTags.SPLIT),
        (None, ThinkTags.KEEP, ThinkTags.KEEP),
        (ThinkTags.KEEP, ThinkTags.SPLIT, ThinkTags.KEEP),
        (ThinkTags.SPLIT, ThinkTags.KEEP, ThinkTags.SPLIT),
    ],
)
async def test_the_choice_of_a_request_comes_before_the_setting(
    wanted: ThinkTags | None, setting: ThinkTags, tags: ThinkTags
) -> None:
    view, _ = await viewed()
    call = call_of(replace(REQUEST, think_tags=wanted), replace(RULES, think_tags=setting), view)
    assert call.think_tags is tags
