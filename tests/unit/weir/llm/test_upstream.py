"""The upstream client against real servers: the demo model, and some that misbehave."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import aclosing, closing, contextmanager, suppress
from pathlib import Path

import aiohttp
import orjson
import pytest
from aiohttp import web

from demo.modes import MODES
from demo.text import expected_answer, expected_content, expected_thinking, script
from tests.unit.demo.helpers import TOOLS, body_of, calls, until_none_open
from tests.unit.weir.llm.helpers import (
    DONE,
    SECONDS,
    chunks_of,
    content,
    delta,
    finish_reasons,
    saying,
    server,
    upstream,
)
from weir.envelope import Json
from weir.llm.calls import Allowance, Call
from weir.llm.errors import AnswerTooLongError, UpstreamError, UpstreamRefusedError, UpstreamUnavailableError
from weir.llm.sse import MAX_EVENT_BYTES

SHORT = 0.3  # a limit that is meant to be met


# -- what comes through


async def test_an_answer_comes_as_the_server_says_it(url: str) -> None:
    body = body_of("demo:tokens=200")
    async with upstream(url) as one:
        chunks = await chunks_of(one, body)
    assert content(chunks) == expected_content(body)
    assert len([c for c in chunks if c["choices"] and c["choices"][0]["delta"].get("content")]) == 200
    assert finish_reasons(chunks) == {0: "stop"}
    assert chunks[0]["object"] == "chat.completion.chunk"
    assert chunks[0]["system_fingerprint"]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]) == ([], 200)


@pytest.mark.parametrize("model", ["demo-thinking", "demo-think-tags"])
async def test_thinking_is_told_apart_from_the_answer(url: str, model: str) -> None:
    body = body_of(model)
    async with upstream(url) as one:
        chunks = await chunks_of(one, body)
    assert content(chunks, "reasoning_content") == expected_thinking(body) != ""
    assert content(chunks) == expected_answer(body)
    assert "think>" not in content(chunks)


async def test_thinking_under_its_other_name_stays_as_it_is(url: str) -> None:
    body = body_of("demo-reasoning")
    async with upstream(url) as one:
        chunks = await chunks_of(one, body)
    assert content(chunks, "reasoning") == expected_thinking(body) != ""
    assert (content(chunks, "reasoning_content"), content(chunks)) == ("", expected_answer(body))


async def test_every_choice_comes_through(url: str) -> None:
    body = body_of("demo-think-tags", n=3)
    async with upstream(url) as one:
        chunks = await chunks_of(one, body)
    for index in range(3):
        assert content(chunks, index=index) == expected_answer(body, index)
        assert content(chunks, "reasoning_content", index) == expected_thinking(body, index)
    assert finish_reasons(chunks) == dict.fromkeys(range(3), "stop")


async def test_tool_calls_and_logprobs_come_through(url: str) -> None:
    body = body_of("demo-tools", tools=TOOLS)
    async with upstream(url) as one:
        chunks = await chunks_of(one, body)
        deltas = [c["choices"][0]["delta"] for c in chunks if c["choices"]]
        pieces = [d["tool_calls"][0] for d in deltas if d.get("tool_calls")]
        assert pieces[0]["id"].startswith("call_")
        assert "city" in orjson.loads("".join(p["function"]["arguments"] for p in pieces))
        assert finish_reasons(chunks) == {0: "tool_calls"}
        chunks = await chunks_of(one, body_of("demo:tokens=5", logprobs=True, top_logprobs=2))
        logs = [c["choices"][0]["logprobs"] for c in chunks if c["choices"] and c["choices"][0]["logprobs"]]
        assert [len(one["content"][0]["top_logprobs"]) for one in logs] == [2] * 5


async def test_noise_of_other_servers_is_harmless_and_their_own_fields_are_kept(url: str) -> None:
    body = body_of("demo-empty-choices")
    async with upstream(url) as one:
        chunks = await chunks_of(one, body)
    assert content(chunks) == expected_content(body)
    assert all(chunk["x_demo"] == {"note": "ignore me"} for chunk in chunks)
    assert any(chunk["choices"] == [] and "prompt_filter_results" in chunk for chunk in chunks)
    assert any(c["delta"].get("x_demo_delta") == [1, None] for chunk in chunks for c in chunk["choices"])


async def test_a_server_that_counts_no_tokens_is_none_the_worse(url: str) -> None:
    body = body_of("demo-no-usage")
    async with upstream(url) as one:
        chunks = await chunks_of(one, body)
    assert content(chunks) == expected_content(body)
    assert not any(chunk.get("usage") for chunk in chunks)


async def test_a_server_that_does_not_stream_gives_one_chunk() -> None:
    call = {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "<think>a</think>\nYes.", "tool_calls": [call, {**call, "id": "call_b"}]}
    whole = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"total_tokens": 3},
    }
    async with (
        server(saying(orjson.dumps(whole), content_type="application/json; charset=utf-8")) as url,
        upstream(url) as one,
    ):
        (chunk,) = await chunks_of(one, body_of("m"))
    said = chunk["choices"][0]["delta"]
    assert (said["content"], said["reasoning_content"]) == ("Yes.", "a")
    assert [(c["index"], c["id"]) for c in said["tool_calls"]] == [(0, "call_a"), (1, "call_b")]
    assert "message" not in chunk["choices"][0]
    assert chunk["object"] == "chat.completion.chunk"
    assert (chunk["choices"][0]["finish_reason"], chunk["usage"]) == ("stop", {"total_tokens": 3})


async def test_a_last_event_without_a_blank_line_counts() -> None:
    async with server(saying(delta("a"), delta("b", "stop").rstrip())) as url, upstream(url) as one:
        assert content(await chunks_of(one, body_of("m"))) == "ab"


# -- what is asked


async def test_a_request_reaches_the_server_unchanged_but_for_streaming_with_usage() -> None:
    asked: list[tuple[Json, str, str]] = []

    async def record(request: web.Request) -> web.StreamResponse:
        asked.append((orjson.loads(await request.read()), request.path, request.headers["Authorization"]))
        return await saying(delta("a", "stop"), DONE)(request)

    body: Json = {
        "model": "any/model:of-theirs",
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "Grüße 👩‍👩‍👧\u2028"}], "x": None},
            {"role": "alien", "content": 7},
        ],
        "stream": False,
        "stream_options": {"include_obfuscation": False},
        "temperature": 0,
        "max_tokens": None,
        "tools": [{"type": "web_search_of_tomorrow"}],
        "chat_template_kwargs": {"enable_thinking": False, "deep": [[[1.5, True, None]]]},
        "x_unknown": {"": []},
        "timeout": 3,
        "extra_body": {"a": 1},
        "extra_headers": {"X": "y"},
    }
    before = orjson.dumps(body)
    async with server(record) as url, upstream(url) as one:
        await chunks_of(one, body)
    ((got, path, authorization),) = asked
    options = {"include_obfuscation": False, "include_usage": True}
    assert got == {**body, "stream": True, "stream_options": options}
    assert (path, authorization) == ("/v1/chat/completions", "Bearer sk-1")
    assert orjson.dumps(body) == before


async def test_the_organization_and_the_project_that_pay_are_named_only_where_they_are_set() -> None:
    asked: list[tuple[str | None, str | None]] = []

    async def record(request: web.Request) -> web.StreamResponse:
        asked.append((request.headers.get("OpenAI-Organization"), request.headers.get("OpenAI-Project")))
        return await saying(delta("a", "stop"), DONE)(request)

    async with server(record) as url:
        for organization, project in ((None, None), ("org-1", None), ("org-1", "proj-2")):
            async with upstream(url, organization=organization, project=project) as one:
                await chunks_of(one, {"model": "m", "messages": []})
    assert asked == [(None, None), ("org-1", None), ("org-1", "proj-2")]


async def headers_sent(url: str) -> list[tuple[str, str | None, str | None]]:
    """Return what the server at ``url``, or a proxy, gets of each call: host, and both kinds of credentials."""
    seen: list[tuple[str, str | None, str | None]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        sent = request.headers
        seen.append((request.host, sent.get("Authorization"), sent.get("Proxy-Authorization")))
        return await saying(delta("Hi", "stop"), DONE)(request)

    async with server(answer) as own:
        with pytest.MonkeyPatch.context() as env:
            env.delenv("NO_PROXY", raising=False)
            env.delenv("no_proxy", raising=False)
            if url:
                env.setenv("http_proxy", own.removesuffix("/v1").replace("//", "//bob:secret@"))
            async with upstream(url or own.replace("//", "//ada:lovel%40ce@")) as one:
                assert content(await chunks_of(one, body_of("x"))) == "Hi"
    return seen


@pytest.mark.parametrize("listens", [True, False], ids=["refuses", "is away"])
async def test_a_proxy_that_is_in_the_way_is_named(listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        port = proxy.sockets[0].getsockname()[1] if listens else free_port()
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{port}")  # curl takes it without a scheme, too
        async with upstream("https://llm.invalid/v1") as one:
            with pytest.raises(UpstreamUnavailableError, match="HTTPS_PROXY") as caught:
                await chunks_of(one, body_of("x"))
    assert caught.value.error["code"] == "upstream_unreachable"
    assert caught.value.transient is not listens


async def test_a_user_in_the_url_is_told_to_its_server_in_the_place_of_the_key() -> None:
    ((_, authorization, _),) = await headers_sent("")
    assert authorization == aiohttp.encode_basic_auth("ada", "lovel@ce")


async def test_a_proxy_of_the_environment_is_asked_with_its_own_credentials() -> None:
    basic = aiohttp.encode_basic_auth("bob", "secret")
    assert await headers_sent("http://llm.invalid/v1") == [("llm.invalid", "Bearer sk-1", basic)]


async def test_passwords_of_a_netrc_file_are_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login ada password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    ((_, authorization, _),) = await headers_sent("http://llm.invalid/v1")
    assert authorization == "Bearer sk-1"


async def test_a_request_of_some_megabytes_is_asked_whole() -> None:
    sizes: list[int] = []

    async def measure(request: web.Request) -> web.StreamResponse:
        sizes.append(len(orjson.loads(await request.read())["messages"][0]["content"]))
        return await saying(delta("a", "stop"), DONE)(request)

    async with server(measure) as url, upstream(url) as one:
        await chunks_of(one, body_of("m", "x" * (5 << 20)))
    assert sizes == [5 << 20]


# -- failures


FAILURES: dict[str, tuple[type[UpstreamError], int, str | None, str]] = {
    "demo-error": (UpstreamRefusedError, 500, None, "server_error"),
    "demo-error:status=503": (UpstreamRefusedError, 503, None, "server_error"),
    "demo-error:status=429": (UpstreamRefusedError, 429, "rate_limit_exceeded", "rate_limit_error"),
    "demo-error:status=401": (UpstreamRefusedError, 401, None, "authentication_error"),
    "demo-error:status=404": (UpstreamRefusedError, 404, None, "invalid_request_error"),
    "demo-refuse": (UpstreamRefusedError, 400, None, "invalid_request_error"),
    "demo:no_such_option=1": (UpstreamRefusedError, 400, "demo_option", "invalid_request_error"),
    "demo-error-midway:after=4": (UpstreamRefusedError, 502, None, "server_error"),
    "demo-cutoff:after=4": (UpstreamUnavailableError, 502, "upstream_disconnected", "upstream_error"),
    "demo-cutoff:after=4,delay_ms=1": (UpstreamUnavailableError, 502, "upstream_disconnected", "upstream_error"),
    "demo-cutoff:after=0": (UpstreamUnavailableError, 502, "upstream_disconnected", "upstream_error"),
    "demo-cutoff:after=4,clean=1": (UpstreamUnavailableError, 502, "upstream_disconnected", "upstream_error"),
}


@pytest.mark.parametrize("model", FAILURES)
async def test_a_failure_is_of_its_kind_and_comes_after_what_was_said(url: str, model: str) -> None:
    kind, status, code, error_type = FAILURES[model]
    body, said = body_of(model), list[Json]()
    async with upstream(url) as one:
        with pytest.raises(kind) as caught:
            await chunks_of(one, body, said)
    assert caught.value.status == status
    assert set(caught.value.error) == {"message", "type", "param", "code"}
    assert (caught.value.error["code"], caught.value.error["type"]) == (code, error_type)
    assert str(caught.value) == caught.value.error["message"] != ""
    assert content(said) == ("".join(script(body).content[:4]) if "after=4" in model else "")
    assert (await until_none_open(url))["calls"] == (1 if "option" not in model else 0)


async def test_an_error_names_the_parameter_that_the_server_names(url: str) -> None:
    async with upstream(url) as one:
        with pytest.raises(UpstreamRefusedError) as caught:
            await chunks_of(one, {"model": "demo", "messages": []})
    assert (caught.value.status, caught.value.error["param"]) == (400, "messages")


async def test_every_fault_of_the_demo_model_is_tested_here() -> None:
    known = {model.partition(":")[0] for model in FAILURES} | {"demo-hang", "demo-silent"}
    assert {name for name, mode in MODES.items() if mode.fault} <= known


async def test_text_that_was_held_as_a_possible_tag_leaves_before_the_failure() -> None:
    said: list[Json] = []
    async with server(saying(delta("<thi"))) as url, upstream(url) as one:
        with pytest.raises(UpstreamUnavailableError):
            await chunks_of(one, body_of("m"), said)
    assert content(said) == "<thi"


async def test_a_stream_of_which_one_choice_never_ended_is_broken() -> None:
    blocks = delta("a"), delta("b", index=1), delta("", "stop"), DONE
    async with server(saying(*blocks)) as url, upstream(url) as one:
        with pytest.raises(UpstreamUnavailableError, match="middle") as caught:
            await chunks_of(one, body_of("m", n=2))
    assert caught.value.error["code"] == "upstream_disconnected"


ODD_ANSWERS: dict[str, tuple[list[bytes], str]] = {
    "no JSON in an event": ([b"data: hello\n\n"], "text/event-stream"),
    "no object in an event": ([b"data: [1]\n\n"], "text/event-stream"),
    "choices that are none": ([b'data: {"choices": {"a": 1}}\n\n'], "text/event-stream"),
    "a choice that is none": ([b'data: {"choices": ["a"]}\n\n'], "text/event-stream"),
    "a delta that is none": ([b'data: {"choices": [{"index": 0, "delta": "a"}]}\n\n'], "text/event-stream"),
    "an event without an end": (
        [b"data: ", *[b"x" * (1 << 20)] * (MAX_EVENT_BYTES // (1 << 20) + 1)],
        "text/event-stream",
    ),
    "JSON that is none": ([b"{"], "application/json"),
    "JSON that is no object": ([b"[]"], "application/json"),
    "JSON that is no completion": ([b'{"models": ["hello"]}'], "application/json"),
    "a page": ([b"<html>Hello</html>"], "text/html"),
    "JSON without an end": ([b"[", *[b" " * (1 << 20)] * (MAX_EVENT_BYTES // (1 << 20) + 1)], "application/json"),
}


@pytest.mark.parametrize(("blocks", "content_type"), ODD_ANSWERS.values(), ids=ODD_ANSWERS.keys())
async def test_what_is_no_chat_completion_says_so(blocks: list[bytes], content_type: str) -> None:
    async with server(saying(*blocks, content_type=content_type)) as url, upstream(url) as one:
        with pytest.raises(UpstreamUnavailableError, match="the model sent") as caught:
            await chunks_of(one, body_of("m"))
    assert (caught.value.status, caught.value.error["code"]) == (502, "upstream_invalid_response")


async def test_an_error_object_with_status_200_is_an_error() -> None:
    error = orjson.dumps({"error": {"message": "no credit", "type": "billing", "code": 402}})
    async with server(saying(error, content_type="application/json")) as url, upstream(url) as one:
        with pytest.raises(UpstreamRefusedError, match="no credit") as caught:
            await chunks_of(one, body_of("m"))
    assert (caught.value.status, caught.value.error["code"]) == (402, "402")


@pytest.mark.parametrize(
    "body", [b"<html>Bad Gateway</html>", b"", b'"text"', b'{"error": "no"}', b'{"message": "no"}']
)
async def test_an_error_that_has_not_openais_shape_is_brought_into_it(body: bytes) -> None:
    async with server(saying(body, content_type="text/html", status=502)) as url, upstream(url) as one:
        with pytest.raises(UpstreamRefusedError) as caught:
            await chunks_of(one, body_of("m"))
    assert caught.value.status == 502
    assert caught.value.error["message"]
    assert caught.value.error["type"] == "upstream_error"


async def test_an_error_page_of_a_megabyte_does_not_become_a_message_of_a_megabyte() -> None:
    async with server(saying(b"x" * (1 << 20), content_type="text/html", status=500)) as url, upstream(url) as one:
        with pytest.raises(UpstreamRefusedError) as caught:
            await chunks_of(one, body_of("m"))
    assert len(caught.value.error["message"]) <= 2000


async def test_a_json_answer_that_breaks_off_is_a_broken_connection() -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b'{"choices": [')
        assert request.transport is not None
        request.transport.close()
        return response

    async with server(break_off) as url, upstream(url) as one:
        with pytest.raises(UpstreamUnavailableError) as caught:
            await chunks_of(one, body_of("m"))
    assert (caught.value.status, caught.value.error["code"]) == (502, "upstream_disconnected")


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_refused_connection_names_the_setting_to_look_at() -> None:
    async with upstream(f"http://127.0.0.1:{free_port()}/v1") as one:
        with pytest.raises(UpstreamUnavailableError, match="OPENAI_URL") as caught:
            await chunks_of(one, body_of("m"))
        assert (caught.value.status, caught.value.error["code"]) == (502, "upstream_unreachable")
        with pytest.raises(UpstreamUnavailableError, match="OPENAI_URL"):
            await one.models()


# -- time


def within(began: float, least: float) -> None:
    """Check that a call took as long as the limit, and not much longer."""
    took = time.monotonic() - began
    assert least * 0.9 <= took < SECONDS * 0.8, took


@pytest.mark.parametrize("model", ["demo-silent", "demo:first_ms=60000", "demo-hang:after=0"])
async def test_a_first_token_that_does_not_come_is_waited_for_as_long_as_set(url: str, model: str) -> None:
    began = time.monotonic()
    async with upstream(url, first_token_s=SHORT, idle_s=SECONDS) as one:  # a role is no token
        with pytest.raises(UpstreamUnavailableError, match=f"{SHORT:g} s") as caught:
            await chunks_of(one, body_of(model))
    within(began, SHORT)
    assert (caught.value.status, caught.value.error["code"]) == (504, "upstream_timeout")
    assert (await until_none_open(url))["closed_early"] == 1


async def test_a_model_that_falls_silent_is_waited_for_as_long_as_set(url: str) -> None:
    body, said, began = body_of("demo-hang:after=3"), list[Json](), time.monotonic()
    async with upstream(url, idle_s=SHORT) as one:
        with pytest.raises(UpstreamUnavailableError, match=f"fell silent for {SHORT:g} s") as caught:
            await chunks_of(one, body, said)
    within(began, SHORT)
    assert caught.value.status == 504
    assert content(said) == "".join(script(body).content[:3])
    assert (await until_none_open(url))["closed_early"] == 1


async def test_a_pause_may_be_longer_than_the_wait_for_the_first_token(url: str) -> None:
    body = body_of("demo:tokens=2,delay_ms=700")
    async with upstream(url, first_token_s=0.5) as one:
        assert content(await chunks_of(one, body)) == expected_content(body)


async def test_comments_are_no_sign_of_life_of_a_model() -> None:
    """A gateway that sends comments for ever keeps a hung call from ending otherwise."""

    async def comment(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(delta("a"))
        while True:
            await response.write(b": PROCESSING\n\n")
            await asyncio.sleep(SHORT / 10)

    async with server(comment) as url, upstream(url, idle_s=SHORT) as one:
        with pytest.raises(UpstreamUnavailableError, match="fell silent"):
            await chunks_of(one, body_of("m"))


async def test_a_refusal_that_only_speaks_of_streams_is_no_lesson() -> None:
    """The message may quote a prompt. Without streaming, the server refuses as before."""
    asked: list[bool] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        asked.append(body["stream"])
        if body.get("temperature") == 9:
            error = {"message": "no temperature of 9 for 'Where does a stream begin?'", "type": "invalid_request_error"}
            return web.json_response({"error": error}, status=400)
        return await saying(delta("Hi", "stop"), DONE)(request)

    async with server(answer) as url, upstream(url) as one:
        for temperature in (9, 1):
            body = {**body_of("x"), "temperature": temperature}
            with suppress(UpstreamRefusedError):
                async with aclosing(one.stream(body, Call(streamed=False))) as chunks:
                    assert [chunk async for chunk in chunks]
    assert asked == [True, False, True]


async def test_the_time_of_an_answer_is_over_before_its_server_has_answered_as_well() -> None:
    async def hang(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(SECONDS)
        return web.Response()

    call = Call(allowance=Allowance(max_s=SHORT))
    async with server(hang) as url, upstream(url, retries=2) as one, aclosing(one.stream(body_of("x"), call)) as chunks:
        with pytest.raises(AnswerTooLongError) as caught:
            await anext(chunks)
    assert caught.value.error["param"] == "ANSWER_MAX_S"
    assert caught.value.headers == {"x-should-retry": "false"}, "a client's retry would take as long"


async def test_a_reader_that_takes_its_time_is_not_the_models_silence(url: str) -> None:
    body = body_of("demo:tokens=3")
    async with upstream(url, first_token_s=SHORT, idle_s=SHORT) as one, aclosing(one.stream(body)) as chunks:
        said = [await anext(chunks)]
        await asyncio.sleep(SHORT * 1.5)
        said += [chunk async for chunk in chunks]
    assert content(said) == expected_content(body)


@contextmanager
def deaf_port() -> Iterator[int]:
    """Return a port where connections are neither taken nor refused: its queue is full."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
            waiting.append(one)
        try:
            yield listener.getsockname()[1]
        finally:
            for one in waiting:
                one.close()


