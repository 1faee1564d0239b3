import asyncio
import time

import openai
import pytest
from openai import AsyncOpenAI

from demo.text import expected_content, script
from tests.unit.demo.helpers import Received, body_of, calls, hurry, streamed, take_time, until_none_open

ERRORS: dict[str, tuple[type[openai.APIStatusError], int, str | None]] = {
    "demo-error": (openai.InternalServerError, 500, None),
    "demo-error:status=503": (openai.InternalServerError, 503, "1"),
    "demo-error:status=429,retry_after=7": (openai.RateLimitError, 429, "7"),
    "demo-error:status=401": (openai.AuthenticationError, 401, None),
    "demo-error:status=404": (openai.NotFoundError, 404, None),
    "demo-refuse": (openai.BadRequestError, 400, None),
}


@pytest.mark.parametrize("model", ERRORS)
@pytest.mark.parametrize("stream", [True, False])
async def test_errors_are_what_the_client_knows(client: AsyncOpenAI, url: str, model: str, stream: bool) -> None:
    error, status, retry_after = ERRORS[model]
    with pytest.raises(error) as caught:
        await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}], stream=stream)
    assert caught.value.status_code == status
    assert "demo" in caught.value.message
    assert caught.value.response.headers.get("Retry-After") == retry_after
    counters = await calls(url)
    assert (counters["calls"], counters["open"], counters["closed_early"]) == (1, 0, 0)


async def test_a_fault_can_pass_after_some_calls(client: AsyncOpenAI, url: str) -> None:
    body = body_of("demo-error:status=503,retry_after=0,times=2")
    received = await streamed(client.with_options(max_retries=2), body)
    assert received.deltas("content") == script(body).content
    assert (await calls(url))["calls"] == 3


@pytest.mark.parametrize("after", [0, 1, 7, 60])
@pytest.mark.parametrize("delay", ["", ",delay_ms=1"])
async def test_a_cut_off_answer_has_its_tokens_and_no_end(
    client: AsyncOpenAI, url: str, after: int, delay: str
) -> None:
    body = body_of(f"demo-cutoff:after={after}{delay}")
    received = Received()
    with pytest.raises(openai.APIConnectionError):
        await streamed(client, body, received)
    assert received.deltas("content") == script(body).content[:after]
    assert received.finish_reasons() == {}
    assert (await until_none_open(url))["closed_early"] == 0


async def test_a_clean_cutoff_ends_the_body_without_a_finish_reason(client: AsyncOpenAI) -> None:
    body = body_of("demo-cutoff:clean=1,after=3")
    received = await streamed(client, body)
    assert received.deltas("content") == script(body).content[:3]
    assert received.finish_reasons() == {}


async def test_a_cutoff_without_streaming_is_a_lost_connection(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        await client.chat.completions.create(model="", messages=[], extra_body=body_of("demo-cutoff"))


async def test_an_error_can_come_within_the_stream(client: AsyncOpenAI) -> None:
    body = body_of("demo-error-midway:after=4")
    received = Received()
    with pytest.raises(openai.APIError, match="on purpose"):
        await streamed(client, body, received)
    assert received.deltas("content") == script(body).content[:4]
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(model="", messages=[], extra_body=body)


@pytest.mark.parametrize("model", ["demo-hang:after=3", "demo-silent"])
async def test_a_client_that_gives_up_waiting_ends_the_call(client: AsyncOpenAI, url: str, model: str) -> None:
    body = body_of(model)
    received = Received()
    with pytest.raises(openai.APITimeoutError):
        await streamed(client.with_options(timeout=0.2), body, received)
    assert len(received.deltas("content")) == (3 if "hang" in model else 0)
    assert (await until_none_open(url))["closed_early"] == 1


async def test_a_disconnect_in_mid_answer_ends_the_call_at_once(client: AsyncOpenAI, url: str) -> None:
    stream = await client.chat.completions.create(
        model="demo-slow:first_ms=0", messages=[{"role": "user", "content": "x"}], stream=True
    )
    await anext(stream)
    assert (await calls(url))["open"] == 1
    await stream.close()
    counters = await until_none_open(url)
    del counters["began"]
    assert counters == {"calls": 1, "open": 0, "closed_early": 1, "by_key": {"x": 1}}


async def test_a_disconnect_from_an_endless_fast_answer_ends_it_too(client: AsyncOpenAI, url: str) -> None:
    stream = await client.chat.completions.create(
        model="demo:tokens=50000", messages=[{"role": "user", "content": "x"}], stream=True
    )
    await anext(stream)
    await stream.close()
    assert (await until_none_open(url))["closed_early"] == 1


async def test_pauses_fall_before_and_between_tokens(client: AsyncOpenAI) -> None:
    start = time.monotonic()
    await streamed(client, body_of("demo:tokens=11,first_ms=100,delay_ms=20"))
    assert 0.3 <= time.monotonic() - start < 3.0


async def test_the_pace_holds_with_many_streams(client: AsyncOpenAI) -> None:
    start = time.monotonic()
    bodies = [body_of("demo:tokens=50,delay_ms=10", f"prompt {i}") for i in range(8)]
    results = await asyncio.gather(*(streamed(client, body) for body in bodies))
    assert [r.deltas("content") for r in results] == [script(body).content for body in bodies]
    assert time.monotonic() - start < 4.0  # one after the other it would be that long


async def test_a_server_that_is_hurried_says_the_rest_of_every_answer_at_once(client: AsyncOpenAI, url: str) -> None:
    body = body_of("demo:tokens=300,delay_ms=500")  # two minutes and a half
    into = Received()
    saying = asyncio.create_task(streamed(client, body, into))
    asking = asyncio.create_task(client.chat.completions.create(model="", messages=[], extra_body=body))
    while not into.deltas("content") or (await calls(url))["open"] != 2:
        await asyncio.sleep(0.01)
    await hurry(url)
    async with asyncio.timeout(30):
        await saying
        whole = await asking
    assert into.deltas("content") == script(body).content
    assert whole.choices[0].message.content == expected_content(body)
    await take_time(url)
    start = time.monotonic()
    await streamed(client, body_of("demo:tokens=11,delay_ms=20"))
    assert time.monotonic() - start >= 0.2
