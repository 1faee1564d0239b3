"""The queue worker's contract, with real clients: their requests, their answers, and one LLM call for each."""

import asyncio
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from demo.text import expected_answer, expected_content
from tests.e2e.amqp import DIRECT, Answer, Desk, asked_with_pika, new_name, reading, values
from tests.e2e.node.program import ProgramError, installed
from tests.e2e.workers import get_json
from tests.unit.demo.helpers import TOOLS, body_of, calls, streamed

pytestmark = pytest.mark.rabbitmq

ASKED = "Erzähl mir von 👩‍👩‍👧 und 水"  # on one line: the example prints line by line
README = Path(__file__).with_name("queue_worker_readme.txt")  # no .md: the formatter would reformat it


# -- stock clients


def seeds_example(desk: Desk, body: dict[str, Any]) -> str:
    """The two snippets, with another address, another queue and another message; a line on stdin between them."""
    publish, consume = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    for old, new in {
        "pika.ConnectionParameters('localhost')": f"pika.URLParameters({desk.url!r})",
        "routing_key='chat_incoming'": f"routing_key={desk.queue!r}",
        '"model": "gpt-4o"': f'"model": {body["model"]!r}',
        '"Tell me a joke."': repr(body["messages"][0]["content"]),
        '"stream": True': f'"stream": {body["stream"]}',
    }.items():
        assert publish.count(old) == 1
        publish = publish.replace(old, new)
    return f"{publish}\ninput()\n{consume}"


