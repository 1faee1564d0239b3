import asyncio
import time
from typing import cast

import aiohttp
import openai
import orjson
import pytest
from openai import AsyncOpenAI, OpenAI

from demo.messages import last_user_text
from demo.text import expected_content, expected_thinking, script
from tests.unit.demo.helpers import PROMPT, TOOLS, body_of, calls, streamed

MODELS = [
    "demo",
    "demo-thinking",
    "demo-reasoning",
    "demo-think-tags",
    "demo-empty-choices",
    "demo-no-usage",
    "demo:tokens=0",
    "demo:tokens=1",
    "demo:tokens=500",
    "demo:tokens=20,delay_ms=2,first_ms=5",
    "demo-slow:first_ms=1,delay_ms=0",
]


@pytest.mark.parametrize("model", MODELS)
async def test_a_stream_is_the_script_token_for_token(client: AsyncOpenAI, model: str) -> None:
    body = body_of(model)
    said = script(body)
    received = await streamed(client, body)
    assert received.deltas("content") == said.content
    key = {"demo-thinking": "reasoning_content", "demo-reasoning": "reasoning"}.get(model)
    if key:
        assert received.deltas(key) == said.thinking
        assert said.thinking
    first = next(chunk for chunk in received.chunks if chunk.choices).choices[0]
    assert (first.delta.role, first.delta.content, first.finish_reason) == ("assistant", "", None)
    assert received.finish_reasons() == {0: "stop"}
    assert {(chunk.id, chunk.object, chunk.model) for chunk in received.chunks} == {
        (received.chunks[0].id, "chat.completion.chunk", model)
    }


@pytest.mark.parametrize("model", MODELS)
async def test_without_streaming_the_answer_is_the_same(client: AsyncOpenAI, model: str) -> None:
    body = body_of(model)
    completion = await client.chat.completions.create(model="", messages=[], extra_body=body)
    message = completion.choices[0].message
    assert message.content == expected_content(body)
    thoughts = message.model_dump().get("reasoning_content") or message.model_dump().get("reasoning")
    assert (thoughts or "") == (expected_thinking(body) if "tags" not in model else "")
    assert completion.choices[0].finish_reason == "stop"
    assert (completion.usage is None) == (model == "demo-no-usage")


@pytest.mark.parametrize("prompt", [None, "x" * 1_000_000, [{"type": "text", "text": "水"}], [], "\u2028\u0085\r"])
async def test_odd_prompts_are_answered(client: AsyncOpenAI, prompt: object) -> None:
    body = body_of("demo", prompt)
    assert (await streamed(client, body)).deltas("content") == script(body).content


async def test_two_choices_come_interleaved(client: AsyncOpenAI) -> None:
    body = body_of("demo:tokens=9", n=2)
    received = await streamed(client, body)
    for index in (0, 1):
        assert received.deltas("content", index) == script(body, index).content
    order = [choice.index for chunk in received.chunks for choice in chunk.choices]
    assert order == [0, 1] * 11
    assert received.finish_reasons() == {0: "stop", 1: "stop"}
    completion = await client.chat.completions.create(model="", messages=[], extra_body=body)
    assert [c.message.content for c in completion.choices] == [expected_content(body, i) for i in (0, 1)]


async def test_usage_comes_last_and_counts_thoughts(client: AsyncOpenAI) -> None:
    body = body_of("demo-thinking:tokens=20,thinking_tokens=5", n=2, stream_options={"include_usage": True})
    received = await streamed(client, body)
    *others, last = received.chunks
    assert all(chunk.usage is None for chunk in others)
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.completion_tokens == 50
    assert last.usage.total_tokens == last.usage.prompt_tokens + 50
    assert last.usage.completion_tokens_details is not None
    assert last.usage.completion_tokens_details.reasoning_tokens == 10
    completion = await client.chat.completions.create(model="", messages=[], extra_body=body)
    assert completion.usage == last.usage


@pytest.mark.parametrize("model", ["demo", "demo-no-usage"])
async def test_no_usage_where_none_is_asked_for_or_none_is_given(client: AsyncOpenAI, model: str) -> None:
    options = {"stream_options": {"include_usage": True}} if model == "demo-no-usage" else {}
    received = await streamed(client, body_of(model, **options))
    assert all(chunk.usage is None and chunk.choices for chunk in received.chunks)


async def test_logprobs_cover_every_content_token(client: AsyncOpenAI) -> None:
    body = body_of("demo:tokens=12", logprobs=True, top_logprobs=3)
    received = await streamed(client, body)
    logs = [
        entry
        for chunk in received.chunks
        for choice in chunk.choices
        if choice.logprobs
        for entry in choice.logprobs.content or []
    ]
    assert [entry.token for entry in logs] == script(body).content
    assert b"".join(bytes(entry.bytes or []) for entry in logs).decode() == expected_content(body)
    assert all(len(entry.top_logprobs) == 3 and entry.top_logprobs[0].token == entry.token for entry in logs)
    completion = await client.chat.completions.create(model="", messages=[], extra_body=body)
    assert completion.choices[0].logprobs is not None
    assert completion.choices[0].logprobs.content == logs


