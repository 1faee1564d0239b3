"""Fixtures for tests against real brokers; a `conftest.py` takes them in with `pytest_plugins`.

A missing broker fails the test and does not skip it: a suite that silently leaves out its real brokers proves nothing.
"""

import os
from collections.abc import Iterator

import pytest

from tests.services import KAFKA_VARIABLE, RABBITMQ_VARIABLE
from tests.services.kafka import KafkaBroker


def address_from(variable: str) -> str:
    """The address in this environment variable."""
    address = os.environ.get(variable)
    if not address:
        pytest.fail(f"run `make test`, or set {variable}", pytrace=False)
    return address


@pytest.fixture(scope="session")
def kafka_bootstrap() -> str:
    """Bootstrap servers of the Kafka that all tests share: a test uses topic and group names of its own."""
    return address_from(KAFKA_VARIABLE)


@pytest.fixture(scope="session")
def rabbitmq_url() -> str:
    """The AMQP URL of the RabbitMQ that all tests share: a test uses queue names of its own."""
    return address_from(RABBITMQ_VARIABLE)


@pytest.fixture
def own_kafka() -> Iterator[KafkaBroker]:
    """A Kafka for one test alone, which may stop, restart or kill it; it costs three seconds."""
    with KafkaBroker() as broker:
        yield broker
