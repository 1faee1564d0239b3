"""The stock openai client times out and retries: on one worker and on two, alone and among others like it."""

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from openai import AsyncOpenAI

from tests.compatibility.client_retries import MARKED
from tests.compatibility.upstream import Pause, Script, ScriptedUpstream, chunk, said
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.test_two_workers import both_own
from tests.e2e.workers import Worker
from tests.services.kafka import KafkaBroker

TAKES_S = 3.0
TIMEOUT_S = 1.2  # of a client
MESSAGES: list[Any] = [{"role": "user", "content": "Say it."}]


@pytest.fixture
def llm() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as upstream:
        yield upstream


def answer(text: str, takes_s: float = TAKES_S) -> Script:
    return (Pause(takes_s), *said(chunk({"role": "assistant", "content": text}), chunk({}, "stop")))


async def asked(worker: Worker, model: str) -> str:
    """The answer that the stock client gets, with its two retries."""
    async with AsyncOpenAI(base_url=f"{worker.url}/v1", api_key="x", timeout=TIMEOUT_S) as client:
        completion = await client.chat.completions.create(model=model, messages=MESSAGES)
    return completion.choices[0].message.content or ""


async def left(worker: Worker, model: str) -> None:
    """A first try whose client leaves."""
    with pytest.raises(TimeoutError):
        await posted(worker, model, {}, TIMEOUT_S)


async def posted(worker: Worker, model: str, headers: dict[str, str], timeout_s: float) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_s)) as session,
        session.post(
            f"{worker.url}/v1/chat/completions", json={"model": model, "messages": MESSAGES}, headers=headers
        ) as response,
    ):
        return response.status, await response.json()


async def retried(worker: Worker, model: str) -> str:
    status, body = await posted(worker, model, MARKED, 30.0)
    assert status == 200, body
    return str(body["choices"][0]["message"]["content"])


async def test_the_stock_client_times_out_twice_and_pays_for_one_answer(
    broker: dict[str, str], make_worker: Start, llm: ScriptedUpstream
) -> None:
    llm.play("slow", answer("once"))
    worker = await make_worker({**broker, "OPENAI_URL": llm.url}).start()
    assert await asked(worker, "slow") == "once"
    assert len(llm.calls("slow")) == 1


async def test_clients_with_the_same_prompt_get_an_answer_each(
    broker: dict[str, str], make_worker: Start, llm: ScriptedUpstream
) -> None:
    texts = {f"answer {n}" for n in range(6)}
    llm.play("slow", *map(answer, texts))
    worker = await make_worker({**broker, "OPENAI_URL": llm.url}).start()
    assert set(await asyncio.gather(*(asked(worker, "slow") for _ in texts))) == texts
    assert len(llm.calls("slow")) == len(texts)


async def test_retries_that_come_to_another_worker_find_their_first_tries(
    e2e_kafka: KafkaBroker, make_worker: Start, llm: ScriptedUpstream
) -> None:
    env = {**kafka_env(e2e_kafka), "OPENAI_URL": llm.url}
    first, second = make_worker(env), make_worker(env)
    first.launch()
    second.launch()
    await asyncio.gather(first.up(), second.up())
    await both_own(first, second)
    texts = {f"answer {n}" for n in range(4)}
    llm.play("slow", *(answer(text, 6.0) for text in texts))
    await asyncio.gather(*(left(first, "slow") for _ in texts))
    assert set(await asyncio.gather(*(retried(second, "slow") for _ in texts))) == texts
    assert len(llm.calls("slow")) == len(texts)


async def test_a_retry_after_its_worker_has_stopped_finds_the_request_with_the_next_one(
    e2e_kafka: KafkaBroker, make_worker: Start, llm: ScriptedUpstream
) -> None:
    """The worker that stops hands the request over, which is a second call; its client's retry is no third one."""
    env = {**kafka_env(e2e_kafka), "OPENAI_URL": llm.url, "DRAIN_S": "1"}
    first, second = make_worker(env), make_worker(env)
    first.launch()
    second.launch()
    await asyncio.gather(first.up(), second.up())
    await both_own(first, second)
    llm.play("slow", answer("never said", 60.0), answer("said", 5.0))
    trying = asyncio.create_task(posted(first, "slow", {}, 30.0))
    async with asyncio.timeout(60):
        while not llm.calls("slow"):
            await asyncio.sleep(0.05)
    await first.stop()
    status, body = await trying
    assert (status, body["error"]["code"]) == (503, "worker_stopping")
    async with asyncio.timeout(60):
        while len(llm.calls("slow")) < 2:
            await asyncio.sleep(0.05)
    assert await retried(second, "slow") == "said"
    assert len(llm.calls("slow")) == 2
