"""The SQL in an answer, and text that only looks like SQL, from a worker to query-lineage-events."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator

from tests.e2e.conftest import Start
from tests.e2e.test_crash import ended
from tests.e2e.test_streams import log_of
from tests.e2e.workers import Worker, get_json
from weir import envelope, topics
from weir.events import catalogue
from weir.events.lineage import QueryLineage
from weir.log.log import Partition

REVENUE = "SELECT region, SUM(amount) AS revenue FROM sales WHERE year = 2026 GROUP BY region"
TEXTS = {
    "fenced": f"Here it is:\n\n```sql\n{REVENUE}\n```\nand in BigQuery:\n```bigquery\nSELECT x FROM `p.d.t`\n```\n",
    "none": "Select one of these from the list:\n```python\nselect = 1\n```\n```\nSELECT FROM WHERE\n```\n",
    "prose": "You can select what you like from the table.",
}
TOOL = {"sql": "SELECT id FROM users JOIN orders USING (id)", "limit": 5}


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: " + orjson.dumps(body) + b"\n\n"


async def answer(http: web.Request) -> web.StreamResponse:
    """An LLM whose answer is chosen by the model's name, in small pieces."""
    name = (await http.json())["model"]
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(http)
    if name == "tool":
        arguments = orjson.dumps(TOOL).decode()
        call = {"index": 0, "id": "c", "type": "function", "function": {"name": "query", "arguments": ""}}
        await response.write(chunk({"tool_calls": [call]}))
        for piece in (arguments[:9], arguments[9:]):
            await response.write(chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}))
    for start in range(0, len(TEXTS.get(name, "")), 7):
        await response.write(chunk({"content": TEXTS[name][start : start + 7]}))
    await response.write(chunk({}, "stop") + b"data: [DONE]\n\n")
    return response


@pytest.fixture
async def sql_llm() -> AsyncIterator[str]:
    llm = web.Application()
    llm.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(llm)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def told(worker: Worker, *uids: str) -> list[dict[str, Any]]:
    found = []
    async with log_of(worker) as log:
        for number in range(topics.QUERY_LINEAGE.partitions):
            for record in await log.read(Partition(topics.QUERY_LINEAGE.name, number), 0):
                event = envelope.decode(record.value)
                Draft202012Validator(catalogue.schema(QueryLineage)).validate(orjson.loads(record.value or b""))
                if event.data["uid"] in uids:
                    found.append(event.data)
    return found


async def test_the_sql_in_an_answer_is_told_and_what_is_none_is_not(
    broker: dict[str, str], make_worker: Start, sql_llm: str
) -> None:
    worker = await make_worker(broker, OPENAI_URL=sql_llm).start()
    uids = {name: f"lineage-{name}-{'kafka' if broker else 'embedded'}" for name in [*TEXTS, "tool"]}
    for name, uid in uids.items():
        await worker.client().chat.completions.create(
            model=name, messages=[{"role": "user", "content": "How do regions sell?"}], extra_body={"uid": uid}
        )
    async with asyncio.timeout(60):
        for uid in uids.values():
            while (await ended(worker, uid)).get("latency_ms") is None:  # published last: the other events have come
                await asyncio.sleep(0.1)
    events = await told(worker, *uids.values())
    assert len(events) == 3
    assert await told(worker, uids["none"], uids["prose"]) == []
    first, second = sorted(
        await told(worker, uids["fenced"]), key=lambda event: str(event["query"]["dialect"]) != "trino"
    )
    assert first["query"] == {"sql": REVENUE, "dialect": "trino", "truncated": False}
    assert first["sources"] == [
        {"table": "sales", "columns_read": ["amount", "region", "year"], "filter_columns": ["year"], "join_columns": []}
    ]
    assert first["user_question"] == "How do regions sell?"
    assert (second["query"]["dialect"], second["sources"][0]["table"]) == ("bigquery", "p.d.t")
    (of_tool,) = [event for event in events if event["uid"] == uids["tool"]]
    assert {source["table"] for source in of_tool["sources"]} == {"orders", "users"}
    steps: Any = await get_json(f"{worker.url}/thinking/{uids['tool']}/steps")
    assert steps["steps"][0]["step_type"] == "SQL_GENERATION"


async def test_the_parser_ends_with_its_worker(make_worker: Start, sql_llm: str) -> None:
    worker = await make_worker({}, OPENAI_URL=sql_llm).start()
    await worker.client().chat.completions.create(model="fenced", messages=[{"role": "user", "content": "?"}])
    assert worker.process is not None
    async with asyncio.timeout(60):
        while not (parsers := children(worker.process.pid)):
            await asyncio.sleep(0.1)
    worker.kill()
    async with asyncio.timeout(60):
        while any(alive(pid) for pid in parsers):
            await asyncio.sleep(0.1)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process runs, and is not a zombie."""
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
