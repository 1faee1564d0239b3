"""A request that is sent again is answered by one LLM call."""

import asyncio
from collections.abc import Iterator
from typing import Any

import aiohttp
import orjson
import pytest

from tests.compatibility.client_retries import SHEET, RetryCase
from tests.compatibility.upstream import Pause, ScriptedUpstream, chunk, said, whole
from tests.e2e.conftest import STEADY, e2e_kafka, kafka_env
from tests.e2e.workers import Worker, get_json
from weir.envelope import Json

__all__ = ["e2e_kafka"]

LEAVES_S = 0.4  # the time after which a client leaves its first try
WITHIN_S = 30.0
ENV = {"DISCONNECT_GRACE_S": "3", "UPSTREAM_RETRIES": "0"}
MESSAGES = [{"role": "user", "content": "Say it."}]


class Clients:
    """Clients of a worker, and the calls of its LLM."""

    def __init__(self, worker: Worker, upstream: ScriptedUpstream) -> None:
        self._worker = worker
        self.upstream = upstream

    async def post(self, body: Json, headers: dict[str, str], timeout_s: float = WITHIN_S) -> tuple[int, str]:
        """Return the status, and the text of the answer or the message of the error."""
        limit = aiohttp.ClientTimeout(total=timeout_s)
        async with (
            aiohttp.ClientSession(timeout=limit) as session,
            session.post(f"{self._worker.url}/v1/chat/completions", json=body, headers=headers) as answer,
        ):
            return answer.status, _text(await answer.read())

    async def ended(self, username: str) -> str:
        """Return the state of the one request of a user, when it has ended."""
        async with asyncio.timeout(WITHIN_S):
            while True:
                listed: Any = await get_json(f"{self._worker.url}/requests")
                states = [row["state"] for row in listed["requests"] if row["username"] == username]
                if states and states[0] not in {"accepted", "running", "unknown"}:
                    return str(states[0])
                await asyncio.sleep(0.1)


def _text(raw: bytes) -> str:
    if not raw.startswith(b"{"):
        events = [orjson.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: {")]
        return "".join(choice["delta"].get("content") or "" for each in events for choice in each["choices"])
    body = orjson.loads(raw)
    return str(body["error"]["message"] if "error" in body else body["choices"][0]["message"]["content"])


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def clients(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clients]:
    env = {} if request.param == "embedded" else {**kafka_env(request.getfixturevalue("e2e_kafka")), **STEADY}
    with ScriptedUpstream() as upstream:
        worker = Worker(env={**ENV, **env, "OPENAI_URL": upstream.url}, folder=tmp_path_factory.mktemp("retries"))
        try:
            asyncio.run(worker.start())
            yield Clients(worker, upstream)
        finally:
            worker.kill()


def answer(text: str) -> tuple[bytes, ...]:
    return said(chunk({"role": "assistant", "content": text}), chunk({}, "stop"))


def play(upstream: ScriptedUpstream, case: RetryCase) -> None:
    """Return the LLM's scripts for a case, by its id."""
    error = whole({"error": {"message": "the first", "type": "t"}}, f"{case.fails} Failed")
    first = answer("the first") if case.fails is None else (error,)
    upstream.play(case.id, (Pause(case.takes_s), *first), answer("the second"))


async def called(upstream: ScriptedUpstream, model: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not upstream.calls(model):
            await asyncio.sleep(0.02)


@SHEET.parametrize()
async def test_a_retry_attaches_to_its_first_try(clients: Clients, case: RetryCase) -> None:
    play(clients.upstream, case)
    body = {"model": case.id, "messages": MESSAGES, "username": case.id, **case.first}
    leaves_s = WITHIN_S if case.until in {"read", "answered"} else LEAVES_S
    trying = asyncio.create_task(clients.post(body, case.first_headers, leaves_s))
    await called(clients.upstream, case.id)
    if case.until != "read":
        results = await asyncio.gather(trying, return_exceptions=True)
        assert isinstance(results[0], TimeoutError) == (case.until != "answered")
    if case.until in {"ended", "cancelled"}:
        assert (await clients.ended(case.id) == "cancelled") == (case.until == "cancelled")
    again = {"username": case.id, **case.first} if case.retry is None else case.retry
    got = await clients.post({"messages": MESSAGES, "model": case.id, **again}, case.headers)
    failed = case.fails if case.attaches and case.fails is not None else 200
    assert got == (failed, "the first" if case.attaches else "the second")
    assert len(clients.upstream.calls(case.id)) == (1 if case.attaches else 2)
    if case.until in {"read", "answered"}:
        assert await trying == (200, "the first")
