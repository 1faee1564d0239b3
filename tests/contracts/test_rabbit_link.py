"""The connection to a real RabbitMQ: which errors count as a lost connection, and which as defects."""

import asyncio
import logging

import aio_pika
import pytest
from aio_pika.abc import AbstractConnection

from weir.rabbitmq.link import Link, open_channel

pytestmark = pytest.mark.rabbitmq

WITHIN_S = 20.0


async def test_a_channel_of_a_closed_connection_is_a_lost_link(rabbitmq_url: str) -> None:
    connection = await aio_pika.connect(rabbitmq_url)
    await connection.close()
    with pytest.raises(ConnectionError):
        await open_channel(connection, publisher_confirms=False)


@pytest.mark.parametrize(
    ("error", "is_defect"),
    [
        (RuntimeError("dictionary changed size during iteration"), True),
        (RecursionError(), True),
        (KeyError("uid"), True),
        (ConnectionError("gone"), False),
        (TimeoutError(), False),
        (aio_pika.exceptions.ChannelInvalidStateError("writer is None"), False),
    ],
)
async def test_a_defect_is_told_as_one_and_the_connection_is_made_again(
    rabbitmq_url: str, caplog: pytest.LogCaptureFixture, error: Exception, is_defect: bool
) -> None:
    link, used = Link("test", [rabbitmq_url], timeout_s=WITHIN_S), asyncio.Queue[AbstractConnection]()

    async def use(connection: AbstractConnection) -> None:
        used.put_nowait(connection)
        if used.qsize() == 1:
            raise error
        await asyncio.get_running_loop().create_future()

    keeping = asyncio.create_task(link.keep(use))
    async with asyncio.timeout(WITHIN_S):
        while used.qsize() < 2:
            await asyncio.sleep(0.02)
    assert link.state == "connected"
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    defects = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert bool(defects) == is_defect
    assert all(record.exc_info for record in defects)
