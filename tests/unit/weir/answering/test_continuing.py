"""The plans of a new attempt after earlier output."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.weir.answering.helpers import BODY, REQUEST
from tests.unit.weir.chat.helpers import RID, chunk
from weir.answering.continuing import INTERRUPTED, Continuation, ContinuationPlan, continued, plan, spoken
from weir.chat.fold import Answer
from weir.chat.frames import FrameKind
from weir.envelope import Json

GOING_ON = [Continuation.PREFILL, Continuation.CONTINUE_FINAL_MESSAGE, Continuation.PREFIX]


def after(said: list[Json], **known: Any) -> Answer:
    return Answer(rid=RID, attempt="a", attempts=1, first=0, last=5, next_seq=len(said))._replace(**known)


def delta(**fields: Any) -> Json:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


TEXT = [delta(role="assistant", content=""), chunk("Hel"), chunk("lo")]
THOUGHTS = [delta(role="assistant", reasoning_content="hm")]
CALL = [chunk("Let me see"), delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a'}}])]


def made(said: list[Json], policy: Continuation, **known: Any) -> ContinuationPlan:
    return plan(after(said, **known), REQUEST, policy, said)


@pytest.mark.parametrize("policy", list(Continuation))
def test_a_request_of_which_nothing_is_known_begins(policy: Continuation) -> None:
    assert plan(Answer(rid=RID), REQUEST, policy, []) == ContinuationPlan(FrameKind.BEGIN, BODY)


@pytest.mark.parametrize("policy", list(Continuation))
def test_where_only_the_terminal_is_missing_no_llm_is_called(policy: Continuation) -> None:
    assert made(TEXT, policy, finish_reasons={0: "stop"}) == ContinuationPlan(FrameKind.TAKEOVER)


@pytest.mark.parametrize("policy", list(Continuation))
def test_an_answer_without_a_chunk_is_taken_over_and_not_restarted(policy: Continuation) -> None:
    assert made([], policy) == ContinuationPlan(FrameKind.TAKEOVER, BODY)


@pytest.mark.parametrize("policy", GOING_ON)
def test_text_is_gone_on_with(policy: Continuation) -> None:
    does = made(TEXT, policy)
    assert (does.kind, does.goes_on, does.said, does.skips_thoughts) == (FrameKind.TAKEOVER, True, 3, False)
    assert does.body is not None
    assert does.body["messages"][-1] | {"prefix": True} == {"role": "assistant", "content": "Hello", "prefix": True}
    assert does.body["messages"][:-1] == BODY["messages"]


@pytest.mark.parametrize("policy", GOING_ON)
@pytest.mark.parametrize(
    "said",
    [
        CALL,
        [chunk("a"), chunk("b", index=1)],
        [delta(function_call={"name": "f", "arguments": "{"})],
        [delta(refusal="I ")],
        [chunk("a"), delta(audio={"id": "au", "data": "AA"})],
        [delta(content=[{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}])],
    ],
    ids=["half a tool call", "two choices", "half a function call", "a refusal", "sound", "a picture"],
)
def test_what_no_text_can_follow_is_said_again(said: list[Json], policy: Continuation) -> None:
    assert made(said, policy) == ContinuationPlan(FrameKind.RESTART, BODY)


def test_several_choices_that_were_asked_for_are_said_again() -> None:
    request = replace(REQUEST, body={**BODY, "n": 2})
    assert plan(after(TEXT), request, Continuation.PREFILL, TEXT).kind is FrameKind.RESTART


@pytest.mark.parametrize("policy", GOING_ON)
def test_after_thoughts_alone_the_text_comes_from_a_new_call(policy: Continuation) -> None:
    assert made(THOUGHTS, policy) == ContinuationPlan(FrameKind.TAKEOVER, BODY, said=1, skips_thoughts=True)


def test_a_text_after_thoughts_is_gone_on_with_and_not_thought_about_again() -> None:
    does = made([*THOUGHTS, chunk("Hello")], Continuation.PREFILL)
    assert (does.goes_on, does.skips_thoughts, does.said) == (True, True, 2)


def test_without_a_way_to_go_on_it_is_said_again() -> None:
    assert made(TEXT, Continuation.RESTART) == ContinuationPlan(FrameKind.RESTART, BODY)


def test_a_stream_fails_where_that_is_wanted_and_other_requests_are_said_again() -> None:
    assert made(TEXT, Continuation.FAIL) == ContinuationPlan(FrameKind.TAKEOVER, error=INTERRUPTED)
    whole = replace(REQUEST, stream=False)
    assert plan(after(TEXT), whole, Continuation.FAIL, TEXT) == ContinuationPlan(FrameKind.RESTART, BODY)


# -- how an LLM is asked


def test_each_kind_of_server_is_asked_its_own_way() -> None:
    message = {"role": "assistant", "content": "Hi"}
    assert continued(BODY, "Hi", 1, Continuation.PREFILL)["messages"][-1] == message
    assert continued(BODY, "Hi", 1, Continuation.PREFIX)["messages"][-1] == message | {"prefix": True}
    vllm = continued(BODY, "Hi", 1, Continuation.CONTINUE_FINAL_MESSAGE)
    assert (vllm["messages"][-1], vllm["continue_final_message"], vllm["add_generation_prompt"]) == (
        message,
        True,
        False,
    )


def test_the_clients_own_beginning_and_the_answers_are_one_message() -> None:
    body: Json = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "Well, "}]}
    assert continued(body, "yes", 1, Continuation.PREFILL)["messages"] == [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": "Well, yes"},
    ]
    assert body["messages"][-1]["content"] == "Well, "


@pytest.mark.parametrize(("limit", "left"), [(10, 7), (3, 1), (None, None)])
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_what_was_said_counts_against_the_limit(name: str, limit: int | None, left: int | None) -> None:
    assert continued({**BODY, name: limit}, "x", 3, Continuation.PREFILL).get(name) == left


# -- what of an LLM's chunks follows


async def heard(does: ContinuationPlan, *chunks: Json) -> list[Json]:
    async def play() -> AsyncGenerator[Json, None]:
        for one in chunks:
            yield one

    return [one async for one in spoken(does, play())]


async def test_a_first_call_is_passed_on_as_it_is() -> None:
    chunks = [delta(role="assistant", content=""), {"choices": [], "usage": {"prompt_tokens": 1}}, {"object": "x"}]
    assert await heard(ContinuationPlan(FrameKind.BEGIN, BODY), *chunks) == chunks


async def test_a_second_call_does_not_send_the_role_again() -> None:
    does = ContinuationPlan(FrameKind.TAKEOVER, BODY, goes_on=True, said=3)
    said = await heard(does, delta(role="assistant", content=""), delta(role="assistant", content="x"), delta())
    assert said == [delta(content="x")]


async def test_thoughts_that_were_told_are_left_out_and_what_is_with_them_is_not() -> None:
    does = ContinuationPlan(FrameKind.TAKEOVER, BODY, said=1, skips_thoughts=True)
    said = await heard(
        does, delta(reasoning="a"), delta(reasoning_content="b", content="x"), chunk(None, "stop"), chunk("y")
    )
    assert said == [delta(content="x"), chunk(None, "stop"), chunk("y")]


async def test_usage_is_that_of_the_whole_answer() -> None:
    does = ContinuationPlan(FrameKind.TAKEOVER, BODY, goes_on=True, said=3)
    usage = {"prompt_tokens": 13, "completion_tokens": 4, "total_tokens": 17}
    (said,) = await heard(does, {"choices": [], "usage": usage})
    assert said["usage"] == {"prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17}


@pytest.mark.parametrize("usage", [{"prompt_tokens": None}, {"total_tokens": 3}, "much"])
async def test_usage_that_is_none_is_passed_on(usage: object) -> None:
    assert await heard(ContinuationPlan(FrameKind.TAKEOVER, BODY, goes_on=True, said=3), {"usage": usage}) == [
        {"usage": usage}
    ]