async def run_example(desk: Desk, body: dict[str, Any]) -> list[str]:
    """The responses that the example prints, up to the empty one, or the first if the answer is one message."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-c", seeds_example(desk, body)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONIOENCODING": "utf-8"},
    )
    assert program.stdin is not None
    assert program.stdout is not None
    printed = ""
    try:
        async with asyncio.timeout(60):
            sent = (await program.stdout.readline()).decode()
            (uid,) = re.findall(r"'uid': '([^']+)'", sent)
            async with desk.client() as client:
                await client.there(f"response_{uid}", within_s=10)  # as long as a person takes
            program.stdin.write(b"\n")
            while not printed.endswith("Response: \n" if body["stream"] else expected_content(body) + "\n"):
                printed += (await program.stdout.readline()).decode()
    finally:
        program.kill()
        await program.wait()
    head, *responses = printed.split("Response: ")
    assert head == "Waiting for response...\n"
    return [response.removesuffix("\n") for response in responses]


async def test_the_example_of_the_queue_workers_readme_prints_the_answer(desk: Desk) -> None:
    body = body_of("demo:tokens=40,delay_ms=20", ASKED, stream=True)
    responses = await run_example(desk, body)
    assert len(responses) > 10  # as it comes
    assert responses[-1] == ""
    assert "".join(responses) == expected_content(body)


async def test_the_example_without_stream_prints_the_answer_at_once(desk: Desk) -> None:
    body = body_of("demo:tokens=40", ASKED, stream=False)
    assert await run_example(desk, body) == [expected_content(body)]


async def test_a_node_client_prints_the_answer(desk: Desk) -> None:
    body = body_of("demo:tokens=40,delay_ms=20", uid=new_name("node"), stream=True)
    printed = await asyncio.to_thread(installed().run, desk.url, desk.queue, body)
    assert printed == expected_content(body)
    refused = {"uid": new_name("node"), "stream": True}
    with pytest.raises(ProgramError, match="Missing required parameter: 'messages'"):
        await asyncio.to_thread(installed().run, desk.url, desk.queue, refused)


# -- the messages


async def test_a_stream_ends_with_an_empty_body_and_all_that_is_known_of_it(desk: Desk) -> None:
    uid = new_name("stream")
    body = body_of("demo:tokens=50,delay_ms=10", uid=uid, stream=True)
    async with desk.client() as client:
        await client.send(body)
        answer = (await client.answer(f"response_{uid}")).check(uid)
        assert await client.count(f"response_{uid}") == 0
    assert answer.text == expected_content(body)
    assert len(answer.messages) > 10
    assert all(message.body for message in answer.messages[:-1])
    assert answer.messages[-1].body == b""
    assert (answer.last["status"], answer.last["finish_reason"]) == ("completed", "stop")
    assert answer.last["usage"]["completion_tokens"] == 50
    assert "error" not in answer.last
    assert all(message.delivery_mode == 2 for message in answer.messages)


async def test_without_stream_there_is_one_message(desk: Desk) -> None:
    uid = new_name("whole")
    body = body_of("demo:tokens=50", uid=uid)
    async with desk.client() as client:
        await client.send(body)
        answer = (await client.answer(f"response_{uid}")).check(uid)
        assert await client.count(f"response_{uid}") == 0
    assert len(answer.messages) == 1
    assert answer.text == expected_content(body)
    assert answer.last["usage"]["completion_tokens"] == 50


async def test_a_model_that_has_no_usage_says_none_and_noise_is_no_text(desk: Desk) -> None:
    for model in ("demo-no-usage", "demo-empty-choices"):
        uid = new_name("odd")
        body = body_of(model, uid=uid, stream=True)
        async with desk.client() as client:
            await client.send(body)
            answer = (await client.answer(f"response_{uid}")).check(uid)
        assert answer.text == expected_content(body)
        assert ("usage" in answer.last) == (model != "demo-no-usage")


async def test_tool_calls_come_with_the_end(desk: Desk) -> None:
    uid = new_name("tools")
    async with desk.client() as client:
        await client.send(body_of("demo-tools", uid=uid, stream=True, tools=TOOLS))
        answer = (await client.answer(f"response_{uid}")).check(uid)
    assert answer.text == ""
    assert answer.last["finish_reason"] == "tool_calls"
    (call,) = answer.last["tool_calls"]
    assert call["function"]["name"] == "weather"
    assert call["function"]["arguments"].startswith('{"city":')


async def test_thinking_is_left_out(desk: Desk) -> None:
    for model in ("demo-thinking", "demo-reasoning", "demo-think-tags"):
        uid = new_name("thinking")
        body = body_of(model, uid=uid, stream=True)
        async with desk.client() as client:
            await client.send(body)
            answer = (await client.answer(f"response_{uid}")).check(uid)
        assert answer.text == expected_answer(body)
        assert all(message.body for message in answer.messages[:-1])


# -- properties


async def test_reply_to_and_correlation_id_are_honoured(desk: Desk) -> None:
    """The way of RPC over RabbitMQ: an exclusive queue of the client's own, and no uid at all."""
    body = body_of("demo:tokens=20", stream=True)
    mine = new_name("mine")
    said = await asyncio.to_thread(asked_with_pika, desk, body, mine, reply_to=mine, correlation_id="my-own-42")
    uid = said[-1].headers["uid"]
    assert re.fullmatch(r"req-[0-9a-f]{32}", uid)
    assert [one.headers["seq"] for one in said] == list(range(len(said)))
    assert "".join(one.body for one in said) == expected_content(body)
    assert {one.correlation_id for one in said} == {"my-own-42"}
    async with desk.client() as client:
        assert await client.count(f"response_{uid}") is None


@pytest.mark.parametrize("uid", [None, "its-own"])
async def test_direct_reply_to_is_honoured(desk: Desk, uid: str | None) -> None:
    body = body_of("demo:tokens=20", stream=True, **({"uid": new_name(uid)} if uid else {}))
    said = await asyncio.to_thread(asked_with_pika, desk, body, DIRECT, reply_to=DIRECT, correlation_id="d")
    assert [one.headers["seq"] for one in said] == list(range(len(said)))
    assert "".join(one.body for one in said) == expected_content(body)
    assert {one.correlation_id for one in said} == {"d"}
    assert said[-1].headers["uid"] == body.get("uid", said[0].headers["uid"])


