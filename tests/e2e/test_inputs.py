"""Any input of a client is accepted or gets a clear error with its field named, and the worker goes on."""

import io
from typing import Any

import aiohttp
import openai
import pytest

from demo.text import expected_content
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.workers import Worker
from tests.services.kafka import KafkaBroker
from tests.unit.demo.helpers import body_of, streamed

MIB = 1024 * 1024
PIXEL = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture(params=["embedded", "kafka"])
async def worker(request: pytest.FixtureRequest, make_worker: Start) -> Worker:
    env: dict[str, str] = {}
    if request.param == "kafka":
        kafka: KafkaBroker = request.getfixturevalue("e2e_kafka")
        env = kafka_env(kafka)
    return await make_worker(env).start()


def messages(*items: dict[str, Any]) -> dict[str, Any]:
    return {"model": "demo", "messages": list(items)}


GOOD: dict[str, dict[str, Any]] = {
    "emoji": body_of("demo", "👩‍👩‍👧 and 水 and \u2028 and \x00"),
    "1 MB of text": body_of("demo", "weir 水 " * (MIB // 9)),
    "6 MB image": messages(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (6 * MIB)}},
            ],
        }
    ),
    "null content with tool calls": messages(
        {"role": "user", "content": "weather?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ),
    "image parts": messages(
        {
            "role": "user",
            "content": [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": PIXEL}}],
        }
    ),
    "audio and file parts": messages(
        {
            "role": "user",
            "content": [
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "file", "file": {"file_id": "f1"}},
            ],
        }
    ),
    "no model": {"messages": [{"role": "user", "content": "hi"}]},
}

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no messages": ({"model": "demo"}, "messages"),
    "messages not a list": ({"messages": "hi"}, "messages"),
    "empty messages": ({"messages": []}, "messages"),
    "message not an object": ({"messages": ["hi"]}, "messages[0]"),
    "unknown role": ({"messages": [{"role": "boss", "content": "hi"}]}, "messages[0].role"),
    "content a number": ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    "null content": ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    "part without type": ({"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
    "stream not a boolean": ({**body_of("demo"), "stream": "yes"}, "stream"),
    "n too large": ({**body_of("demo"), "n": 1000}, "n"),
    "tools not a list": ({**body_of("demo"), "tools": {}}, "tools"),
    "uid with a slash": ({**body_of("demo"), "uid": "a/b"}, "uid"),
    "model a number": ({**body_of("demo"), "model": 1}, "model"),
}


async def post(url: str, data: bytes, content_type: str = "application/json") -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=io.BytesIO(data), headers={"Content-Type": content_type}) as answer,
    ):
        return answer.status, (await answer.json())["error"]


async def test_every_good_form_is_answered(worker: Worker) -> None:
    for name, body in GOOD.items():
        answer = await streamed(worker.client(), body)
        model = body.get("model", "deepseek-r1:8b")
        assert "".join(answer.deltas("content")) == expected_content({**body, "model": model}), name


async def test_every_bad_form_is_a_400_that_names_its_field(worker: Worker) -> None:
    async with aiohttp.ClientSession() as session:
        for name, (body, param) in BAD.items():
            async with session.post(f"{worker.url}/v1/chat/completions", json=body) as answer:
                error = (await answer.json())["error"]
                assert (answer.status, error["param"], error["type"]) == (400, param, "invalid_request_error"), name
                assert param in error["message"], name


async def test_bytes_that_are_no_request_get_a_clear_error_and_the_worker_goes_on(worker: Worker) -> None:
    url = f"{worker.url}/v1/chat/completions"
    for data in (
        b"",
        b"{",
        b"\xff\xfe",
        b'{"a": NaN}',
        b"[" * 100_000,
        b'"text"',
        b"null",
        b'{"messages": "\xed\xa0\x80"}',
    ):
        status, error = await post(url, data)
        assert (status, error["type"]) == (400, "invalid_request_error"), data[:20]
    deep = b'{"messages":[{"role":"user","content":"hi"}],"x":' + b"[" * 600 + b"]" * 600 + b"}"
    assert (await post(url, deep))[0] == 400
    assert (await post(url, b"{}", "text/plain"))[0] == 415
    status, error = await post(url, b" " * (50 * MIB))
    assert (status, error["code"]) == (413, "request_too_large")
    assert (await post(f"{worker.url}/v1/nothing", b"{}"))[0] == 404
    assert (await post(f"{worker.url}/v1/models", b"{}"))[0] == 405
    answer = await streamed(worker.client(), body_of("demo"))
    assert "".join(answer.deltas("content")) == expected_content(body_of("demo"))


async def test_every_error_has_an_id_and_that_of_a_request_that_is_known(worker: Worker) -> None:
    async with aiohttp.ClientSession() as session:
        chat = f"{worker.url}/v1/chat/completions"
        failed = {**body_of("demo-refuse"), "uid": "refused-by-the-model"}
        async with session.post(chat, json=failed) as answer:
            assert (answer.status, answer.headers["X-Request-ID"]) == (400, "refused-by-the-model")
        async with session.post(chat, json={**failed, "n": 2}) as answer:
            assert (answer.status, answer.headers["X-Request-ID"]) == (409, "refused-by-the-model")
        async with session.get(f"{chat}/chatcmpl-unknown") as answer:
            assert (answer.status, answer.headers["X-Request-ID"]) == (404, "unknown")
        async with session.post(f"{chat}/unknown/cancel") as answer:
            assert (answer.status, answer.headers["X-Request-ID"]) == (404, "unknown")
        for path, status in (("/v1/chat/completions", 400), ("/v1/feedback", 400), ("/nothing", 404), ("/ping", 405)):
            async with session.post(worker.url + path, json={}) as answer:
                assert answer.status == status
                assert answer.headers["X-Request-ID"].startswith("err-")
    with pytest.raises(openai.BadRequestError) as refused:
        await streamed(worker.client(), {"messages": []})
    assert (refused.value.request_id or "").startswith("err-")


async def test_long_headers_are_taken(worker: Worker) -> None:
    async with aiohttp.ClientSession() as session:
        for size in (10_000, 32_000, 64_000):
            headers = {"Authorization": f"Bearer {'x' * size}", "X-User": "y" * 10_000}
            async with session.post(
                f"{worker.url}/v1/chat/completions", json=body_of("demo"), headers=headers
            ) as answer:
                assert answer.status == 200
                await answer.read()
            async with session.get(f"{worker.url}/requests", params={"tenant": "t" * size}) as answer:
                assert answer.status == 200


async def test_an_answer_of_reasoning_alone_can_be_sent_back(worker: Worker) -> None:
    body = body_of("demo-thinking:tokens=0")
    answer = await worker.client().chat.completions.create(model="", messages=[], extra_body=body)
    message = answer.choices[0].message.model_dump(exclude_unset=True)
    assert not message.get("content")
    assert message["reasoning_content"]
    again: Any = {**body_of("demo"), "messages": [message, {"role": "user", "content": "Go on."}]}
    assert (await streamed(worker.client(), again)).deltas("content")


async def test_an_unknown_request_is_a_404_on_every_view(worker: Worker) -> None:
    async with aiohttp.ClientSession() as session:
        for path in ("/requests/unknown", "/v1/chat/completions/chatcmpl-unknown"):
            async with session.get(f"{worker.url}{path}") as answer:
                assert answer.status == 404
                assert (await answer.json())["error"]["code"] == "request_not_found"
