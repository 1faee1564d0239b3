"""Retries are made in one place: the stock openai client, with its own two retries, counts the calls."""

from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAIError

from tests.compatibility.paths import Lab
from tests.compatibility.upstream_retries import SHEET, RetryCase

MESSAGES: list[Any] = [{"role": "user", "content": "Say it."}]
TEXT = "It is 2."


async def streamed(client: AsyncOpenAI, model: str) -> tuple[str, int]:
    """Return the text, and the number of roles that were sent."""
    text, roles = "", 0
    async for chunk in await client.chat.completions.create(model=model, messages=MESSAGES, stream=True):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            roles += choice.delta.role is not None
    return text, roles


async def whole(client: AsyncOpenAI, model: str) -> str:
    completion = await client.chat.completions.create(model=model, messages=MESSAGES)
    return completion.choices[0].message.content or ""


@SHEET.parametrize()
async def test_a_stream_is_tried_as_often_as_it_should_be(lab: Lab, case: RetryCase) -> None:
    model = f"{case.id}-stream"
    lab.upstream.play(model, *case.scripts)
    async with AsyncOpenAI(base_url=f"{lab.worker.url}/v1", api_key="x", timeout=30) as client:
        if case.raises is None:
            assert await streamed(client, model) == (TEXT, 1)
        else:
            with pytest.raises(OpenAIError) as caught:
                await streamed(client, model)
            assert type(caught.value) is getattr(openai, case.raises)
    assert len(lab.upstream.calls(model)) == case.calls


@SHEET.parametrize()
async def test_an_answer_in_one_piece_is_tried_as_often_as_it_should_be(lab: Lab, case: RetryCase) -> None:
    model = f"{case.id}-whole"
    lab.upstream.play(model, *case.scripts)
    async with AsyncOpenAI(base_url=f"{lab.worker.url}/v1", api_key="x", timeout=30) as client:
        if case.raises is None or case.whole_calls is not None:
            assert await whole(client, model) == TEXT
        else:
            with pytest.raises(getattr(openai, case.raises)):
                await whole(client, model)
    assert len(lab.upstream.calls(model)) == (case.whole_calls or case.calls)
