"""Valid and invalid requests, and the error of each invalid one."""

from typing import Any

import orjson
import pytest

from weir.chat.accept import parse
from weir.chat.validation import CHOICES_MAX, MESSAGES_MAX, NAME_MAX, check_body
from weir.envelope import Json
from weir.errors import InvalidRequestError


def user(content: Any) -> Json:
    return {"role": "user", "content": content}


def body(*messages: Any, **fields: Any) -> Json:
    return {"messages": list(messages) or [user("Hello")], **fields}


CALL = {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}

RIGHT: dict[str, Json] = {
    "the least": body(),
    "a model": body(model="gpt-5"),
    "empty text": body(user("")),
    "emoji": body(user("👩‍👩‍👧 \u2028 水 \x00")),
    "a megabyte of text": body(user("x" * (1 << 20))),
    "a text part": body(user([{"type": "text", "text": "Hello"}])),
    "an image part": body(user([{"type": "text", "text": "What is this?"}, IMAGE])),
    "a sound part": body(user([{"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}])),
    "a file part by id": body(user([{"type": "file", "file": {"file_id": "file-1"}}])),
    "a file part with data": body(user([{"type": "file", "file": {"filename": "a.pdf", "file_data": "AA=="}}])),
    "a refusal part": body(
        user("Hello"), {"role": "assistant", "content": [{"type": "refusal", "refusal": "I cannot"}]}
    ),
    "a part of tomorrow": body(user([{"type": "hologram", "hologram": {"url": 7}}])),
    "a part with a cache mark": body(user([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}])),
    "all roles": body(
        {"role": "system", "content": "a"},
        {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        {"role": "user", "content": "c", "name": "Ada"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_a", "content": "d"},
        {"role": "function", "name": "f", "content": "e"},
    ),
    "tool calls without content": body(user("a"), {"role": "assistant", "tool_calls": [CALL, CALL]}),
    "tool calls with empty content": body({"role": "assistant", "content": "", "tool_calls": [CALL]}),
    "a custom tool call": body(
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {"name": "f", "input": "x"}}]}
    ),
    "a function call of old": body(
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    ),
    "a refusal without content": body({"role": "assistant", "content": None, "refusal": "I cannot"}),
    "an answer that was spoken": body({"role": "assistant", "content": None, "audio": {"id": "audio_1"}}),
    "reasoning without content": body(
        user("a"), {"role": "assistant", "content": None, "reasoning_content": "Hm."}, user("b")
    ),
    "reasoning by its other names": body(
        {"role": "assistant", "content": None, "reasoning": "Hm."},
        {"role": "assistant", "content": None, "reasoning_details": [{"type": "reasoning.text", "text": "Hm."}]},
    ),
    "a beginning to go on with": body(user("a"), {"role": "assistant", "content": "It", "prefix": True}),
    "a tool's answer in parts": body(
        {"role": "tool", "tool_call_id": "call_a", "content": [{"type": "text", "text": "d"}]}
    ),
    "tools": body(tools=[TOOL, {"type": "custom", "custom": {"name": "g"}}, {"type": "web_search"}]),
    "no tools": body(tools=[]),
    "nulls": body(model=None, stream=None, n=None, tools=None, stream_options=None, uid=None, username=None, stop=None),
    "streaming": body(stream=True, stream_options={"include_usage": True}),
    "the most choices": body(n=CHOICES_MAX),
    "one choice": body(n=1),
    "names": body(uid="a", username="ada"),
    "a long uid": body(uid="x" * 128),
    "a uid of all kinds of letters": body(uid="aZ09._:@=+~-"),
    "long names": body(model="m" * NAME_MAX, username="ü" * NAME_MAX),
    "fields of any other kind": body(temperature="hot", max_tokens=-1, x_unknown={"a": [None]}),
    "many messages": body(*[user("a")] * MESSAGES_MAX),
}


@pytest.mark.parametrize("right", RIGHT.values(), ids=RIGHT.keys())
def test_a_right_body_is_taken_as_it_is(right: Json) -> None:
    before = orjson.dumps(right)
    assert check_body(parse(before)) == right
    assert check_body(right) is right
    assert orjson.dumps(right) == before


def part(**fields: Any) -> Json:
    return body(user("a"), user([{"type": "text", "text": "a"}, fields]))


def assistant(**fields: Any) -> Json:
    return body(user("a"), {"role": "assistant", **fields})


PART = "messages[1].content[1]"
CALLS = "messages[1].tool_calls"
WRONG: dict[str, tuple[Any, str | None]] = {
    "a list": ([], None),
    "a string": ("messages", None),
    "null": (None, None),
    "a number": (1.5, None),
    "true": (True, None),
    "no messages": ({"model": "m"}, "messages"),
    "messages that are null": ({"messages": None}, "messages"),
    "empty messages": ({"messages": []}, "messages"),
    "messages that are text": ({"messages": "Hello"}, "messages"),
    "messages that are an object": ({"messages": {"role": "user"}}, "messages"),
    "too many messages": ({"messages": [user("a")] * (MESSAGES_MAX + 1)}, "messages"),
    "a message that is text": (body(user("a"), "Hello"), "messages[1]"),
    "a message that is null": (body(None), "messages[0]"),
    "no role": (body({"content": "a"}), "messages[0].role"),
    "a role that is unknown": (body({"role": "wizard", "content": "a"}), "messages[0].role"),
    "a role that is a list": (body({"role": ["user"], "content": "a"}), "messages[0].role"),
    "a role in capitals": (body({"role": "User", "content": "a"}), "messages[0].role"),
    "no content": (body({"role": "user"}), "messages[0].content"),
    "content that is null": (body(user(None)), "messages[0].content"),
    "system content that is null": (body({"role": "system", "content": None}), "messages[0].content"),
    "tool content that is null": (
        body({"role": "tool", "tool_call_id": "c", "content": None}),
        "messages[0].content",
    ),
    "an assistant with nothing to say": (assistant(content=None), "messages[1].content"),
    "an assistant with no calls and no content": (assistant(content=None, tool_calls=[]), "messages[1].content"),
    "a user with calls and no content": (body({"role": "user", "tool_calls": [CALL]}), "messages[0].content"),
    "content that is a number": (body(user(7)), "messages[0].content"),
    "content that is true": (body(user(True)), "messages[0].content"),
    "content that is an object": (body(user({"type": "text", "text": "a"})), "messages[0].content"),
    "content without parts": (body(user([])), "messages[0].content"),
    "a part that is text": (body(user(["Hello"])), "messages[0].content[0]"),
    "a part that is null": (body(user([None])), "messages[0].content[0]"),
    "a part without a type": (part(text="a"), f"{PART}.type"),
    "a part whose type is null": (part(type=None, text="a"), f"{PART}.type"),
    "a text part without text": (part(type="text"), f"{PART}.text"),
    "a text part with a number": (part(type="text", text=7), f"{PART}.text"),
    "a refusal part with null": (part(type="refusal", refusal=None), f"{PART}.refusal"),
    "an image part without an image": (part(type="image_url"), f"{PART}.image_url"),
    "an image part with a bare url": (part(type="image_url", image_url="http://x"), f"{PART}.image_url"),
    "an image without a url": (part(type="image_url", image_url={"detail": "low"}), f"{PART}.image_url.url"),
    "a sound part without sound": (part(type="input_audio"), f"{PART}.input_audio"),
    "a sound without data": (part(type="input_audio", input_audio={"format": "wav"}), f"{PART}.input_audio.data"),
    "a sound without a format": (part(type="input_audio", input_audio={"data": "AA"}), f"{PART}.input_audio.format"),
    "a file part without a file": (part(type="file"), f"{PART}.file"),
    "a file part with a name": (part(type="file", file="file-1"), f"{PART}.file"),
    "a tool message without a call": (body({"role": "tool", "content": "a"}), "messages[0].tool_call_id"),
    "a tool message whose call is a number": (
        body({"role": "tool", "tool_call_id": 1, "content": "a"}),
        "messages[0].tool_call_id",
    ),
    "calls that are an object": (assistant(tool_calls=CALL), CALLS),
    "a call that is text": (assistant(tool_calls=["f"]), f"{CALLS}[0]"),
    "a call without an id": (assistant(tool_calls=[{**CALL, "id": None}]), f"{CALLS}[0].id"),
    "a call without a function": (assistant(tool_calls=[CALL, {"id": "c"}]), f"{CALLS}[1].function"),
    "a call without a name": (
        assistant(tool_calls=[{**CALL, "function": {"arguments": "{}"}}]),
        f"{CALLS}[0].function.name",
    ),
    "a call whose arguments are an object": (
        assistant(tool_calls=[{**CALL, "function": {"name": "f", "arguments": {}}}]),
        f"{CALLS}[0].function.arguments",
    ),
    "a model that is a number": (body(model=5), "model"),
    "a model of too many letters": (body(model="m" * (NAME_MAX + 1)), "model"),
    "a username that is an object": (body(username={}), "username"),
    "a username of too many letters": (body(username="u" * (NAME_MAX + 1)), "username"),
    "a stream that is text": (body(stream="true"), "stream"),
    "a stream that is a number": (body(stream=1), "stream"),
    "stream options that are true": (body(stream_options=True), "stream_options"),
    "no choices": (body(n=0), "n"),
    "fewer than no choices": (body(n=-1), "n"),
    "too many choices": (body(n=CHOICES_MAX + 1), "n"),
    "half a choice": (body(n=1.5), "n"),
    "a choice that is true": (body(n=True), "n"),
    "choices that are text": (body(n="2"), "n"),
    "tools that are an object": (body(tools={"type": "function"}), "tools"),
    "a tool that is text": (body(tools=["f"]), "tools[0]"),
    "a tool without a type": (body(tools=[TOOL, {"function": {"name": "f"}}]), "tools[1].type"),
    "a tool without a function": (body(tools=[{"type": "function"}]), "tools[0].function"),
    "a tool without a name": (body(tools=[{"type": "function", "function": {}}]), "tools[0].function.name"),
    "a uid that is a number": (body(uid=7), "uid"),
    "a uid that is empty": (body(uid=""), "uid"),
    "a uid of too many letters": (body(uid="x" * 129), "uid"),
    "a uid with a slash": (body(uid="a/b"), "uid"),
    "a uid with a space": (body(uid="a b"), "uid"),
    "a uid with an end of line": (body(uid="a\n"), "uid"),
    "a uid of other letters": (body(uid="ü"), "uid"),
    "a uid that means this folder": (body(uid="."), "uid"),
    "a uid that means the folder above": (body(uid=".."), "uid"),
}


@pytest.mark.parametrize(("wrong", "param"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_body_is_refused_with_the_name_of_its_field(wrong: Any, param: str | None) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_body(wrong)
    error = caught.value
    assert (error.status, error.error["type"], error.error["param"]) == (400, "invalid_request_error", param)
    message = error.error["message"]
    assert "\n" not in message
    assert len(message) < 300
    if param is not None:
        assert f"'{param}'" in message or f"{param}" in message
    assert error.body == {"error": error.error}


def test_a_missing_field_has_a_code_of_its_own() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        check_body({})
    assert caught.value.error["code"] == "missing_required"


@pytest.mark.parametrize("raw", [b"", b"{", b"{'a': 1}", b"\xff\xfe", b'{"a": NaN}', b'{"a": "\\ud800"}', b"[" * 5000])
def test_a_body_that_is_no_json_is_told_as_such(raw: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="not valid JSON") as caught:
        parse(raw)
    assert (caught.value.status, caught.value.error["code"]) == (400, "invalid_json")
