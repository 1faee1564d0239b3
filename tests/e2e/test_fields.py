"""Every field of every posted body, with a value of every JSON type: an answer, or a 400 that names the field."""

import asyncio
import copy
import itertools
import json
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.compatibility.upstream import ScriptedUpstream, chunk, said
from tests.e2e.workers import Worker

CHAT = "/v1/chat/completions"
FEEDBACK = ("/v1/feedback", "/api/v1/feedback/submit", "/api/v1/feedback/correction", "/api/v1/feedback/rating")
AT_ONCE = 16
AS_JSON = {"Content-Type": "application/json"}

DEEP: dict[str, Any] = {}
for _ in range(60):
    DEEP = {"a": [DEEP]}
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    1.5,
    2**70,
    "",
    "👩‍👩‍👧\x00\u2028",
    "x" * 5000,
    [],
    [{}],
    ["x", 1, None],
    {},
    {"type": "x", "x": [1]},
    DEEP,
)

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PARTS = [
    {"type": "text", "text": "a"},
    {"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}},
    {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    {"type": "file", "file": {"file_id": "f"}},
]
FOR_THE_LLM = (
    "temperature",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "seed",
    "logprobs",
    "logit_bias",
    "user",
    "tool_choice",
    "functions",
    "function_call",
    "audio",
    "prediction",
    "store",
    "extra_body",
)
WHOLE: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "user", "content": PARTS, "name": "ada"},
        {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "r", "refusal": None},
        {"role": "assistant", "content": None, "function_call": {"name": "f"}, "audio": {"id": "a"}},
        {"role": "tool", "tool_call_id": "c", "content": "d"},
    ],
    "stream": False,
    "stream_options": {"include_usage": True},
    "uid": "overwritten",
    "username": "ada",
    "on_disconnect": "continue",
    "deadline_s": 60,
    "cancel": False,
    "n": 1,
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}],
    "metadata": {"session_id": "s"},
    "response_format": {"type": "json_schema", "json_schema": {"name": "j", "schema": {}}},
    **dict.fromkeys(FOR_THE_LLM),
}

# The fields of a chat request that Weir itself reads, with their JSON types; null is the same as left out.
OWN: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "stream": (bool,),
    "stream_options": (dict,),
    "stream_options.include_usage": (bool,),
    "uid": (str,),
    "username": (str,),
    "on_disconnect": (str,),
    "deadline_s": (int, float),
    "cancel": (bool,),
    "n": (int,),
    "tools": (list,),
    "messages": (list,),
}

CORRECTION: dict[str, Any] = {
    "response_id": "chatcmpl-known",
    "feedback_type": "correction",
    "original": "a",
    "corrected": "b",
    "original_sql": "a",
    "corrected_sql": "b",
    "data": {"original": "a", "corrected": "b", "comment": "c", "original_sql": "a", "corrected_sql": "b"},
    "feedback_source": "explicit",
    "severity": "INFO",
    "edit_distance": 0.5,
    "metadata": {"a": 1},
    "feedback_id": "f",
    "event_id": "e",
    "tenant_id": "default",
    "comment": "c",
    "user_id": "u",
    "session_id": "s",
    "category": "c",
}
RATING = {"response_id": "chatcmpl-known", "feedback_type": "rating", "rating": 5, "comment": "c"}
LONG_AGO = {"from": "2001-01-01T00:00:00Z", "to": "2001-01-02T00:00:00Z", "where": {"tenant": "default"}, "limit": 1}
REPLAYS: tuple[dict[str, Any], ...] = (
    {**LONG_AGO, "kind": "requests", "model": "m", "route": None, "rate": 1.5, "concurrency": 2},
    {**LONG_AGO, "kind": "dead-letters", "reason": "r", "topic": "chat-requests"},
)


class Post(NamedTuple):
    """One body with one field changed."""

    path: str
    field: str  # which: messages[0].content
    value: Any
    body: Any


def places(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every field in a body, and of every item."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, child in inner:
        yield (*at, name)
        yield from places(child, (*at, name))


def named(place: tuple[str | int, ...]) -> str:
    text = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in place)
    return text.removeprefix(".")


def changed(body: Any, place: tuple[str | int, ...], value: Any) -> Any:
    copied = holder = copy.deepcopy(body)
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value
    return copied


def posts(path: str, body: Any) -> Iterator[Post]:
    for place, value in itertools.product(list(places(body)), VALUES):
        yield Post(path, named(place), value, changed(body, place, value))


def chats() -> Iterator[Post]:
    numbers = itertools.count()
    for post in posts(CHAT, WHOLE):
        uid = {} if post.field == "uid" else {"uid": f"field-{next(numbers)}"}
        yield post._replace(body={**post.body, **uid})


