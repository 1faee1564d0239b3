"""Chunks in OpenAI's shape: OpenAI's own accumulator can add up the output for any input."""

import copy
import random
from typing import Any, cast

import orjson
import pytest
from openai.lib.streaming._deltas import accumulate_delta

from weir.chat.completion import Completion, shape_of
from weir.envelope import Json
from weir.llm.deltas.shape import Shape

ODD: tuple[Any, ...] = (
    None,
    "",
    "x",
    0,
    1,
    -1,
    0.5,
    True,
    [],
    {},
    ["a"],
    [1],
    [{}],
    {"a": {}},
    {"a": None},
)
NAMES = (
    "role", "content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call", "reasoning_details",
    "thinking_blocks", "annotations", "images", "audio", "x_string", "x_list", "x_object",
)  # fmt: skip
PARTS: tuple[Any, ...] = (
    "a", {"type": "text", "text": "b"}, {"type": "thinking", "thinking": [{"type": "text", "text": "c"}]},
    {"type": "thinking", "thinking": "d"}, {"type": "image_url", "image_url": {"url": "e"}}, {"text": {"value": "f"}},
)  # fmt: skip


class Server:
    """A server that sends any chunks."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)

    def one(self, *values: Any) -> Any:
        return self.dice.choice([*values, *ODD] if self.dice.random() < 0.3 else values)

    def fields(self, **values: Any) -> Json:
        """Some of the fields."""
        return {name: value for name, value in values.items() if self.dice.random() < 0.7}

    def call(self) -> Any:
        function = self.fields(
            name=self.one("f", "g", "get_", ""), arguments=self.one('{"a"', ": 1}", '{"a": 1}', "", '"}{\\', {"a": 1})
        )
        return self.one(
            self.fields(
                index=self.one(0, 1, 2, 7, None, "1"),
                id=self.one("call_a", "call_b", "", None),
                type=self.one("function", "", None),
                function=self.one(function),
            )
        )

    def block(self) -> Any:
        fields = self.fields(
            index=self.one(0, 1, None), id=self.one("r1", "r2", None), type=self.one("reasoning.text", "other"),
            text=self.one("a", "b"), signature=self.one("s", None), format=self.one("v1"), data=self.one("d"),
        )  # fmt: skip
        return fields if self.dice.random() < 0.8 else self.dice.choice(["x", 1, {}])  # lists in lists stay as they are

    def value(self, name: str) -> Any:
        match name:
            case "content" | "reasoning_content":
                return self.one("a", "b", [self.one(*PARTS) for _ in range(self.dice.randrange(3))])
            case "tool_calls":
                return self.one([self.call() for _ in range(self.dice.randrange(3))])
            case "function_call":
                return self.one(self.fields(name=self.one("f", ""), arguments=self.one('{"a"', ": 1}")))
            case "reasoning_details" | "thinking_blocks" | "annotations" | "images" | "x_list":
                return self.one([self.block() for _ in range(self.dice.randrange(3))])
            case "audio" | "x_object":
                return self.one(self.fields(id=self.one("au"), data=self.one("AA"), transcript=self.one("t"), n=1))
        return self.one("a", "assistant")

    def chunk(self) -> Json:
        names = self.dice.sample(NAMES, self.dice.randrange(4))
        delta = self.one({name: self.value(name) for name in names})
        choice = self.fields(index=self.one(0, 0, 1, None), delta=delta, finish_reason=self.one(None, "stop"))
        return self.fields(choices=[choice], model=self.one("m", ""), created=self.one(0, 7), usage=self.one(None))


def parsed(chunk: Json) -> Json:
    """Return chunks as they come out of the log."""
    return cast("Json", orjson.loads(orjson.dumps(chunk)))


def new_shape() -> Shape:
    return Shape(lambda index, place: f"call_{index}_{place}", {"model": "asked", "created": 5})


@pytest.mark.parametrize("seed", range(300))
def test_whatever_a_server_sends_can_be_added_up_and_stays_as_it_was(seed: int) -> None:
    server = Server(seed)
    chunks = [parsed(server.chunk()) for _ in range(12)]
    before = copy.deepcopy(chunks)
    shape = new_shape()
    shaped = [shape.chunk(chunk) for chunk in chunks]
    assert chunks == before
    messages: dict[int, dict[object, object]] = {}
    for chunk in shaped:
        assert (chunk["object"], bool(chunk.get("model") is not None)) == ("chat.completion.chunk", True)
        for choice in chunk.get("choices", ()):
            assert type(choice["index"]) is int
            delta = cast("dict[object, object]", parsed(choice["delta"]))
            messages[choice["index"]] = accumulate_delta(messages.get(choice["index"], {}), delta)
    for message in messages.values():
        calls = cast("list[Json]", message.get("tool_calls") or [])
        assert [call["index"] for call in calls] == list(range(len(calls)))
        assert all(call["id"] for call in calls)
    whole = Completion("req-1")
    for chunk in shaped:
        whole.add(chunk)
    assert orjson.loads(whole.encoded()) == whole.result()
    for choice in whole.result()["choices"]:
        check_agreement(choice["message"], cast("Json", messages.get(choice["index"], {})))


def check_agreement(stored: Json, streamed: Json) -> None:
    """Check that the stored answer equals that of a client of the stream."""
    assert stored["role"] == (streamed.get("role") or "assistant")
    for name in ("reasoning_content", "reasoning", "refusal", "function_call"):
        assert (stored.get(name) or None) == (streamed.get(name) or None), name
    calls = streamed.get("tool_calls") or []
    assert (stored.get("tool_calls") or []) == [{k: v for k, v in call.items() if k != "index"} for call in calls]
    assert (stored["content"] or None) == (streamed.get("content") or None)


@pytest.mark.parametrize("seed", range(100))
def test_what_has_its_shape_keeps_it(seed: int) -> None:
    server, shape, again = Server(seed), new_shape(), shape_of("req-1")
    for _ in range(12):
        chunk = shape.chunk(parsed(server.chunk()))
        assert again.chunk(parsed(chunk)) == chunk


@pytest.mark.parametrize("index", [1e300, -1e300, float("inf"), float("nan"), "9" * 40, True, [0]])
def test_an_index_that_is_no_count_is_that_of_its_place(index: Any) -> None:
    shape, call = Shape(lambda *_: "call_1"), {"function": {"name": "f", "arguments": "{}"}}
    (choice,) = shape.chunk({"choices": [{"index": index, "delta": {"tool_calls": [{"index": index, **call}]}}]})[
        "choices"
    ]
    assert (choice["index"], choice["delta"]["tool_calls"][0]["index"]) == (0, 0)
    assert orjson.dumps(choice)
