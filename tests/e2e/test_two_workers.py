"""Two workers on one Kafka: one ends what the other began, and joining interrupts no stream (promises P1-P3)."""

import asyncio
from typing import Any

import openai

from demo.text import expected_content
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.test_crash import GOES_ON, ended, own_uid, uid_of, until
from tests.e2e.workers import Worker, get_json
from tests.services.kafka import KafkaBroker
from tests.unit.demo.helpers import Received, body_of, calls, hurry, streamed, take_time

STREAMS = 60


async def owners(worker: Worker) -> int:
    """The number of workers that own partitions, as this worker knows it."""
    listed: Any = await get_json(f"{worker.url}/requests")
    return len(listed["workers"])


async def both_own(first: Worker, second: Worker) -> None:
    async with asyncio.timeout(60):
        while True:
            if await owners(first) == await owners(second) == 2:
                return
            await asyncio.sleep(0.2)


async def test_a_second_worker_that_joins_interrupts_no_stream_and_repeats_no_call(
    e2e_kafka: KafkaBroker, make_worker: Start, upstream: str
) -> None:
    first, second = make_worker(kafka_env(e2e_kafka)), make_worker(kafka_env(e2e_kafka))
    await first.start()
    bodies = [body_of(f"demo:{GOES_ON}", f"join {n}", **own_uid(n, "join")) for n in range(STREAMS)]
    received = [Received() for _ in bodies]
    streams = [
        asyncio.create_task(streamed(first.client(), body, into)) for body, into in zip(bodies, received, strict=True)
    ]
    await until(lambda: all(into.chunks for into in received))
    await second.start()
    await both_own(first, second)
    assert not any(stream.done() for stream in streams)  # the rebalance came in the middle
    await hurry(upstream)
    await asyncio.gather(*streams)
    for body, into in zip(bodies, received, strict=True):
        assert "".join(into.deltas("content")) == expected_content(body)
        assert (await ended(second, uid_of(into)))["state"] == "completed"
    by_key: Any = (await calls(upstream))["by_key"]
    assert {by_key[f"join {n}"] for n in range(STREAMS)} == {1}


async def test_the_other_worker_ends_what_a_killed_one_began(
    e2e_kafka: KafkaBroker, make_worker: Start, upstream: str
) -> None:
    first, second = make_worker(kafka_env(e2e_kafka)), make_worker(kafka_env(e2e_kafka))
    first.launch()
    second.launch()
    await asyncio.gather(first.up(), second.up())
    await taken_over(first, second, upstream)


async def called_again(upstream: str, name: str, count: int = STREAMS) -> None:
    """Wait until the model was called for an answer that another worker had begun."""
    async with asyncio.timeout(60):
        while True:
            by_key: Any = (await calls(upstream))["by_key"]
            if any(by_key[f"{name} {n}"] > 1 for n in range(count)):
                return
            await asyncio.sleep(0.1)


async def taken_over(first: Worker, second: Worker, upstream: str) -> None:
    """Kill the first in the middle of many streams: the second ends them all, and calls only for those of the first."""
    await both_own(first, second)
    bodies = [body_of(f"demo:{GOES_ON}", f"kill {n}", **own_uid(n, "kill")) for n in range(STREAMS)]
    received = [Received() for _ in bodies]
    streams = [
        asyncio.create_task(streamed(second.client(), body, into)) for body, into in zip(bodies, received, strict=True)
    ]
    await until(lambda: all(into.deltas("content") for into in received))
    first.kill()
    await called_again(upstream, "kill")
    await hurry(upstream)
    results = await asyncio.gather(*streams, return_exceptions=True)
    await take_time(upstream)  # other tests may ask this model
    for body, into, result in zip(bodies, received, results, strict=True):
        row = await ended(second, uid_of(into))
        assert row["state"] == "completed"
        stored: Any = await get_json(f"{second.url}/v1/chat/completions/{uid_of(into)}")
        assert stored["choices"][0]["message"]["content"] == expected_content(body)
        text = "".join(into.deltas("content"))
        if isinstance(result, Exception):  # its generator died: reported as an error, and not published twice
            assert isinstance(result, openai.APIError)
            assert result.code == "stream_restarted"
            assert expected_content(body).startswith(text)
        else:
            assert text == expected_content(body)
    by_key: Any = (await calls(upstream))["by_key"]
    repeated = sum(by_key[f"kill {n}"] > 1 for n in range(STREAMS))
    assert repeated == sum(isinstance(result, Exception) for result in results)
    assert 0 < repeated < STREAMS  # only prompts of the dead worker were called twice


async def test_a_worker_that_stops_leaves_new_requests_to_the_others_while_it_finishes_its_own(
    e2e_kafka: KafkaBroker, make_worker: Start, upstream: str
) -> None:
    """A rolling restart: no request waits for the drain, none is interrupted, none is called twice."""
    env = {**kafka_env(e2e_kafka), "DRAIN_S": "90"}
    first, second = make_worker(env), make_worker(env)
    first.launch()
    second.launch()
    await asyncio.gather(first.up(), second.up())
    await both_own(first, second)
    bodies = [body_of(f"demo:{GOES_ON}", f"leave {n}", **own_uid(n, "leave")) for n in range(STREAMS)]
    received = [Received() for _ in bodies]
    streams = [
        asyncio.create_task(streamed(first.client(), body, into)) for body, into in zip(bodies, received, strict=True)
    ]
    await until(lambda: all(into.chunks for into in received))
    stopping = asyncio.create_task(first.stop())
    await until(lambda: "draining" in first.log.read_text())
    quick = [body_of("demo:tokens=5", f"new {n}", uid=f"new-{n}") for n in range(STREAMS)]
    answers = await asyncio.gather(*(streamed(second.client(), body) for body in quick))
    assert not any(stream.done() for stream in streams)  # a rebalance was waited for, and no drain
    assert not stopping.done()
    await hurry(upstream)
    for body, answer in zip(quick, answers, strict=True):
        assert "".join(answer.deltas("content")) == expected_content(body)
    await asyncio.gather(*streams)
    assert await stopping == 0
    for body, into in zip(bodies, received, strict=True):
        assert "".join(into.deltas("content")) == expected_content(body)
        assert (await ended(second, uid_of(into)))["state"] == "completed"
    by_key: Any = (await calls(upstream))["by_key"]
    assert {by_key[f"leave {n}"] for n in range(STREAMS)} == {1}
