"""Malformed records in changelogs: the worker starts, every view answers, and the right rows are still there."""

import asyncio
from typing import Any

import aiohttp
import pytest

from tests.defaults import SETTINGS
from tests.e2e.conftest import Start
from tests.e2e.test_crash import uid_of
from tests.e2e.test_streams import log_of
from tests.e2e.workers import Worker, get_json
from tests.unit.demo.helpers import body_of, streamed

VALUES = {
    b"no-json": b"\xff\xfe{",
    b"half-json": b'{"uid": "half-json", "tenant"',
    b"a-number": b"17",
    b"null": b"null",
    b"a-string": b'"row"',
    b"a-list": b"[1, 2, 3]",
    b"empty": b"",
    b"empty-object": b"{}",
    b"deep": b"[" * 100_000,
    b"another-key": b'{"uid": "other", "tenant": "t", "state": "completed", "attempts": []}',
    b"no-state": b'{"uid": "no-state", "tenant": "t", "attempts": []}',
    b"odd-state": b'{"uid": "odd-state", "tenant": "t", "state": "asleep", "attempts": []}',
    b"odd-attempts": b'{"uid": "odd-attempts", "tenant": "t", "state": "running", "attempts": [1]}',
    b"odd-history": b'{"uid": "odd-history", "tenant": "t", "state": "running", "attempts": [], "history": 7}',
    b"odd-pieces": b'{"uid": "odd-pieces", "pieces": [{"feedback_type": "shrug"}]}',
    b"odd-prompts": b'{"prompts": [{"uid": 1, "at": "noon", "fingerprint": "xyz"}]}',
    b"\xff\xfe": b'{"uid": "x", "tenant": "t", "state": "running", "attempts": []}',
    b"": b"{}",
    b"window/1/2": b"[]",
    b"window/x/y/t:m": b"[[], {}, {}, null, 0, false]",
    b"window/0/300000/t:m": b'[[], {}, {"a": "b"}, "", 0, true]',
    b"model/t:m": b'["never", [], {}, 0, 0, {}, 0]',
    b"model/\xff": b'[0, [], {"shrug": {}}, 0, 0, {}, 0]',
    b"over/t:m": b'{"not": "a list"}',
    b"partition/0": b'[{"a": "b"}, null]',
    b"rebuilt/0": b"[1]",
}
TABLES = ("terminals", "requests", "feedback", "prompts", "quality")
VIEWS = (
    "/requests?limit=1000",
    "/insights",
    "/quality",
    "/api/v1/feedback/summary",
    *(f"/requests/{name}" for name in ("odd-state", "odd-history", "no-json", "a-list")),
    "/v1/feedback/odd-pieces",
    "/v1/chat/completions/odd-attempts",
    "/metrics",
    "/ping",
)
ROWS_S = 30.0  # a row follows the events of its request


async def status_of(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with session.get(url) as answer:
        return answer.status, await answer.text()


async def listed(worker: Worker) -> dict[str, str]:
    """States of the requests that the worker lists."""
    found: Any = await get_json(f"{worker.url}/requests?limit=1000")
    return {row["uid"]: row["state"] for row in found["requests"]}


async def spoil(worker: Worker, partitions: int) -> None:
    async with log_of(worker) as log:
        for table in TABLES:
            topic = f"{SETTINGS.kafka_consumer_group}-{table}-changelog"
            numbers = range(min(partitions, log.partitions(topic)))
            rows = [(number, *row) for number in numbers for row in VALUES.items()]
            landing = [log.append(topic, *row) for row in rows]
            await asyncio.gather(*landing)


@pytest.mark.parametrize("store", ["memory"])
async def test_no_view_and_no_start_is_spoiled(broker: dict[str, str], make_worker: Start, store: str) -> None:
    worker = await make_worker(broker, TABLE_STORE=store).start()
    body = body_of("demo:tokens=5", "before")
    uid = uid_of(await streamed(worker.client(), body))
    async with asyncio.timeout(ROWS_S):
        while await listed(worker) != {uid: "completed"}:
            await asyncio.sleep(0.1)
    assert await worker.stop() == 0
    await spoil(worker, SETTINGS.chat_partitions)
    await worker.start()
    assert (await listed(worker)).get(uid) == "completed", "the first answer of a worker tells of all rows"
    async with aiohttp.ClientSession() as session:
        for view in VIEWS:
            status, text = await status_of(session, worker.url + view)
            assert status in {200, 404}, (view, status, text)
    assert (await listed(worker)).get(uid) == "completed"
    again = await streamed(worker.client(), body_of("demo:tokens=5", "after", uid="odd-attempts"))
    assert uid_of(again) == "odd-attempts"
    log = worker.log.read_text()
    assert "Traceback" not in log, log[-3000:]
    assert "of the table requests is skipped" in log
    assert len(log) < 200_000, "each row is told of once"
    assert await worker.stop() == 0