async def test_a_server_that_does_not_take_the_connection_is_waited_for_as_long_as_set() -> None:
    began = time.monotonic()
    with deaf_port() as port:
        async with upstream(f"http://127.0.0.1:{port}/v1", connect_s=SHORT) as one:
            with pytest.raises(UpstreamUnavailableError) as caught:
                await chunks_of(one, body_of("m"))
    within(began, SHORT)
    assert (caught.value.status, caught.value.error["code"]) == (504, "upstream_timeout")


async def test_a_retry_that_would_outlast_the_wait_for_the_first_token_is_left_to_the_client(url: str) -> None:
    body, began = body_of("demo-error:status=503,retry_after=30"), time.monotonic()
    async with upstream(url, first_token_s=SECONDS, retries=5) as one:
        with pytest.raises(UpstreamRefusedError) as caught:
            await chunks_of(one, body)
    assert time.monotonic() - began < SECONDS / 2
    assert (caught.value.status, caught.value.headers) == (503, {"retry-after": "30"})
    assert (await calls(url))["calls"] == 1


# -- retries


@pytest.mark.parametrize(("status", "times"), [(503, 2), (500, 1), (429, 1)])
async def test_a_call_that_failed_before_its_first_token_is_made_again(url: str, status: int, times: int) -> None:
    body, told = body_of(f"demo-error:status={status},retry_after=0,times={times}"), list[None]()
    async with upstream(url, retries=2, on_retry=lambda: told.append(None)) as one:
        assert content(await chunks_of(one, body)) == expected_content(body)
    assert (await calls(url))["calls"] == times + 1
    assert len(told) == times  # a caller that counts them gets each


