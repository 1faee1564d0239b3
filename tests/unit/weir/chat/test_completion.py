"""Merging a stream gives the same server's answer without streaming."""

import copy
from typing import Any

import orjson
import pytest

from demo.chunks import stream_of
from demo.reply import completion as whole_reply
from demo.reply import reply_to
from demo.request import read
from weir.chat.completion import Completion
from weir.envelope import Json
from weir.llm.sse import SseDecoder


def chunk(*choices: Json, **top: Any) -> Json:
    return {"id": "up-1", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [*choices], **top}


def choice(delta: Json | None = None, index: int = 0, **fields: Any) -> Json:
    return {"index": index, "delta": delta or {}, "logprobs": None, "finish_reason": None, **fields}


def merged(*chunks: Json) -> Json:
    completion = Completion("req-1")
    for one in chunks:
        completion.add(one)
    return completion.result()


def message(*deltas: Json) -> Json:
    found: Json = merged(*(chunk(choice(delta)) for delta in deltas))["choices"][0]["message"]
    return found


def test_a_plain_answer_is_what_openai_says_without_streaming() -> None:
    """The example of the API reference, "Create chat completion", but for the id, which is Weir's."""
    usage = {"prompt_tokens": 19, "completion_tokens": 3, "total_tokens": 22}
    assert merged(
        chunk(choice({"role": "assistant", "content": "", "refusal": None}), system_fingerprint="fp", usage=None),
        chunk(choice({"content": "Hello"}), usage=None),
        chunk(choice({"content": " there"}), usage=None),
        chunk(choice(finish_reason="stop"), usage=None),
        chunk(usage=usage),
    ) == {
        "id": "chatcmpl-req-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "system_fingerprint": "fp",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello there", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": usage,
    }


@pytest.mark.parametrize(
    "model", ["demo:tokens=12", "demo-thinking", "demo-reasoning", "demo-think-tags", "demo-tools"]
)
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("logprobs", [False, True])
def test_the_merged_stream_of_a_server_equals_its_whole_answer(model: str, n: int, logprobs: bool) -> None:
    logprobs = logprobs and model != "demo-tools"  # the demo model streams none for a tool call
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "weather, please"}],
        "n": n,
        "logprobs": logprobs,
        "top_logprobs": 2 if logprobs else None,
        "stream_options": {"include_usage": True},
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
            }
        ],
    }
    reply = reply_to(read(orjson.dumps(body)))
    stream = stream_of(reply)
    chunks = [
        orjson.loads(data)
        for data in SseDecoder().feed(stream.opening + b"".join(stream.rounds) + stream.closing)
        if data != b"[DONE]"
    ]
    expected = orjson.loads(whole_reply(reply))
    for one in expected["choices"]:
        one["message"].pop("annotations", None)  # never streamed
    assert merged(*chunks) == {**expected, "id": "chatcmpl-req-1"}


def call(index: int, arguments: str, **head: str) -> Json:
    name = head.pop("name", None)
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {"index": index, **head, "function": function}


def test_two_parallel_tool_calls_in_pieces_become_two_calls_without_an_index() -> None:
    got = message(
        {"role": "assistant", "content": None},
        {"tool_calls": [call(0, "", id="call_a", type="function", name="weather")]},
        {"tool_calls": [call(0, '{"ci')]},
        {"tool_calls": [call(1, "", id="call_b", type="function", name="time")]},
        {"tool_calls": [call(1, "{"), call(0, 'ty":1}')]},
        {"tool_calls": [call(1, "}")]},
    )
    assert got == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city":1}'}},
            {"id": "call_b", "type": "function", "function": {"name": "time", "arguments": "{}"}},
        ],
    }


