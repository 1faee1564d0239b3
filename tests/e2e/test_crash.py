"""kill -9 loses nothing: what was accepted ends in exactly one terminal state (promise P1)."""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import openai
import pytest

from demo.text import expected_content
from tests.e2e.conftest import Start
from tests.e2e.workers import Worker, get_json
from tests.unit.demo.helpers import Received, body_of, calls, hurry, streamed

STREAMS = 200
GOES_ON = "tokens=240,delay_ms=400"  # longer than any story takes; `hurry` ends it


def own_uid(n: int, name: str) -> dict[str, str]:
    """A uid for every other client. The others get one from the worker, and their requests begin ahead of the topic."""
    return {"uid": f"{name}-{n}"} if n % 2 else {}


def uid_of(into: Received) -> str:
    return into.chunks[0].id.removeprefix("chatcmpl-")


async def until(true: Callable[[], bool]) -> None:
    """Wait for the effects of other tasks of this test."""
    async with asyncio.timeout(60):
        while True:
            if true():
                return
            await asyncio.sleep(0.02)


async def ended(worker: Worker, uid: str) -> dict[str, Any]:
    """The row of a request, once it is terminal."""
    async with asyncio.timeout(60):
        while True:
            row: dict[str, Any] = await get_json(f"{worker.url}/requests/{uid}", within_s=60)
            if row["state"] in {"completed", "failed", "cancelled", "expired"}:
                return row
            await asyncio.sleep(0.2)


async def test_200_concurrent_streams_on_one_worker_are_each_complete_and_in_order(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker = await make_worker(broker).start()
    bodies = [body_of("demo:tokens=40,delay_ms=25", f"stream {n}") for n in range(STREAMS)]
    answers = await asyncio.gather(*(streamed(worker.client(), body) for body in bodies))
    for body, answer in zip(bodies, answers, strict=True):
        assert "".join(answer.deltas("content")) == expected_content(body)
        assert answer.finish_reasons() == {0: "stop"}


async def test_kill_9_in_the_middle_and_a_restart_lose_no_request(
    broker: dict[str, str], make_worker: Start, upstream: str
) -> None:
    worker = await make_worker(broker).start()
    bodies = [body_of(f"demo:{GOES_ON}", f"crash {n}", **own_uid(n, "crash")) for n in range(STREAMS)]
    received = [Received() for _ in bodies]
    streams = [
        asyncio.create_task(streamed(worker.client(), body, into)) for body, into in zip(bodies, received, strict=True)
    ]
    await until(lambda: all(into.chunks for into in received))  # every stream has begun: every request is accepted
    worker.kill()
    results = await asyncio.gather(*streams, return_exceptions=True)
    assert all(isinstance(result, Exception) for result in results)

    await hurry(upstream)
    await worker.start()
    for body, into in zip(bodies, received, strict=True):
        row = await ended(worker, uid_of(into))
        assert row["state"] == "completed"
        stored: Any = await get_json(f"{worker.url}/v1/chat/completions/{uid_of(into)}")
        text = stored["choices"][0]["message"]["content"]
        assert text == expected_content(body)
        assert text.startswith("".join(into.deltas("content")))
    by_key: Any = (await calls(upstream))["by_key"]
    assert {by_key[f"crash {n}"] for n in range(STREAMS)} == {2}  # one before the crash, one after


async def test_earlier_answers_are_there_after_kill_9(broker: dict[str, str], make_worker: Start) -> None:
    worker = await make_worker(broker).start()
    body = body_of("demo", uid="earlier")
    await streamed(worker.client(), body)
    worker.kill()
    await worker.start()
    stored: Any = await get_json(f"{worker.url}/v1/chat/completions/chatcmpl-earlier")
    assert stored["choices"][0]["message"]["content"] == expected_content(body)
    assert (await ended(worker, "earlier"))["state"] == "completed"


async def test_sigterm_finishes_what_is_in_flight_takes_nothing_new_and_exits_0(
    broker: dict[str, str], make_worker: Start, upstream: str
) -> None:
    worker = await make_worker(broker).start()
    body = body_of(f"demo:{GOES_ON}")
    into = Received()
    stream = asyncio.create_task(streamed(worker.client(), body, into))
    await until(lambda: bool(into.chunks))
    stopping = asyncio.create_task(worker.stop())
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:  # until the signal has arrived
            async with session.get(f"{worker.url}/ping") as ping:
                if (await ping.json())["status"] == "draining":
                    break
        chat = f"{worker.url}/v1/chat/completions"
        for asked in (session.post(chat, json=body_of("demo")), session.get(f"{chat}/{uid_of(into)}/stream")):
            async with asked as refused:
                assert refused.status == 503
                assert (await refused.json())["error"]["code"] == "worker_stopping"
    await hurry(upstream)
    await stream
    assert "".join(into.deltas("content")) == expected_content(body)
    assert await stopping == 0


@pytest.mark.parametrize("n", [0, 1])
async def test_a_stop_past_the_drain_time_leaves_the_request_to_the_next_start(
    broker: dict[str, str], make_worker: Start, upstream: str, n: int
) -> None:
    worker = await make_worker(broker, DRAIN_S="0.2").start()
    body = body_of(f"demo:{GOES_ON}", **own_uid(n, "handed-on"))
    into = Received()
    stream = asyncio.create_task(streamed(worker.client(), body, into))
    await until(lambda: bool(into.chunks))
    assert await worker.stop() == 0
    with pytest.raises(openai.APIError, match="stopping"):
        await stream
    await hurry(upstream)
    await worker.start()
    assert (await ended(worker, uid_of(into)))["state"] == "completed"