async def test_no_more_retries_are_made_than_set(url: str) -> None:
    async with upstream(url, retries=1) as one:
        with pytest.raises(UpstreamRefusedError) as caught:
            await chunks_of(one, body_of("demo-error:status=503,retry_after=0"))
    assert caught.value.status == 503
    assert (await calls(url))["calls"] == 2


@pytest.mark.parametrize("model", ["demo-refuse", "demo-error:status=401", "demo-error:status=404"])
async def test_a_refusal_is_not_asked_again(url: str, model: str) -> None:
    async with upstream(url, retries=3) as one:
        with pytest.raises(UpstreamRefusedError):
            await chunks_of(one, body_of(model))
    assert (await calls(url))["calls"] == 1


async def test_a_call_that_broke_before_its_first_token_is_made_again(url: str) -> None:
    body = body_of("demo-cutoff:after=0,times=1")
    async with upstream(url, retries=1) as one:
        assert content(await chunks_of(one, body)) == expected_content(body)
    assert (await calls(url))["calls"] == 2


@pytest.mark.parametrize("model", ["demo-cutoff:after=2", "demo-cutoff:after=2,clean=1", "demo-error-midway:after=2"])
async def test_a_call_that_failed_after_its_first_token_is_never_made_again(url: str, model: str) -> None:
    async with upstream(url, retries=3) as one:
        with pytest.raises(UpstreamError):
            await chunks_of(one, body_of(model + ",times=1"))
    assert (await calls(url))["calls"] == 1


