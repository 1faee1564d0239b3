"""Helpers of the demo model's tests: requests, and received streams."""

import asyncio
from dataclasses import dataclass, field

import aiohttp
import orjson
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionChunk

PROMPT = "Erzähl mir von 👩‍👩‍👧 und 水 in two lines,\nplease. \u2028 End"
TOOLS: list[object] = [
    {"type": "custom", "custom": {"name": "not_a_function"}},
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "unit": {"type": "string", "enum": ["celsius", "kelvin"]},
                    "odd": {"type": ["string", "null"]},
                },
            },
        },
    },
    {"type": "function", "function": {"name": "second"}},
]


def body_of(model: str, prompt: object = PROMPT, **options: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **options}


@dataclass
class Received:
    """A stream as its client saw it."""

    chunks: list[ChatCompletionChunk] = field(default_factory=list)

    def deltas(self, key: str, index: int = 0) -> list[str]:
        found = []
        for chunk in self.chunks:
            for choice in chunk.choices:
                delta = choice.delta.model_dump()
                if choice.index == index and delta.get(key):
                    found.append(delta[key])
        return found

    def finish_reasons(self) -> dict[int, str]:
        return {c.index: c.finish_reason for chunk in self.chunks for c in chunk.choices if c.finish_reason}


async def streamed(client: AsyncOpenAI, body: dict[str, object], into: Received | None = None) -> Received:
    """Sends any body at all: the typed signature of the client would only allow proper ones."""
    received = into or Received()
    stream = await client.chat.completions.create(model="", messages=[], stream=True, extra_body=body)
    async with stream:
        async for chunk in stream:
            received.chunks.append(chunk)
    return received


async def calls(url: str) -> dict[str, object]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(url.removesuffix("/v1") + "/demo/calls") as response,
    ):
        return dict(orjson.loads(await response.read()))


async def hurry(url: str) -> None:
    """Let all answers of the model end at once, running ones and later ones: the scenario is over."""
    async with aiohttp.ClientSession() as session, session.post(url.removesuffix("/v1") + "/demo/hurry") as response:
        assert response.status == 204


async def take_time(url: str) -> None:
    """Have the model pause between tokens again."""
    async with aiohttp.ClientSession() as session, session.delete(url.removesuffix("/v1") + "/demo/hurry") as response:
        assert response.status == 204


async def until_none_open(url: str) -> dict[str, object]:
    """Return the counters once no call is open; fails after 2 s."""
    async with asyncio.timeout(2):
        while (counters := await calls(url))["open"]:
            await asyncio.sleep(0.01)
    return counters
