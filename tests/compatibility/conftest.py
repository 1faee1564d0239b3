"""A worker on each log, with a scripted LLM behind it, for all cases of one module."""

from collections.abc import Iterator

import pytest

from tests.compatibility.paths import Lab, opened
from tests.e2e.conftest import STEADY, e2e_kafka, kafka_env
from tests.services.kafka import KafkaBroker

__all__ = ["e2e_kafka"]


@pytest.fixture(scope="module")
def lab_env() -> dict[str, str]:
    """Settings of the worker that a module's cases share; a module overrides it."""
    return {}


@pytest.fixture(scope="module", params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, rabbitmq_url: str, lab_env: dict[str, str]
) -> Iterator[Lab]:
    env = dict(lab_env)
    if request.param == "kafka":
        kafka: KafkaBroker = request.getfixturevalue("e2e_kafka")
        env = {**kafka_env(kafka), **STEADY, **env}
    with opened(tmp_path_factory.mktemp("lab"), rabbitmq_url, env) as lab:
        yield lab
