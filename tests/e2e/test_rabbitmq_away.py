"""RabbitMQ away, back, elsewhere, behind TLS, or off: HTTP goes on, and RabbitMQ's requests go on without help."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from demo.text import expected_content
from tests.e2e.amqp import Client, new_name, until_connected, until_rabbitmq_is
from tests.e2e.conftest import Start
from tests.e2e.workers import Worker, get_json
from tests.services.process import free_ports
from tests.services.rabbitmq import RabbitBroker
from tests.unit.demo.helpers import body_of, calls, streamed

pytestmark = pytest.mark.rabbitmq

STREAMS = 8


@pytest.fixture
def rabbit() -> Iterator[RabbitBroker]:
    """A RabbitMQ of the test's own, not started."""
    broker = RabbitBroker()
    yield broker
    broker.close()


async def is_served(url: str, queue: str) -> None:
    """A request by RabbitMQ is answered."""
    uid = new_name("served")
    body = body_of("demo:tokens=10", uid=uid, stream=True)
    async with Client.connected(url, queue) as client:
        await client.send(body)
        assert (await client.answer(f"response_{uid}")).check(uid).text == expected_content(body)


async def is_served_by_http(worker: Worker) -> None:
    body = body_of("demo:tokens=5")
    assert "".join((await streamed(worker.client(), body)).deltas("content")) == expected_content(body)


def told(worker: Worker) -> list[str]:
    """The log lines about RabbitMQ at LOG_LEVEL info, except good news."""
    lines = worker.log.read_text().splitlines()
    return [line for line in lines if re.search(r"WARN|ERROR|Traceback|rror:", line)]


async def test_one_that_is_absent_at_the_start_is_served_as_soon_as_it_appears(
    make_worker: Start, rabbit: RabbitBroker
) -> None:
    worker = await make_worker({"RABBITMQ_URL": rabbit.url}).start()
    assert (await get_json(f"{worker.url}/ping"))["rabbitmq"] == "away"
    await is_served_by_http(worker)
    await asyncio.to_thread(rabbit.start)
    await until_rabbitmq_is(worker, "connected")
    await is_served(rabbit.url, "chat_incoming")
    assert len(told(worker)) == 2, told(worker)  # one line for each of the two connections, however long it was away


async def test_answers_go_on_after_a_restart_each_token_once(
    broker: dict[str, str], make_worker: Start, rabbit: RabbitBroker, upstream: str
) -> None:
    await asyncio.to_thread(rabbit.start)
    worker = await until_connected(make_worker(broker, RABBITMQ_URL=rabbit.url))
    uids = [new_name("midway") for _ in range(STREAMS)]
    bodies = [body_of("demo:tokens=150,delay_ms=40", f"restart {uid}", uid=uid, stream=True) for uid in uids]
    async with Client.connected(rabbit.url, "chat_incoming") as client:
        for body in bodies:
            await client.send(body)
        for uid in uids:  # each answer has begun
            await client.there(f"response_{uid}")
            async with asyncio.timeout(60):
                while (await client.count(f"response_{uid}") or 0) < 5:
                    await asyncio.sleep(0.05)
    await asyncio.to_thread(rabbit.stop)
    await until_rabbitmq_is(worker, "away")
    await is_served_by_http(worker)
    await asyncio.to_thread(rabbit.start)
    async with Client.connected(rabbit.url, "chat_incoming") as client:
        for uid, body in zip(uids, bodies, strict=True):
            answer = (await client.answer(f"response_{uid}", within_s=60)).check(uid)
            assert answer.text == expected_content(body)
            assert answer.last["status"] == "completed"
            assert await client.count(f"response_{uid}") == 0
    by_key = (await calls(upstream))["by_key"]
    assert isinstance(by_key, dict)
    assert {by_key[f"restart {uid}"] for uid in uids} == {1}
    await until_rabbitmq_is(worker, "connected")
    await is_served(rabbit.url, "chat_incoming")
    assert "Traceback" not in worker.log.read_text()


async def test_without_an_address_it_is_off(make_worker: Start, rabbitmq_url: str) -> None:
    queue = new_name("off")
    async with Client.connected(rabbitmq_url, queue) as client:
        await client.channel.declare_queue(queue, durable=True)
        await client.send(body_of("demo", uid=new_name("off")))
        worker = await make_worker({"RABBITMQ_URL": "", "RABBITMQ_QUEUE": queue}).start()
        await is_served_by_http(worker)
        assert "rabbitmq" not in await get_json(f"{worker.url}/ping")
        assert await client.count(queue) == 1
        await client.channel.queue_delete(queue)
    assert "RabbitMQ" not in worker.log.read_text()


async def test_a_second_host_is_asked_where_the_first_does_not_answer(make_worker: Start, rabbitmq_url: str) -> None:
    (closed,) = free_ports(1)
    queue = new_name("hosts")
    urls = f"amqp://guest:guest@127.0.0.1:{closed}/, {rabbitmq_url}"
    await until_connected(make_worker({"RABBITMQ_URL": urls, "RABBITMQ_QUEUE": queue}))
    await is_served(rabbitmq_url, queue)


async def test_the_other_host_takes_over(make_worker: Start, rabbit: RabbitBroker, rabbitmq_url: str) -> None:
    await asyncio.to_thread(rabbit.start)
    queue = new_name("hosts")
    env = {"RABBITMQ_URL": f"{rabbit.url},{rabbitmq_url}", "RABBITMQ_QUEUE": queue}
    worker = await until_connected(make_worker(env))
    await is_served(rabbit.url, queue)
    await asyncio.to_thread(rabbit.kill)
    await until_rabbitmq_is(worker, "away")
    await until_rabbitmq_is(worker, "connected")
    await is_served(rabbitmq_url, queue)


async def test_a_connection_may_be_encrypted(make_worker: Start) -> None:
    with RabbitBroker(tls=True) as rabbit:
        stranger = await make_worker({"RABBITMQ_URL": str(rabbit.tls_url)}).start()
        trusting = await until_connected(
            make_worker(
                {"RABBITMQ_URL": f"{rabbit.tls_url}?cafile={rabbit.ca_file}", "RABBITMQ_QUEUE": "secured"},
                WEIR_DATA_DIR=str(rabbit.folder / "data-of-the-second"),
            )
        )
        await is_served(rabbit.url, "secured")
        async with Client.connected(f"{rabbit.tls_url}?cafile={rabbit.ca_file}", "secured") as client:
            assert await client.count("secured") == 0
        await until_told(stranger, "CERTIFICATE_VERIFY_FAILED")
        assert (await get_json(f"{stranger.url}/ping"))["rabbitmq"] == "away"
        assert not told(trusting)


async def test_a_wrong_password_is_told_once_and_not_shown(make_worker: Start, rabbitmq_url: str) -> None:
    url = rabbitmq_url.replace("guest:guest", "guest:t0p-secret")
    worker = await make_worker({"RABBITMQ_URL": url}).start()
    await until_told(worker, "ACCESS_REFUSED")
    await is_served_by_http(worker)
    assert (await get_json(f"{worker.url}/ping"))["rabbitmq"] == "away"
    lines = told(worker)
    assert len(lines) == 2, lines  # one for each of the two connections
    assert all("ACCESS_REFUSED" in line and "127.0.0.1" in line for line in lines)
    assert "t0p-secret" not in worker.log.read_text()


async def until_told(worker: Worker, word: str) -> None:
    """Wait until both connections have logged why there is none."""
    async with asyncio.timeout(60):
        while sum(word in line for line in told(worker)) < 2:
            await asyncio.sleep(0.1)
