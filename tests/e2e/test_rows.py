"""GET /requests/{uid} and GET /requests show one state: a row with an end shows all fields of that end, at once."""

import asyncio

import aiohttp
import pytest

from tests.e2e.conftest import Start
from tests.e2e.workers import Worker
from tests.unit.demo.helpers import body_of
from weir.chat.lifecycle import TERMINAL
from weir.envelope import Json

WITHIN_S = 30.0
EACH = 5  # requests of each kind, one after the other: the gap was a tenth of a second
BODIES: dict[str, dict[str, object]] = {
    "completed": body_of("demo:tokens=5", "hi"),
    "failed": body_of("demo-refuse", "hi"),
    "cancelled": body_of("demo:tokens=1000,delay_ms=20", "hi"),
    "expired": body_of("demo", "hi", deadline_s=0.000001),
}


def whole(row: Json) -> bool:
    """Whether a row has all fields of its end."""
    told = {"ended_at", "finish_reason", "chunks", "error", "latency_ms", "first", "last", "timings", "usage"}
    return told <= row.keys() and row["ended_at"] is not None and row["latency_ms"] is not None


@pytest.mark.parametrize("state", BODIES)
async def test_a_row_shows_its_end_whole_or_not_at_all(broker: dict[str, str], make_worker: Start, state: str) -> None:
    worker = await make_worker(broker).start()
    async with aiohttp.ClientSession() as session:
        for n in range(EACH):
            uid = f"row-{state}-{n}"
            asking = asyncio.create_task(_ask(session, worker, {**BODIES[state], "uid": uid}))
            if state == "cancelled":
                await _until_running(session, worker, uid)
                async with session.post(f"{worker.url}/v1/chat/completions/{uid}/cancel") as answer:
                    assert (await answer.json())["status"] == "cancelled"
            seen = await _watched(session, worker, uid)
            await asking
            assert seen[-1]["state"] == state
            for row in seen:
                assert whole(row) == (row["state"] in TERMINAL), row
            if state == "completed":
                assert seen[-1]["finish_reason"] == "stop"
                assert seen[-1]["chunks"] > 5


async def test_an_answer_that_has_ended_is_served_and_cancelled_no_more_while_its_row_still_runs(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker = await make_worker(broker).start()
    async with aiohttp.ClientSession() as session:
        for n in range(EACH):
            uid, url = f"row-{n}", f"{worker.url}/v1/chat/completions/row-{n}"
            await _ask(session, worker, {**BODIES["completed"], "uid": uid, "stream": True})
            async with session.get(f"{url}/stream") as answer:
                assert (answer.status, (await answer.read()).endswith(b"data: [DONE]\n\n")) == (200, True)
            async with session.post(f"{url}/cancel") as answer:
                assert (await answer.json())["status"] == "completed"


async def _ask(session: aiohttp.ClientSession, worker: Worker, body: dict[str, object]) -> None:
    async with session.post(f"{worker.url}/v1/chat/completions", json=body) as answer:
        await answer.read()


async def _until_running(session: aiohttp.ClientSession, worker: Worker, uid: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            async with session.get(f"{worker.url}/requests/{uid}") as answer:
                if answer.status == 200 and (await answer.json())["state"] == "running":
                    return
            await asyncio.sleep(0.02)


async def _watched(session: aiohttp.ClientSession, worker: Worker, uid: str) -> list[Json]:
    """All states of a row and of its entry in the list, until both show an end."""
    seen: list[Json] = []
    async with asyncio.timeout(WITHIN_S):
        while True:
            async with session.get(f"{worker.url}/requests/{uid}") as answer:
                rows = [await answer.json()] if answer.status == 200 else []
            async with session.get(f"{worker.url}/requests?limit=20") as answer:
                rows += [row for row in (await answer.json())["requests"] if row["uid"] == uid]
            seen += rows
            if len(rows) == 2 and all(row["state"] in TERMINAL for row in rows):
                return seen
