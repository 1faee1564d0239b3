"""The stock openai client is the judge: it must not notice a difference from the upstream itself."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI

from demo.text import expected_answer, expected_content, expected_thinking
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.workers import Worker, get_json
from tests.services.kafka import KafkaBroker
from tests.unit.demo.helpers import TOOLS, body_of, calls, streamed


@pytest.fixture(params=["embedded", "kafka"])
async def workers(request: pytest.FixtureRequest, make_worker: Start) -> AsyncIterator[list[Worker]]:
    """One embedded worker, or two on Kafka."""
    if request.param == "embedded":
        yield [await make_worker({}).start()]
        return
    kafka: KafkaBroker = request.getfixturevalue("e2e_kafka")
    first, second = make_worker(kafka_env(kafka)), make_worker(kafka_env(kafka))
    first.launch()
    second.launch()
    await asyncio.gather(first.up(), second.up())
    yield [first, second]


async def test_answers_equal_the_upstreams_token_for_token(workers: list[Worker], upstream: str) -> None:
    for worker in workers:
        client = worker.client()
        for model in ("demo", "demo-empty-choices", "demo:delay_ms=5,tokens=20", "demo-no-usage"):
            body = body_of(model)
            async with AsyncOpenAI(base_url=upstream, api_key="x", max_retries=0) as direct:
                through, straight = await streamed(client, body), await streamed(direct, body)
            assert through.deltas("content") == straight.deltas("content")
            assert "".join(through.deltas("content")) == expected_content(body)
            assert through.finish_reasons() == straight.finish_reasons()
            assert all(chunk.id.startswith("chatcmpl-") for chunk in through.chunks)
            assert [c.usage for c in through.chunks if c.usage] == []
            whole = await client.chat.completions.create(model="", messages=[], extra_body=body)
            assert whole.choices[0].message.content == expected_content(body)
            assert whole.choices[0].finish_reason == "stop"


async def test_thinking_is_told_apart_from_the_answer(workers: list[Worker]) -> None:
    client = workers[0].client()
    for model, field in (
        ("demo-thinking", "reasoning_content"),
        ("demo-reasoning", "reasoning"),
        ("demo-think-tags", "reasoning_content"),
    ):
        for n in range(8):  # the tags are cut at places that vary with the prompt
            body = body_of(model, f"prompt {n}")
            received = await streamed(client, body)
            assert "".join(received.deltas("content")) == expected_answer(body)
            assert "".join(received.deltas(field)) == expected_thinking(body)


async def test_tools_several_choices_logprobs_and_usage(workers: list[Worker]) -> None:
    client = workers[-1].client()
    called = await client.chat.completions.create(
        model="", messages=[], extra_body=body_of("demo-tools", tools=TOOLS, stream=False)
    )
    direct = await streamed(client, body_of("demo-tools", tools=TOOLS))
    (call,) = called.choices[0].message.tool_calls or []
    pieces = [c.delta.tool_calls for chunk in direct.chunks for c in chunk.choices if c.delta.tool_calls]
    arguments = "".join(p[0].function.arguments or "" for p in pieces if p[0].function)
    assert called.choices[0].finish_reason == "tool_calls"
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("weather", arguments)

    body = body_of("demo", n=2, logprobs=True)
    both = await streamed(client, {**body, "stream_options": {"include_usage": True}})
    for index in (0, 1):
        assert "".join(both.deltas("content", index)) == expected_content(body, index)
    (usage,) = [c.usage for c in both.chunks if c.usage]
    whole = await client.chat.completions.create(model="", messages=[], extra_body=body)
    assert [c.message.content for c in whole.choices] == [expected_content(body, 0), expected_content(body, 1)]
    assert whole.usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (whole.usage.prompt_tokens, whole.usage.completion_tokens)
    assert all(c.logprobs and c.logprobs.content for c in whole.choices)


async def test_errors_are_the_ones_the_upstream_would_raise(workers: list[Worker]) -> None:
    client = workers[0].client()
    for stream in (True, False):
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(
                model="", messages=[], extra_body=body_of("demo-refuse", stream=stream)
            )
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(
                model="", messages=[], extra_body=body_of("demo-error:status=429,retry_after=0", stream=stream)
            )
    with pytest.raises(openai.APIError, match="broke"):
        await streamed(client, body_of("demo-cutoff:delay_ms=5"))
    with pytest.raises(openai.APIError):
        await streamed(client, body_of("demo-error-midway"))
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(model="", messages=[], extra_body=body_of("demo-cutoff"))


async def final_status(url: str) -> int:
    """The status of a GET, once the tables have the request."""
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            async with session.get(url) as answer:
                if answer.status not in {202, 404, 503}:
                    return answer.status
            await asyncio.sleep(0.02)


async def test_a_failed_request_fails_again_when_it_is_fetched(workers: list[Worker]) -> None:
    """Also at once, while the tables are behind: never half an answer as a whole one."""
    for n, (model, status) in enumerate([("demo-refuse", 400), ("demo-cutoff", 502), ("demo-error", 500)] * 5):
        body = body_of(model, uid=f"failed-{workers[0].port}-{n}")
        with pytest.raises(openai.APIStatusError):
            await workers[0].client().chat.completions.create(model="", messages=[], extra_body=body)
        assert await final_status(f"{workers[-1].url}/v1/chat/completions/{body['uid']}") == status


async def test_a_client_that_leaves_does_not_end_the_answer(workers: list[Worker]) -> None:
    """Its stream was accepted, so it ends in the log; another worker shows how."""
    body = body_of("demo:tokens=20,delay_ms=20", uid=f"left-{workers[0].port}")
    stream = await workers[0].client().chat.completions.create(model="", messages=[], stream=True, extra_body=body)
    async with stream:
        await anext(aiter(stream))
    stored: Any = await get_json(f"{workers[-1].url}/v1/chat/completions/chatcmpl-{body['uid']}")
    assert stored["choices"][0]["message"]["content"] == expected_content(body)


async def test_the_same_uid_is_answered_once_and_another_body_is_a_conflict(
    workers: list[Worker], upstream: str
) -> None:
    """Promise P4 as far as it is built: a second submission reads the recorded stream."""
    body = body_of("demo:tokens=20,delay_ms=20", f"once {workers[0].port}", uid=f"once-{workers[0].port}")
    answers = await asyncio.gather(*(streamed(w.client(), body) for w in [*workers, *workers]))
    later = await streamed(workers[-1].client(), body)
    assert {"".join(a.deltas("content")) for a in [*answers, later]} == {expected_content(body)}
    counted: Any = await calls(upstream)
    assert counted["by_key"][f"once {workers[0].port}"] == 1
    whole = await workers[0].client().chat.completions.create(model="", messages=[], extra_body=body)
    assert whole.choices[0].message.content == expected_content(body)  # how it is read is no part of the request
    with pytest.raises(openai.ConflictError):
        await streamed(workers[0].client(), {**body, "temperature": 0.5})


async def test_any_worker_shows_a_request(workers: list[Worker]) -> None:
    uid = f"shown-{workers[0].port}"
    await streamed(workers[0].client(), body_of("demo", uid=uid))
    for worker in workers:
        async with asyncio.timeout(60):  # rows are folded from trace events, a moment later
            while True:
                listed: Any = await get_json(f"{worker.url}/requests?state=completed&limit=1000")
                if uid in {r["uid"] for r in listed["requests"]}:
                    break
        row: Any = await get_json(f"{worker.url}/requests/{uid}?frames=true")
        assert (row["state"], row["tenant"], row["ingress"]) == ("completed", "default", "http")
        kinds = [frame["kind"] for frame in row["frames"]]
        assert (kinds[0], kinds[-1]) == ("begin", "terminal")


async def test_the_model_list_is_the_upstreams(workers: list[Worker]) -> None:
    models = await workers[0].client().models.list()
    assert "demo" in {model.id for model in models.data}