# -- closing


async def test_closing_the_iterator_closes_the_call(url: str) -> None:
    async with upstream(url) as one:
        chunks = one.stream(body_of("demo-slow:first_ms=0"))
        await anext(chunks)
        assert (await calls(url))["open"] == 1
        await chunks.aclose()
        assert (await until_none_open(url))["closed_early"] == 1


async def test_cancelling_a_reader_closes_the_call(url: str) -> None:
    async with upstream(url) as one:
        said: list[Json] = []
        reading = asyncio.create_task(chunks_of(one, body_of("demo-hang:after=1"), said))
        async with asyncio.timeout(SECONDS):
            while len(said) < 2:
                await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert (await until_none_open(url))["closed_early"] == 1


async def test_cancelling_a_wait_for_the_first_byte_closes_the_call(url: str) -> None:
    async with upstream(url) as one:
        reading = asyncio.create_task(chunks_of(one, body_of("demo-silent")))
        async with asyncio.timeout(SECONDS):
            while (await calls(url))["open"] == 0:
                await asyncio.sleep(0.01)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert (await until_none_open(url))["closed_early"] == 1


async def test_many_calls_at_once_do_not_mix_their_answers(url: str) -> None:
    bodies = [body_of("demo:tokens=30,delay_ms=1", f"prompt {n}") for n in range(20)]
    async with upstream(url) as one:
        answers = await asyncio.gather(*(chunks_of(one, body) for body in bodies))
    assert [content(chunks) for chunks in answers] == [expected_content(body) for body in bodies]


# -- the list of models


async def test_the_list_of_models_is_the_servers_own(url: str) -> None:
    async with upstream(url) as one:
        models = await one.models()
    assert {model["id"] for model in models["data"]} == set(MODES)
    assert models["object"] == "list"


async def test_a_list_of_models_that_is_none_says_so() -> None:
    async with server(saying(b"<html>", content_type="text/html")) as url, upstream(url) as one:
        with pytest.raises(UpstreamUnavailableError) as caught:
            await one.models()
    assert caught.value.error["code"] == "upstream_invalid_response"


async def test_a_refused_list_of_models_keeps_its_status() -> None:
    error = orjson.dumps({"error": {"message": "who are you?", "type": "authentication_error"}})
    async with server(saying(error, content_type="application/json", status=401)) as url, upstream(url) as one:
        with pytest.raises(UpstreamRefusedError, match="who are you") as caught:
            await one.models()
    assert caught.value.status == 401