async def test_the_first_function_is_called_with_arguments_in_pieces(client: AsyncOpenAI) -> None:
    body = body_of("demo-tools", tools=TOOLS)
    call = script(body).tool_call
    assert call is not None
    received = await streamed(client, body)
    pieces = [piece for chunk in received.chunks for choice in chunk.choices for piece in choice.delta.tool_calls or []]
    assert (pieces[0].id, pieces[0].type) == (call.id, "function")
    assert pieces[0].function is not None
    assert pieces[0].function.name == "weather"
    arguments = "".join(piece.function.arguments or "" for piece in pieces if piece.function)
    assert orjson.loads(arguments) == {"city": PROMPT, "days": 7, "unit": "celsius", "odd": None}
    assert len(pieces) > 5
    assert received.finish_reasons() == {0: "tool_calls"}
    completion = await client.chat.completions.create(model="", messages=[], extra_body=body)
    message = completion.choices[0].message.model_dump()
    assert message["content"] is None
    assert message["tool_calls"][0]["function"] == {"name": "weather", "arguments": arguments}


async def test_tool_choice_names_the_function_and_a_result_ends_the_loop(client: AsyncOpenAI) -> None:
    chosen = script(
        body_of("demo-tools", tools=TOOLS, tool_choice={"type": "function", "function": {"name": "second"}})
    )
    assert chosen.tool_call is not None
    assert chosen.tool_call.name == "second"
    body = body_of("demo-tools", tools=TOOLS)
    result = {"role": "tool", "content": "rain", "tool_call_id": chosen.tool_call.id}
    messages = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": None}, result]
    for answered in ({**body, "messages": messages}, {**body, "tool_choice": "none"}, body_of("demo-tools")):
        received = await streamed(client, answered)
        assert received.finish_reasons() == {0: "stop"}
        assert received.deltas("content")


async def test_extra_fields_and_empty_choices_are_in_the_noisy_mode(client: AsyncOpenAI) -> None:
    received = await streamed(client, body_of("demo-empty-choices"))
    assert sum(not chunk.choices for chunk in received.chunks) > 10
    assert all((chunk.model_extra or {}).get("x_demo") for chunk in received.chunks)
    assert all("x_demo_delta" in (c.delta.model_extra or {}) for chunk in received.chunks for c in chunk.choices)


async def test_models_are_listed(client: AsyncOpenAI) -> None:
    names = [model.id async for model in client.models.list()]
    assert {"demo", "demo-thinking", "demo-silent"} < set(names)
    assert (await client.models.retrieve("anything")).id == "anything"


async def test_the_synchronous_client_gets_the_same(url: str) -> None:
    def ask() -> list[str]:
        with (
            OpenAI(base_url=url, api_key="none") as client,
            client.chat.completions.create(
                model="demo", messages=[{"role": "user", "content": "hi"}], stream=True
            ) as stream,
        ):
            return [c.choices[0].delta.content or "" for c in stream]

    assert "".join(await asyncio.to_thread(ask)) == expected_content(body_of("demo", "hi"))


async def test_calls_are_counted_by_the_last_user_text(client: AsyncOpenAI, url: str) -> None:
    long = "y" * 150
    before = time.time()
    for prompt in ("a", "a", long):
        await streamed(client, body_of("demo:tokens=2", prompt))
    expected = {"calls": 3, "open": 0, "closed_early": 0, "by_key": {"a": 2, "y" * 100: 1}}
    counted = await calls(url)
    began = cast("dict[str, list[float]]", counted.pop("began"))
    assert counted == expected
    assert before <= began["a"][0] < began["a"][1] < began["y" * 100][0] <= time.time()
    async with aiohttp.ClientSession() as session:
        await session.delete(url.removesuffix("/v1") + "/demo/calls")
    assert (await calls(url))["calls"] == 0
    assert last_user_text(body_of("demo", long)) == long


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"model": "demo:tokens=many"}, "model"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"top_logprobs": 21}, "top_logprobs"),
    ],
)
async def test_a_wrong_request_is_refused_by_parameter(
    client: AsyncOpenAI, url: str, body: dict[str, object], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await streamed(client, {**body_of("demo"), **body})
    assert caught.value.param == param
    assert (await calls(url))["calls"] == 0


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b'{"messages": "\\ud83d"}'])
async def test_what_is_no_json_object_is_refused(url: str, raw: bytes) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/chat/completions", data=raw) as response,
    ):
        assert response.status == 400
        assert (await response.json())["error"]["type"] == "invalid_request_error"


async def test_unknown_paths_have_an_error_in_the_same_shape(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client.embeddings.create(model="demo", input="x")
    assert "Not Found" in caught.value.message
