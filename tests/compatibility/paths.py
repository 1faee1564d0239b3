"""Asks a worker through every path on which an answer comes out, and collects each client's result.

| path | how |
|---|---|
| stream | POST with ``stream``, added up by the openai client's own accumulator |
| again | GET …/stream of that answer, from its start |
| resumed | GET …/stream of that answer after its first event, added up with that first event |
| stored | GET of that answer |
| json | POST without ``stream`` |
| rabbitmq | a RabbitMQ request with ``stream`` |
| rabbitmq-whole | a RabbitMQ request without it |
"""

import asyncio
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp
import orjson
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from tests.compatibility.upstream import Script, ScriptedUpstream
from tests.e2e.amqp import Client, new_name, until_connected
from tests.e2e.workers import Worker
from weir.envelope import Json

WITHIN_S = 120.0
QUESTION = [{"role": "user", "content": "Say it."}]
AS_STREAM = {"stream": True, "stream_options": {"include_usage": True}}
FINISHED_S = 60.0  # for a stored answer whose stream has ended

PathName = Literal["stream", "again", "resumed", "stored", "json", "rabbitmq", "rabbitmq-whole"]


@dataclass(frozen=True, kw_only=True)
class Heard:
    """The result of one path's client."""

    status: int = 200  # HTTP; 200 for RabbitMQ
    headers: Mapping[str, Any] = field(default_factory=dict)  # of HTTP, names in lower case; of a queue's last message
    message: Json = field(default_factory=dict)  # of choice 0, as the openai client or a reader of queues sees it
    finish_reason: str | None = None  # of choice 0
    weir_finish: str | None = None  # what set finish_reason, where the model did not
    usage: Json | None = None
    error: Json | None = None  # OpenAI's error object
    ended: bool = True  # whether [DONE] came, or the last message
    body: Json = field(default_factory=dict)  # json, stored: the whole object
    events: list[Json] = field(default_factory=list)  # stream, again, resumed: every data event but [DONE]

    @property
    def text(self) -> str:
        """The content, "" if there is none."""
        return self.message.get("content") or ""

    @property
    def thinking(self) -> str:
        """The thinking, under whichever name it came, "" if there is none."""
        return self.message.get("reasoning_content") or self.message.get("reasoning") or ""

    @property
    def tool_calls(self) -> list[tuple[str | None, str | None, str | None]]:
        """The calls: (id, name, arguments)."""
        calls = self.message.get("tool_calls") or []
        return [(c.get("id"), c["function"].get("name"), c["function"].get("arguments")) for c in calls]


@dataclass
class Lab:
    """One worker with a scripted LLM behind it, which takes requests from RabbitMQ as well."""

    worker: Worker
    upstream: ScriptedUpstream
    rabbitmq: str
    queue: str

    async def ask_everywhere(
        self,
        model: str,
        only: Iterable[PathName] | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> dict[str, Heard]:
        """Ask ``model`` through each path, side by side; ``more`` are fields of the request."""
        given = dict(headers or {})
        wanted: set[str] = set(only or ("stream", "again", "resumed", "stored", "json", "rabbitmq", "rabbitmq-whole"))
        async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
            tasks = []
            if wanted & {"stream", "again", "resumed", "stored"}:
                tasks.append(group.create_task(self._streams(model, wanted, more, given)))
            if "json" in wanted:
                tasks.append(group.create_task(self._json(model, more, given)))
            for path, stream in (("rabbitmq", True), ("rabbitmq-whole", False)):
                if path in wanted:
                    tasks.append(group.create_task(self._rabbitmq(path, model, stream, more, given)))
        found = {name: heard for task in tasks for name, heard in task.result().items()}
        return {name: heard for name, heard in found.items() if name in wanted}

    async def ask_apart(self, case: str, *scripts: Script, **more: Any) -> tuple[dict[str, Heard], dict[str, int]]:
        """Ask through each path with a model of its own, so that each request gets the scripts from the first on.

        Returns:
            what each path heard, and how many calls each request took.
        """
        asked: dict[str, tuple[PathName, ...]] = {
            "stream": ("stream", "again", "stored"),
            "json": ("json",),
            "rabbitmq": ("rabbitmq",),
            "rabbitmq-whole": ("rabbitmq-whole",),
        }
        for name in asked:
            self.upstream.play(f"{case}-{name}", *scripts)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.ask_everywhere(f"{case}-{name}", only=paths, **more))
                for name, paths in asked.items()
            ]
        heard = {path: each for task in tasks for path, each in task.result().items()}
        return heard, {name: len(self.upstream.calls(f"{case}-{name}")) for name in asked}

    async def _streams(self, model: str, wanted: set[str], more: Json, headers: dict[str, str]) -> dict[str, Heard]:
        """One streamed request, and the three ways in which its answer is read later."""
        uid = f"path-{uuid.uuid4().hex}"
        url = f"{self.worker.url}/v1/chat/completions"
        body = {
            "model": model,
            "messages": QUESTION,
            "stream": True,
            "stream_options": {"include_usage": True},
            "uid": uid,
        }
        async with aiohttp.ClientSession() as session:
            first_ids: list[str] = []
            found = {"stream": await _sse(session.post(url, json={**body, **more}, headers=headers), first_ids)}
            if wanted & {"stored"}:
                found["stored"] = await self._stored(session, f"{url}/chatcmpl-{uid}")
            if wanted & {"again"}:
                found["again"] = await _sse(session.get(f"{url}/chatcmpl-{uid}/stream?include_usage=true"))
            if wanted & {"resumed"} and len(found["stream"].events) > 1 and first_ids:
                after = {"Last-Event-ID": first_ids[0]}
                request = session.get(f"{url}/chatcmpl-{uid}/stream?include_usage=true", headers=after)
                found["resumed"] = await _sse(request, before=found["stream"].events[:1])
            return found

    @staticmethod
    async def _stored(session: aiohttp.ClientSession, url: str) -> Heard:
        """Return the stored answer; its row follows the end of the stream by moments."""
        async with asyncio.timeout(FINISHED_S):
            while True:
                async with session.get(url) as answer:
                    if answer.status not in {202, 404}:
                        return _whole(answer, await answer.read())
                await asyncio.sleep(0.05)

    async def _json(self, model: str, more: Json, headers: dict[str, str]) -> dict[str, Heard]:
        url, body = f"{self.worker.url}/v1/chat/completions", {"model": model, "messages": QUESTION, **more}
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
            return {"json": _whole(answer, await answer.read())}

    async def _rabbitmq(
        self, path: str, model: str, stream: bool, more: Json, headers: dict[str, str]
    ) -> dict[str, Heard]:
        uid = f"path-{uuid.uuid4().hex}"
        body = {"model": model, "messages": QUESTION, "stream": stream, "username": "lab", "uid": uid, **more}
        async with Client.connected(self.rabbitmq, self.queue) as client:
            await client.send(body, headers=headers or None)
            answer = await client.answer(f"response_{uid}")
        last = answer.check(uid).last
        beside = {name: last.get(name) for name in ("tool_calls", "function_call", "refusal")}
        message = {"content": answer.text, **beside}
        heard = Heard(
            headers=last,
            message=message,
            finish_reason=last.get("finish_reason"),
            weir_finish=last.get("weir_finish"),
            usage=last.get("usage"),
            error=last.get("error"),
            ended=last["done"],
        )
        return {path: heard}