@pytest.fixture
async def worker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Worker]:
    with ScriptedUpstream() as upstream:
        upstream.play("m", said(chunk({"role": "assistant", "content": "yes"}), chunk({}, "stop")))
        env = {"OPENAI_URL": upstream.url, "UPSTREAM_RETRIES": "0", "FEEDBACK_PER_REQUEST_MAX": "1000"}
        worker = Worker(env=env, folder=tmp_path_factory.mktemp("fields"))
        await worker.start()
        yield worker
        await worker.close()


async def sent(worker: Worker, all_posts: Iterable[Post]) -> list[tuple[Post, int, dict[str, Any]]]:
    """The status and the error of each post; its X-Request-ID is checked here."""
    waiting, found = iter(all_posts), list[tuple[Post, int, dict[str, Any]]]()

    async def client(session: aiohttp.ClientSession) -> None:
        for post in waiting:
            data = json.dumps(post.body)  # null, too, which ``json=`` takes for no body
            async with session.post(worker.url + post.path, data=data, headers=AS_JSON) as answer:
                text = await answer.read()
                body = await answer.json() if answer.content_type == "application/json" else {}
                assert answer.status in {200, 202} or answer.headers["X-Request-ID"], text
                found.append((post, answer.status, body.get("error") or {}))

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(client(session) for _ in range(AT_ONCE)))
    return found


def about(param: str | None, field: str) -> bool:
    """Whether an error names a field, its parent, or a field in it."""
    return param is not None and (param.startswith(field) or field.startswith(param))


def check_log(worker: Worker) -> None:
    log = worker.log.read_text()
    assert "Traceback" not in log, log[-4000:]
    assert "defect" not in log, log[-4000:]


async def test_every_field_of_a_chat_request_takes_every_type_or_says_that_it_does_not(worker: Worker) -> None:
    for post, status, error in await sent(worker, chats()):
        told = (post.field, post.value, status, error)
        assert status in {200, 400, 404, 409}, told  # 404: the LLM has no such model; 409: a uid of two bodies
        if status == 400:
            assert about(error["param"], post.field), told
            assert error["type"] == "invalid_request_error", told
        if status == 404:
            assert post.field == "model", told
        kinds = OWN.get(post.field)
        if kinds is not None and post.value is not None and type(post.value) not in kinds:
            assert (status, error.get("param")) == (400, post.field), told
    check_log(worker)


async def test_every_field_of_feedback_takes_every_type_or_says_that_it_does_not(worker: Worker) -> None:
    bodies = dict.fromkeys(FEEDBACK, CORRECTION) | {FEEDBACK[3]: RATING}
    both = itertools.chain(*(posts(path, body) for path, body in bodies.items()), posts(FEEDBACK[0], RATING))
    for post, status, error in await sent(worker, both):
        told = (post.path, post.field, post.value, status, error)
        assert status in {202, 400}, told
        if status == 400:
            root = post.field.removeprefix("data.").partition(".")[0].partition("[")[0]
            names = {root, root.removesuffix("_sql"), {"event_id": "feedback_id"}.get(root, root), "data"}
            # Feedback of another type has other fields, so these are wrong.
            assert error["param"] in names or post.field == "feedback_type", told
    check_log(worker)


async def test_every_field_of_a_replay_takes_every_type_or_says_that_it_does_not(worker: Worker) -> None:
    feedback = [
        post for post in posts("/replays", {"kind": "feedback", "from": "x", "emit": False}) if post.field != "kind"
    ]
    all_posts = itertools.chain(*(posts("/replays", body) for body in REPLAYS), feedback)
    for post, status, error in await sent(worker, all_posts):
        told = (post.field, post.value, status, error)
        assert status in {400, 404}, told
        assert status == 404 or error["param"] is not None, told
        if status == 404:
            assert error["code"] == "nothing_to_replay", told
        elif post.body.get("kind") != "feedback":
            assert about(error["param"], post.field) or post.field == "kind", told
    check_log(worker)


POSTED = (
    CHAT,
    *FEEDBACK,
    "/replays",
    "/replays/replay-1/resume",
    "/replays/replay-1/cancel",
    f"{CHAT}/chatcmpl-unknown/cancel",
    "/workers/first-tries/unknown",
)


async def test_a_body_of_every_type_is_no_defect(worker: Worker) -> None:
    bodies = [Post(path, "", value, value) for path in POSTED for value in VALUES]
    for post, status, error in await sent(worker, bodies):
        assert status in {400, 404}, (post, status, error)
        assert error["type"] == "invalid_request_error", (post, status, error)
    check_log(worker)
