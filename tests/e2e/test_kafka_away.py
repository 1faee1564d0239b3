"""Kafka goes away and comes back: streams wait and go on, and no prompt is sent to the LLM twice."""

import asyncio
from typing import Any

from demo.text import expected_content
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.test_crash import until
from tests.services.kafka import KafkaBroker
from tests.unit.demo.helpers import Received, body_of, calls, streamed

STREAMS = 20


async def test_streams_wait_for_a_broker_that_restarts_and_go_on(
    own_kafka: KafkaBroker, make_worker: Start, upstream: str
) -> None:
    worker = await make_worker(kafka_env(own_kafka)).start()
    bodies = [body_of("demo:tokens=120,delay_ms=50", f"away {n}", uid=f"away-{n}") for n in range(STREAMS)]
    received = [Received() for _ in bodies]
    streams = [
        asyncio.create_task(streamed(worker.client(), body, into)) for body, into in zip(bodies, received, strict=True)
    ]
    await until(lambda: all(len(into.chunks) > 5 for into in received))
    await asyncio.to_thread(own_kafka.restart)
    assert not any(stream.done() for stream in streams)  # the restart came in the middle
    await asyncio.gather(*streams)
    for body, into in zip(bodies, received, strict=True):
        assert "".join(into.deltas("content")) == expected_content(body)
    by_key: Any = (await calls(upstream))["by_key"]
    assert {by_key[f"away {n}"] for n in range(STREAMS)} == {1}
    # and the group is whole again: a new request is taken
    again = body_of("demo", "after")
    assert "".join((await streamed(worker.client(), again)).deltas("content")) == expected_content(again)
