"""The log of each broker in turn: promises of both are tested on both."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contracts.logs import Log, OnFile, OnKafka, new_topic
from weir.log.log import LogClient, Partition
from weir.log.tails import Tails


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Log]:
    """The log of one broker."""
    log: Log
    if request.param == "embedded":
        log = OnFile(tmp_path / "log.db")
    else:
        log = OnKafka(request.getfixturevalue("kafka_bootstrap"))
    yield log
    await log.close()


@pytest.fixture
async def client(log: Log) -> LogClient:
    """A started client of the log."""
    return await log.client()


@pytest.fixture
async def at(client: LogClient) -> Partition:
    """One partition of a new topic with six."""
    return await new_topic(client)


@pytest.fixture
async def tails(client: LogClient) -> AsyncIterator[Tails]:
    """Tails over the client, with the default limits."""
    tails = Tails(client)
    await tails.start()
    yield tails
    await tails.stop()
