"""A client asks for a stream again by the POST that began it."""

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

import aiohttp
import orjson
import pytest

from tests.compatibility.repeated_posts import SHEET, WORDS, RepeatCase
from tests.compatibility.upstream import DONE, Pause, ScriptedUpstream, chunk, event, head
from tests.e2e.conftest import STEADY, e2e_kafka, kafka_env
from tests.e2e.workers import Worker
from weir.envelope import Json

__all__ = ["e2e_kafka"]

WITHIN_S = 30.0


class Stage(NamedTuple):
    worker: Worker
    upstream: ScriptedUpstream


class Got(NamedTuple):
    """A client's part of a stream or of an answer."""

    status: int
    text: str
    last_id: str = ""
    done: bool = False
    error: Json | None = None


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    env = {} if request.param == "embedded" else {**kafka_env(request.getfixturevalue("e2e_kafka")), **STEADY}
    with ScriptedUpstream() as upstream:
        worker = Worker(env={**env, "OPENAI_URL": upstream.url}, folder=tmp_path_factory.mktemp("repeated"))
        try:
            asyncio.run(worker.start())
            yield Stage(worker, upstream)
        finally:
            worker.kill()


async def post(worker: Worker, body: Json, headers: dict[str, str], words: int) -> Got:
    """Ask, and hang up after so many words, or at the end."""
    async with (
        asyncio.timeout(WITHIN_S),
        aiohttp.ClientSession() as session,
        session.post(f"{worker.url}/v1/chat/completions", json=body, headers=headers) as answer,
    ):
        if answer.content_type != "text/event-stream":
            return _whole(answer.status, orjson.loads(await answer.read()))
        return await _streamed(answer, words)


def _whole(status: int, body: Any) -> Got:
    if "error" in body:
        return Got(status, "", error=body["error"])
    return Got(status, body["choices"][0]["message"]["content"])


async def _streamed(answer: aiohttp.ClientResponse, words: int) -> Got:
    text, last_id, done = "", "", False
    async for line in answer.content:
        name, _, value = line.decode().strip().partition(": ")
        if name == "id":
            last_id = value
        elif name == "data":
            done = value == "[DONE]"
            choices = [] if done else orjson.loads(value)["choices"]
            text += "".join(choice["delta"].get("content") or "" for choice in choices)
            if len(text.split()) >= words:
                break
    return Got(answer.status, text, last_id, done)


def play(stage: Stage, case: RepeatCase) -> None:
    spoken = [event(chunk({"content": word})) for word in WORDS]
    pause = Pause(1.5 if case.running else 0.0)
    stage.upstream.play(
        case.id, (head(), *spoken[: case.has], pause, *spoken[case.has :], event(chunk({}, "stop")), DONE)
    )


@SHEET.parametrize()
async def test_a_post_that_is_sent_again_goes_on_after_its_last_event(stage: Stage, case: RepeatCase) -> None:
    play(stage, case)
    names: dict[str, Json] = {"uid": {"uid": case.id}, "key": {}, "not": {}}
    body = {"model": case.id, "messages": [{"role": "user", "content": "Count."}], "stream": True, **names[case.named]}
    headers = {"Idempotency-Key": case.id} if case.named == "key" else {}
    had = await post(stage.worker, body, headers, case.has)
    assert had.text == "".join(WORDS[: case.has])
    last_id = had.last_id if case.event_id is None else case.event_id
    got = await post(stage.worker, {**body, **case.more}, {**headers, "Last-Event-ID": last_id}, 99)
    assert got.status == case.status
    if case.status != 200:
        assert got.error is not None
        assert got.error["code"] == case.code
        assert got.error["param"] == {409: "uid", 400: "Last-Event-ID", 410: None}[case.status]
    else:
        assert got.text == "".join(WORDS[case.has :] if case.gets_words is None else case.gets_words)
        assert got.done == case.more.get("stream", True)
    assert len(stage.upstream.calls(case.id)) == case.calls
