"""The answers that become examples, and the lines of them."""

from typing import Any

import orjson
import pytest

from tests.unit.weir.export.helpers import DEEP, body_of, request_of
from weir.chat.completion import Completion
from weir.chat.fold import Answer
from weir.chat.frames import Status, Terminal
from weir.envelope import Json
from weir.export.finetune import example
from weir.export.joined import Joined
from weir.export.tally import Skip

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
TOOL = {"type": "function", "function": {"name": "f"}}
USER = {"role": "user", "content": "Hi"}


def answered(body: Json | None = None, *deltas: Json, status: Status = Status.COMPLETED, **more: Any) -> Joined:
    reason = more.pop("finish_reason", "stop")
    terminal = more.pop("terminal", Terminal(status=status, finish_reason=reason))
    answer = Answer(rid="evt-1", terminal=terminal, finish_reasons={0: reason}, **more)
    request = request_of("req-1", body=body or body_of())
    found = Joined(request, 0, lambda: Completion("req-1"))
    found.answer = answer
    for delta in deltas or ({"content": "Hello"},):
        found.said.add({"choices": [{"index": 0, "delta": delta}]})
    return found


def line(joined: Joined, corrected: str | None = None) -> Any:
    found = example(joined, corrected)
    return found if isinstance(found, Skip) else orjson.loads(found)


def test_an_example_is_what_was_asked_and_what_was_answered() -> None:
    body = body_of(messages=[{"role": "system", "content": "Be brief"}, USER], temperature=1, n=2)
    assert line(answered(body, {"content": "Hel"}, {"content": "lo"})) == {
        "messages": [{"role": "system", "content": "Be brief"}, USER, {"role": "assistant", "content": "Hello"}]
    }


def test_thinking_is_not_part_of_it() -> None:
    body = body_of(messages=[USER, {"role": "assistant", "content": "x", "reasoning_content": "hm"}, USER])
    assert line(answered(body, {"reasoning_content": "so"}, {"content": "Hello"}))["messages"] == [
        USER,
        {"role": "assistant", "content": "x"},
        USER,
        {"role": "assistant", "content": "Hello"},
    ]


def test_a_function_call_is_an_answer() -> None:
    called = {"name": "f", "arguments": "{}"}
    assert line(answered(body_of(), {"function_call": called}, finish_reason="function_call")) == {
        "messages": [USER, {"role": "assistant", "content": None, "function_call": called}]
    }


def test_tool_calls_come_with_their_tools() -> None:
    body = body_of(tools=[TOOL], parallel_tool_calls=False)
    delta = {"tool_calls": [{"index": 0, **CALL}]}
    assert line(answered(body, delta, finish_reason="tool_calls")) == {
        "messages": [USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}],
        "tools": [TOOL],
        "parallel_tool_calls": False,
    }


def test_a_correction_is_the_answer_whatever_that_was() -> None:
    expected = {"messages": [USER, {"role": "assistant", "content": "Better"}]}
    body = body_of(tools=[TOOL])
    assert line(answered(body, {"tool_calls": [{"index": 0, **CALL}]}), "Better") == {**expected, "tools": [TOOL]}
    for joined in (
        answered(status=Status.FAILED),
        answered(finish_reason="length"),
        answered(terminal=None),
        answered(gap=True),
    ):
        assert line(joined, "Better") == expected


@pytest.mark.parametrize(
    ("joined", "why"),
    [
        (answered(status=Status.FAILED), Skip.FAILED),
        (answered(status=Status.CANCELLED), Skip.CANCELLED),
        (answered(status=Status.EXPIRED), Skip.EXPIRED),
        (answered(terminal=None), Skip.UNFINISHED),
        (answered(gap=True), Skip.BROKEN),
        (answered(finish_reason="length"), Skip.TRUNCATED),
        (answered(finish_reason="content_filter"), Skip.TRUNCATED),
        (answered(None, {"reasoning_content": "only"}), Skip.EMPTY),
        (answered(None, {"role": "assistant", "content": ""}), Skip.EMPTY),
    ],
)
def test_what_did_not_end_well_is_no_example(joined: Joined, why: Skip) -> None:
    assert line(joined) is why


def test_a_submission_whose_answer_is_anothers_is_no_example_even_if_corrected() -> None:
    joined = answered()
    joined.repeated = True
    assert line(joined, "Better") is Skip.AGAIN


def test_the_developer_is_called_system() -> None:
    body = body_of(messages=[{"role": "developer", "content": "Be brief"}, USER])
    assert line(answered(body))["messages"][0] == {"role": "system", "content": "Be brief"}


@pytest.mark.parametrize(
    "messages",
    [
        [USER, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "c1", "content": "1"}],
        [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {}}]}],
        [{"role": "function", "name": "f", "content": "1"}],
    ],
)
def test_what_fine_tuning_knows_stays_as_it_is(messages: list[Json]) -> None:
    assert line(answered(body_of(messages=messages)))["messages"][:-1] == messages


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"messages": "Hi"}, Skip.MALFORMED),
        ({"messages": []}, Skip.MALFORMED),
        ({"messages": ["Hi"]}, Skip.MALFORMED),
        ({"messages": [{"role": "wizard", "content": "Hi"}]}, Skip.ROLE),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, Skip.CONTENT),
        ({"messages": [{"role": "user", "content": 7}]}, Skip.CONTENT),
        ({"messages": [USER, {"role": "assistant", "content": "He"}]}, Skip.PREFIX),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [CALL]}, USER]}, Skip.CALLS),
        ({"messages": [USER, {"role": "tool", "tool_call_id": "c1", "content": "1"}]}, Skip.CALLS),
        ({"messages": [USER], "tools": [{"type": "custom"}]}, Skip.TOOLS),
        # of clients who may write anything
        ({"messages": [{"role": ["user"], "content": "Hi"}]}, Skip.ROLE),
        ({"messages": [{"role": "user", "content": [{"type": ["text"]}]}]}, Skip.CONTENT),
        ({"messages": [USER, {"role": "tool", "tool_call_id": {}, "content": "1"}]}, Skip.CALLS),
        ({"messages": [USER, {"role": "assistant", "tool_calls": ["x"]}, USER]}, Skip.CALLS),
        ({"messages": [USER, {"role": "assistant", "tool_calls": 5}, USER]}, Skip.CALLS),
        ({"messages": [USER, {"role": "assistant", "tool_calls": [{"id": []}]}, USER]}, Skip.CALLS),
        ({"messages": [USER], "tools": 5}, Skip.TOOLS),
        ({"messages": [USER], "tools": {}}, Skip.TOOLS),
        ({"messages": [{**USER, "name": DEEP}]}, Skip.MALFORMED),
        ({"messages": [USER], "functions": DEEP}, Skip.MALFORMED),
    ],
)
def test_what_fine_tuning_does_not_take_is_left_out(body: Json, why: Skip) -> None:
    assert line(answered(body)) is why
    assert line(answered(body), "Better") is why