@contextmanager
def opened(folder: Path, rabbitmq_url: str, env: Mapping[str, str]) -> Iterator[Lab]:
    """Start a worker, with a scripted LLM; both end with the context."""
    queue = new_name("lab")
    with ScriptedUpstream() as upstream:
        more = {"OPENAI_URL": upstream.url, "RABBITMQ_URL": rabbitmq_url, "RABBITMQ_QUEUE": queue}
        worker = Worker(env={**more, **env}, folder=folder)
        try:
            asyncio.run(until_connected(worker))
            yield Lab(worker, upstream, rabbitmq_url, queue)
        finally:
            worker.kill()


async def _sse(request: Any, ids: list[str] | None = None, before: Iterable[Json] = ()) -> Heard:
    """Read a stream to its end, with the id of each event into ``ids``."""
    async with request as answer:
        raw = await answer.read()
    if answer.content_type != "text/event-stream":
        return _whole(answer, raw)
    events, ended = list(before), False
    for block in raw.decode().split("\n\n"):
        fields = [line.partition(": ")[::2] for line in block.split("\n") if not line.startswith(":")]
        data = "\n".join(value for name, value in fields if name == "data")
        if ids is not None:
            ids += [value for name, value in fields if name == "id"]
        if data == "[DONE]":
            ended = True
        elif data:
            events.append(orjson.loads(data))
    return _added_up(events, ended, answer)


def _added_up(events: list[Json], ended: bool, answer: aiohttp.ClientResponse) -> Heard:
    """Return the message that the openai client adds up from the events of a stream."""
    state = ChatCompletionStreamState()
    error: Json | None = None
    for each in events:
        if each.get("error"):
            error = each["error"]
        else:
            state.handle_chunk(ChatCompletionChunk.model_validate(each))
    headers = {name.lower(): value for name, value in answer.headers.items()}
    if not any(each.get("choices") for each in events):
        return Heard(status=answer.status, headers=headers, error=error, ended=ended, events=events)
    completion = state.current_completion_snapshot.model_dump()
    first: Json = next((choice for choice in completion["choices"] if choice["index"] == 0), {"message": {}})
    return Heard(
        status=answer.status,
        headers=headers,
        message=first["message"],
        finish_reason=first.get("finish_reason"),
        weir_finish=_weir_finish(events),
        usage=completion.get("usage"),
        error=error,
        ended=ended,
        events=events,
    )


def _weir_finish(events: list[Json]) -> str | None:
    choices = [choice for each in events for choice in each.get("choices") or () if choice.get("index") == 0]
    return next((choice["weir_finish"] for choice in choices if choice.get("weir_finish")), None)


def _whole(answer: aiohttp.ClientResponse, raw: bytes) -> Heard:
    body: Json = orjson.loads(raw)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    choice: Json = next((each for each in body.get("choices") or () if each.get("index") == 0), {})
    return Heard(
        status=answer.status,
        headers=headers,
        message=choice.get("message") or {},
        finish_reason=choice.get("finish_reason"),
        weir_finish=choice.get("weir_finish"),
        usage=body.get("usage"),
        error=body.get("error"),
        body=body,
    )