async def test_message_id_is_the_uid_where_the_body_has_none(desk: Desk) -> None:
    ours, theirs = new_name("message-id"), new_name("body")
    body = body_of("demo:tokens=5")
    async with desk.client() as client:
        await client.send(body, message_id=ours)
        await client.send({**body, "uid": theirs}, message_id=ours)
        assert (await client.answer(f"response_{ours}")).check(ours).text == expected_content(body)
        assert (await client.answer(f"response_{theirs}")).check(theirs).text == expected_content(body)
    row = await row_of(desk, ours)
    assert (row["uid"], row["ingress"]) == (ours, "rabbitmq")


@pytest.mark.parametrize("name", ["two words", "a/b?c#d", "Grüße 水", "a=b~c", "..", "chatcmpl-7", "x" * 128, "a\x00b"])
async def test_a_uid_that_could_be_no_key_names_its_queue_all_the_same(desk: Desk, name: str) -> None:
    body = body_of("demo:tokens=5", uid=name)
    (whole,) = await asyncio.to_thread(asked_with_pika, desk, body, f"response_{name}")
    assert whole.body == expected_content(body)
    assert (whole.headers["uid"], whole.headers["done"]) == (name, True)


async def test_priority_expiration_and_tenant_stand_in_the_record_of_the_request(desk: Desk) -> None:
    full, plain = new_name("full"), new_name("plain")
    async with desk.client() as client:
        await client.send(
            body_of("demo:tokens=1", uid=full, username="alice"),
            priority=7,
            expiration=3600,
            headers={"X-Tenant-ID": "acme"},
        )
        await client.send(body_of("demo:tokens=1", uid=plain))
        await asyncio.gather(client.there(f"response_{full}"), client.there(f"response_{plain}"))
        await client.answer(f"response_{full}")
        await client.answer(f"response_{plain}")
    by_uid = {event["data"]["uid"]: event for event in await values(desk.worker, "chat-requests")}
    assert by_uid[full]["tenant_id"] == "acme"
    assert by_uid[full]["data"]["priority"] == 7
    assert by_uid[full]["data"]["username"] == "alice"
    accepted, deadline = by_uid[full]["data"]["accepted_at"], by_uid[full]["data"]["deadline"]
    assert 3590 < seconds(deadline) - seconds(accepted) < 3610
    assert by_uid[plain]["tenant_id"] == "default"
    assert not {"priority", "deadline"} & by_uid[plain]["data"].keys()
    row = await row_of(desk, full)
    assert (row["tenant"], row["username"]) == ("acme", "alice")


async def test_a_queue_that_the_client_declared_first_is_taken_as_it_is(desk: Desk) -> None:
    body = body_of("demo:tokens=20", stream=True)
    async with desk.client() as client:
        for declared in (
            {"durable": False},
            {"durable": True, "arguments": {"x-max-length": 100}},
            {"durable": False, "exclusive": True},
        ):
            uid = new_name("mine")
            queue = await client.channel.declare_queue(f"response_{uid}", **declared)
            async with reading(queue) as inbox:
                await client.send({**body, "uid": uid})
                assert (await inbox.answer()).check(uid).text == expected_content(body), declared
            await queue.delete(if_unused=False, if_empty=False)


async def test_a_response_queue_that_weir_makes_is_durable_and_expires(desk: Desk) -> None:
    uid = new_name("ours")
    async with desk.client() as client:
        await client.send(body_of("demo:tokens=1", uid=uid))
        await client.there(f"response_{uid}")
        # RabbitMQ refuses a declaration whose arguments differ from the queue's.
        await client.channel.declare_queue(f"response_{uid}", durable=True, arguments={"x-expires": 86_400_000})
        await client.answer(f"response_{uid}")


# -- the same again


