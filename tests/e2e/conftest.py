"""Workers on both brokers, and an upstream whose tokens are known beforehand."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from demo.model import serving
from tests.e2e.amqp import Desk, opened
from tests.e2e.workers import Worker
from tests.services.kafka import KafkaBroker

Start = Callable[..., Worker]


@pytest.fixture(scope="module")
def e2e_kafka() -> Iterator[KafkaBroker]:
    """A Kafka for the tests of one module: topics have fixed names, so groups would answer each other's requests."""
    with KafkaBroker() as broker:
        yield broker


@pytest.fixture
async def upstream() -> AsyncIterator[str]:
    async with serving() as url:
        yield url


@pytest.fixture(params=["embedded", "kafka"])
def broker(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment that chooses a broker."""
    if request.param == "embedded":
        return {}
    kafka: KafkaBroker = request.getfixturevalue("e2e_kafka")
    return kafka_env(kafka)


def kafka_env(kafka: KafkaBroker) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap,
        "KAFKA_REPLICATION_FACTOR": "1",
        "KAFKA_SESSION_TIMEOUT_S": "3",
        "LEASE_S": "2",
    }


STEADY = {"KAFKA_SESSION_TIMEOUT_S": "30"}  # of a worker that no test kills: it keeps its place on a busy machine


@pytest.fixture
async def make_worker(tmp_path: Path, upstream: str) -> AsyncIterator[Start]:
    """Makes workers that do not outlive the test."""
    made: list[Worker] = []

    def make(env: dict[str, str], **more: str) -> Worker:
        made.append(Worker(env={"OPENAI_URL": upstream, **env, **more}, folder=tmp_path))
        return made[-1]

    yield make
    for worker in made:
        await worker.close()


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def desk(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, rabbitmq_url: str) -> Iterator[Desk]:
    """A worker on each broker that takes requests from RabbitMQ, for the tests of one module."""
    env = {} if request.param == "embedded" else {**kafka_env(request.getfixturevalue("e2e_kafka")), **STEADY}
    with opened(tmp_path_factory.mktemp("desk"), rabbitmq_url, env) as desk:
        yield desk