def test_ids_and_types_that_a_server_repeats_in_every_piece_are_not_doubled() -> None:
    got = message(
        {"tool_calls": [call(0, "{", id="call_a", type="function", name="f")]},
        {"role": "assistant", "tool_calls": [call(0, "}", id="call_a", type="function")]},
    )
    assert got["role"] == "assistant"
    assert got["tool_calls"] == [{"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


def test_tool_calls_stand_in_the_order_in_which_they_begin() -> None:
    """As a client of the stream has them, whose indexes follow that order."""
    got = message({"tool_calls": [call(1, "b")]}, {"tool_calls": [call(0, "a")]}, {"tool_calls": [call(1, "B")]})
    assert [one["function"]["arguments"] for one in got["tool_calls"]] == ["bB", "a"]


def test_tool_calls_of_a_server_that_gives_no_index_are_kept_as_they_come() -> None:
    """Some compatible servers send whole calls, and forget the index."""
    first, second = ({"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}} for name in "ab")
    assert message({"tool_calls": [first]}, {"tool_calls": [second]})["tool_calls"] == [first, second]
    mixed = message({"tool_calls": [first]}, {"tool_calls": [call(0, "{}", id="c")]})["tool_calls"]
    assert [one["id"] for one in mixed] == ["a", "c"]


def test_text_beside_tool_calls_stays_and_empty_text_becomes_null() -> None:
    assert message({"content": "Let me see."}, {"tool_calls": [call(0, "{}")]})["content"] == "Let me see."
    assert message({"content": ""}, {"tool_calls": [call(0, "{}")]})["content"] is None
    assert message({"content": ""})["content"] == ""


def test_choices_are_merged_apart_and_stand_in_order() -> None:
    got = merged(
        chunk(choice({"content": "b"}, 1), choice({"content": "a"}, 0)),
        chunk(choice({"content": "B"}, 1, finish_reason="length")),
        chunk(choice({"content": "A"}, 0, finish_reason="stop")),
    )["choices"]
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in got] == [
        (0, "aA", "stop"),
        (1, "bB", "length"),
    ]


def test_logprobs_are_concatenated() -> None:
    def logs(*tokens: str) -> Json:
        return {"content": [{"token": token, "logprob": -1.0, "top_logprobs": []} for token in tokens], "refusal": None}

    got = merged(
        chunk(choice({"role": "assistant", "content": ""}, logprobs=None)),
        chunk(choice({"content": "a"}, logprobs=logs("a"))),
        chunk(choice({"content": "bc"}, logprobs=logs("b", "c"))),
        chunk(choice(finish_reason="stop", logprobs=None)),
    )
    assert got["choices"][0]["logprobs"] == logs("a", "b", "c")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "refusal"])
def test_every_text_of_a_delta_is_appended(name: str) -> None:
    assert message({name: None}, {name: "one "}, {"content": "x"}, {name: "two"})[name] == "one two"


def test_a_string_that_is_no_text_is_not_appended() -> None:
    assert message({"x_status": "searching"}, {"x_status": "done"}, {"x_status": ""})["x_status"] == "done"


def test_unknown_fields_of_a_delta_are_kept() -> None:
    got = message(
        {"x_number": 1, "x_list": [1], "audio": {"id": "au", "data": "AA", "expires_at": 1}},
        {"x_number": 2, "x_list": [None], "audio": {"data": "BB", "expires_at": 2, "id": "au"}},
    )
    assert (got["x_number"], got["x_list"]) == (2, [1, None])
    assert got["audio"] == {"id": "au", "data": "AABB", "expires_at": 2}


def test_a_field_that_changes_its_type_takes_the_last_value() -> None:
    assert message({"x": "a"}, {"x": {"b": 1}})["x"] == {"b": 1}


def test_details_of_a_choice_are_replaced_and_not_appended() -> None:
    """Azure repeats its content filter's verdict in every chunk."""
    verdict = {"hate": {"filtered": False, "severity": "safe"}}
    got = merged(
        chunk(choice({"content": "a"}, content_filter_results=verdict, stop_reason=None)),
        chunk(choice({"content": "b"}, content_filter_results=verdict)),
        chunk(choice(finish_reason="stop", content_filter_results={}, stop_reason="eos")),
    )["choices"][0]
    assert got["content_filter_results"] == {}
    assert got["stop_reason"] == "eos"
    twice = merged(
        chunk(choice({"content": "a"}, content_filter_results=verdict)),
        chunk(choice({"content": "b"}, content_filter_results=verdict)),
    )["choices"][0]
    assert twice["content_filter_results"] == verdict


def test_the_last_word_on_the_top_of_the_object_counts_and_null_is_no_word() -> None:
    got = merged(chunk(service_tier="default", usage={"total_tokens": 1}), chunk(service_tier=None, usage=None))
    assert (got["service_tier"], got["usage"], got["choices"]) == ("default", {"total_tokens": 1}, [])


@pytest.mark.parametrize("odd", [{}, {"choices": None}, {"choices": [{}]}, {"choices": [{"index": 0, "delta": None}]}])
def test_chunks_that_say_nothing_are_harmless(odd: Json) -> None:
    got = merged(odd, chunk(choice({"content": "a"})), odd)
    assert [c["message"]["content"] for c in got["choices"]] == ["a"]


def test_an_answer_can_be_looked_at_while_it_grows() -> None:
    completion = Completion("req-1")
    completion.add(chunk(choice({"content": "", "tool_calls": [call(0, "{", id="call_a", name="f")]})))
    first = completion.result()["choices"][0]["message"]
    assert first["tool_calls"] == [{"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{"}}]
    completion.add(chunk(choice({"tool_calls": [call(0, "}")]})))
    assert completion.result()["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_the_chunks_are_left_as_they_were() -> None:
    chunks = [
        chunk(choice({"content": "a", "tool_calls": [call(0, "{")]}, logprobs={"content": [{"token": "a"}]})),
        chunk(choice({"content": "b", "tool_calls": [call(0, "}")]}, logprobs={"content": [{"token": "b"}]})),
    ]
    before = copy.deepcopy(chunks)
    merged(*chunks)
    assert chunks == before


def test_a_null_does_not_wipe_out_what_was_said() -> None:
    got = message({"content": "a", "refusal": None}, {"content": None, "refusal": None, "x": None})
    assert got == {"role": "assistant", "content": "a", "refusal": None, "x": None}