async def test_the_same_uid_twice_asks_the_llm_once(desk: Desk) -> None:
    uid = new_name("twice")
    body = body_of("demo:tokens=30,delay_ms=10", f"once, {uid}", uid=uid, stream=True)
    async with desk.client() as client:
        await client.send(body)
        await client.send(body)
        assert (await client.answer(f"response_{uid}")).check(uid).text == expected_content(body)
        await until_delivered(desk, uid)
        await client.send(body, correlation_id="later")  # after the end, the answer is delivered again, from the log
        again = await client.answer(f"response_{uid}")
        if again.messages[0].correlation_id is None:  # the second one was answered separately
            again = await client.answer(f"response_{uid}")
        assert again.check(uid).text == expected_content(body)
        assert {message.correlation_id for message in again.messages} == {"later"}
    assert await calls_for(desk, f"once, {uid}") == 1


async def test_the_same_uid_by_http_and_by_rabbitmq_asks_the_llm_once(desk: Desk) -> None:
    uid = new_name("both")
    body = body_of("demo:tokens=30,delay_ms=20", f"once, {uid}", uid=uid, stream=True)
    http = AsyncOpenAI(base_url=f"{desk.worker.url}/v1", api_key="test", max_retries=0)
    async with desk.client() as client, http:
        by_http = asyncio.create_task(streamed(http, body))
        await client.send(body)
        answer = (await client.answer(f"response_{uid}")).check(uid)
        assert answer.text == expected_content(body)
        assert "".join((await by_http).deltas("content")) == expected_content(body)
    stored: Any = await get_json(f"{desk.worker.url}/v1/chat/completions/{uid}")
    assert stored["choices"][0]["message"]["content"] == expected_content(body)
    assert await calls_for(desk, f"once, {uid}") == 1


async def test_the_same_uid_with_another_body_is_a_conflict_that_disturbs_nothing(desk: Desk) -> None:
    uid = new_name("conflict")
    body = body_of("demo:tokens=40,delay_ms=20", uid=uid, stream=True)
    async with desk.client() as client:
        await client.send(body)
        await client.send({**body, "messages": [{"role": "user", "content": "something else"}]}, correlation_id="2nd")
        await client.there(f"response_{uid}")
        async with reading(await client.channel.get_queue(f"response_{uid}")) as inbox:
            both = [await inbox.answer(), await inbox.answer()]
    answers = {message.correlation_id: answer.check(uid) for answer in both for message in answer.messages}
    assert answers[None].text == expected_content(body)
    assert answers[None].last["status"] == "completed"
    assert_failed(answers["2nd"], 409)
    assert await calls_for(desk, "something else") == 0


# -- errors


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "boss", "content": "hi"}]}, "messages[0].role"),
        ({"stream": "yes"}, "stream"),
    ],
)
async def test_an_invalid_request_is_told_which_field_and_goes_to_the_dead_queue(
    desk: Desk, wrong: dict[str, Any], param: str
) -> None:
    uid = new_name("invalid")
    async with desk.client() as client:
        await client.send({**body_of("demo", uid=uid), **wrong}, correlation_id="c", headers={"mine": 1})
        answer = (await client.answer(f"response_{uid}")).check(uid)
        assert_failed(answer, 400)
        assert answer.last["error"]["param"] == param
        assert param in answer.last["error"]["message"]
        assert {message.correlation_id for message in answer.messages} == {"c"}
        dead = await client.buried(uid)
    assert (dead.headers["mine"], dead.correlation_id) == (1, "c")
    assert param in str(dead.headers["x-weir-reason"])
    assert dead.headers["x-weir-queue"] == desk.queue


async def test_a_bad_tenant_is_told(desk: Desk) -> None:
    uid = new_name("tenant")
    async with desk.client() as client:
        await client.send(body_of("demo", uid=uid), headers={"x-tenant-id": "no spaces"})
        answer = (await client.answer(f"response_{uid}")).check(uid)
        assert_failed(answer, 400)
        assert answer.last["error"]["param"] == "X-Tenant-ID"
        assert "X-Tenant-ID" in str((await client.buried(uid)).headers["x-weir-reason"])


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("model", "status"),
    [("demo-refuse", 400), ("demo-error:status=500", 500), ("demo-error:status=429,retry_after=0", 429)],
)
async def test_what_the_llm_refuses_is_told_at_the_end(desk: Desk, model: str, status: int, stream: bool) -> None:
    uid = new_name("refused")
    async with desk.client() as client:
        dead = await client.count(f"{desk.queue}.dead")
        await client.send(body_of(model, uid=uid, stream=stream))
        answer = (await client.answer(f"response_{uid}")).check(uid)
        assert_failed(answer, status)
        assert "on purpose" in answer.last["error"]["message"]
        assert await client.count(f"{desk.queue}.dead") == dead  # it was a request


