"""The settings of the RabbitMQ door, and queues that exist before it starts."""

import asyncio
from collections.abc import Iterator

import pytest
from aio_pika.exceptions import PublishError

from demo.text import expected_answer, expected_content, expected_thinking
from tests.e2e.amqp import Client, Desk, asked_with_pika, new_name, opened, reading, until_connected, values
from tests.e2e.conftest import Start
from tests.unit.demo.helpers import body_of

pytestmark = pytest.mark.rabbitmq

EXPIRES_S = 3.0
RETRIES = 3
SETTINGS = {
    "RESPONSE_QUEUE_PREFIX": "Antworten für ",
    "RESPONSE_THINKING": "inline",
    "RESPONSE_QUEUE_EXPIRES_S": str(EXPIRES_S),
    "RESPONSE_QUEUE_RETRIES": str(RETRIES),
}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory, rabbitmq_url: str) -> Iterator[Desk]:
    """A worker with settings of its own."""
    with opened(tmp_path_factory.mktemp("other"), rabbitmq_url, SETTINGS) as desk:
        yield desk


async def test_the_prefix_is_a_setting(other: Desk) -> None:
    uid = new_name("prefix")
    body = body_of("demo:tokens=5", uid=uid)
    (whole,) = await asyncio.to_thread(asked_with_pika, other, body, f"Antworten für {uid}")
    assert whole.body == expected_content(body)
    async with other.client() as client:
        assert await client.count(f"response_{uid}") is None


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", ["demo-thinking:tokens=5", "demo-reasoning:tokens=5", "demo-think-tags:tokens=5"])
async def test_thinking_may_come_inline(other: Desk, model: str, stream: bool) -> None:
    body = body_of(model, uid=new_name("thinking"), stream=stream)
    said = await asyncio.to_thread(asked_with_pika, other, body, f"Antworten für {body['uid']}")
    text = "".join(one.body for one in said)
    assert text == f"<think>\n{expected_thinking(body)}\n</think>\n\n{expected_answer(body)}"


async def test_a_response_queue_that_no_client_uses_is_removed(other: Desk) -> None:
    uid = new_name("unused")
    queue = f"Antworten für {uid}"
    async with other.client() as client:
        await client.send(body_of("demo:tokens=5", uid=uid))
        with pytest.raises(PublishError):  # declaring it, to look for it, would be a use
            await publish_while_there(client, queue)


async def publish_while_there(client: Client, queue: str) -> None:
    """Publish until the queue is gone, which raises PublishError."""
    seen = False
    async with asyncio.timeout(EXPIRES_S * 5):
        while True:
            try:
                await client.send(b"", to=queue)
                seen = True
            except PublishError:
                if seen:
                    raise
            await asyncio.sleep(0.1)


async def test_a_reply_to_queue_that_comes_late_is_served(other: Desk) -> None:
    mine = new_name("late")
    body = body_of("demo:tokens=5", stream=True)
    async with other.client() as client:
        await client.send(body, reply_to=mine)
        await asyncio.sleep(2)  # the worker's questions for it meanwhile cannot be observed
        queue = await client.channel.declare_queue(mine, exclusive=True)
        async with reading(queue) as inbox:
            assert (await inbox.answer()).text == expected_content(body)


async def test_a_reply_to_queue_that_never_comes_makes_a_dead_letter(other: Desk) -> None:
    mine = new_name("never")
    async with other.client() as client:
        await client.send(body_of("demo:tokens=5"), reply_to=mine)
    found: list[str] = []
    async with asyncio.timeout(RETRIES + 10):
        while not found:
            await asyncio.sleep(0.2)
            letters = [event["data"] for event in await values(other.worker, "chat-dead-letters")]
            found = [data["reason"] for data in letters if mine in data["reason"]]
            assert all(data["topic"] == "chat-deliveries" for data in letters)
    assert len(found) == 1
    assert "no such queue" in found[0]


async def test_an_input_queue_with_other_arguments_is_taken_as_it_is(make_worker: Start, rabbitmq_url: str) -> None:
    queue = new_name("priorities")
    async with Client.connected(rabbitmq_url, queue) as client:
        for arguments in ({"x-max-priority": 10}, {"x-queue-type": "quorum"}):
            await client.channel.declare_queue(queue, durable=True, arguments=dict(arguments))
            worker = await until_connected(make_worker({"RABBITMQ_URL": rabbitmq_url, "RABBITMQ_QUEUE": queue}))
            uid = new_name("taken")
            body = body_of("demo:tokens=5", uid=uid)
            await client.send(body, priority=5)
            assert (await client.answer(f"response_{uid}")).check(uid).text == expected_content(body)
            await client.channel.declare_queue(queue, durable=True, arguments=dict(arguments))  # or it is refused
            assert await worker.stop() == 0
            await (await client.channel.get_queue(queue)).delete(if_unused=False, if_empty=False)


async def test_an_input_queue_that_is_removed_is_made_again(other: Desk) -> None:
    async with other.client() as client:
        await (await client.channel.get_queue(other.queue)).delete(if_unused=False, if_empty=False)
        await client.there(other.queue)
        mine = await client.channel.declare_queue(exclusive=True)
        body = body_of("demo:tokens=5")
        await client.send(body, reply_to=mine.name)
        async with reading(mine) as inbox:
            assert (await inbox.answer()).text == expected_content(body)