async def test_an_answer_that_breaks_keeps_what_was_said_and_tells_why(desk: Desk) -> None:
    for model in ("demo-cutoff:delay_ms=20", "demo-error-midway:delay_ms=20"):
        uid = new_name("broken")
        body = body_of(model, uid=uid, stream=True)
        async with desk.client() as client:
            await client.send(body)
            answer = (await client.answer(f"response_{uid}")).check(uid)
        assert answer.text
        assert expected_content(body).startswith(answer.text)
        assert answer.last["status"] == "failed"
        assert answer.last["error"]["status"] >= 500
        assert answer.messages[-1].body == b""


# -- helpers


def assert_failed(answer: Answer, status: int) -> None:
    """One empty message with the reason."""
    assert [message.body for message in answer.messages] == [b""]
    assert (answer.last["status"], answer.last["error"]["status"]) == ("failed", status)


def seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


async def until_delivered(desk: Desk, uid: str) -> None:
    """Wait until the log has the delivered mark of an answer."""
    async with asyncio.timeout(60):
        while not any(
            event["event_type"] == "chat.delivered" and event["data"]["uid"] == uid
            for event in await values(desk.worker, "chat-chunks")
        ):
            await asyncio.sleep(0.1)


async def row_of(desk: Desk, uid: str) -> dict[str, object]:
    """GET /requests/{uid}, once the table has its acceptance."""
    async with asyncio.timeout(60):
        while (row := await get_json(f"{desk.worker.url}/requests/{uid}")).get("ingress") is None:
            await asyncio.sleep(0.05)
    return row


async def calls_for(desk: Desk, text: str) -> int:
    by_key: Any = (await calls(desk.upstream))["by_key"]
    return int(by_key.get(text, 0))


# -- cancelling


async def test_a_message_cancels_an_earlier_request_wherever_that_came_from(desk: Desk) -> None:
    uid = new_name("cancel")
    body = body_of("demo:tokens=2000,delay_ms=20", uid=uid, stream=True)
    http = AsyncOpenAI(base_url=f"{desk.worker.url}/v1", api_key="test", max_retries=0)
    async with desk.client() as client, http:
        by_http = asyncio.create_task(streamed(http, body))
        await client.send(body)
        await client.there(f"response_{uid}")
        async with reading(await client.channel.get_queue(f"response_{uid}", ensure=False)) as inbox:
            answer = Answer([await inbox.take()])
            await client.send({"uid": uid, "cancel": True})
            answer.messages += (await inbox.answer()).messages
        answer.check(uid)
        assert (answer.last["status"], answer.last["finish_reason"]) == ("cancelled", "cancelled")
        streamed_ = await by_http
        assert "".join(streamed_.deltas("content")) == answer.text  # all readers' text ends at the same token
        assert expected_content(body).startswith(answer.text)
        assert len(answer.text) < len(expected_content(body))


async def test_a_message_that_cancels_nothing_is_told_so(desk: Desk) -> None:
    uid = new_name("unknown")
    async with desk.client() as client:
        own = await client.channel.declare_queue(exclusive=True)
        await client.send({"uid": uid, "cancel": True}, reply_to=own.name)
        answer = await client.answer(own.name)
        assert (answer.last["status"], answer.last["error"]["status"]) == ("failed", 404)
        await client.buried(uid)
        assert await client.count(f"response_{uid}") is None  # an answer to that queue may be on its way
