"""A worker that cannot start says why in one line; one without an LLM starts, and its requests fail clearly."""

import asyncio
from typing import Any

import openai
import pytest

from tests.e2e.conftest import Start, kafka_env
from tests.e2e.workers import Worker
from tests.services.kafka import KafkaBroker
from tests.services.process import free_ports
from tests.unit.demo.helpers import body_of


async def refusal(worker: Worker) -> str:
    """The last line of a worker that does not start."""
    worker.launch()
    assert worker.process is not None
    code = await asyncio.to_thread(worker.process.wait, 60)
    assert code not in (0, None)
    log = worker.log.read_text()
    assert "Traceback" not in log
    return log.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("RESTAPI_PORT", "eighty", "RESTAPI_PORT is 'eighty'; allowed: "),
        ("KAFKA_SECURITY_PROTOCOL", "TLS", "KAFKA_SECURITY_PROTOCOL is 'TLS'; allowed: 'PLAINTEXT', 'SSL'"),
        ("KAFKA_SECURITY_PROTOCOL", "SASL_SSL", "KAFKA_SASL_MECHANISM is not set"),
        ("KAFKA_SSL_CAFILE", "no-such-file", "KAFKA_SSL_CAFILE is 'no-such-file'; allowed: a regular file that exists"),
        ("WEIR_DATA_DIR", "/proc/weir", "WEIR_DATA_DIR=/proc/weir cannot be made"),
    ],
)
async def test_a_bad_value_stops_the_start_with_one_line(make_worker: Start, name: str, value: str, says: str) -> None:
    line = await refusal(make_worker({name: value}))
    assert line.startswith("weir: ")
    assert says in line


async def test_a_second_worker_on_the_embedded_log_is_told_about_kafka(make_worker: Start) -> None:
    first = await make_worker({}).start()
    line = await refusal(make_worker({}))
    assert "already has a worker" in line
    assert "KAFKA_BOOTSTRAP_SERVERS" in line
    assert (await first.client().models.list()).data


async def test_a_port_that_is_taken_is_named(make_worker: Start, tmp_path: Any) -> None:
    first = await make_worker({}).start()
    second = make_worker({}, WEIR_DATA_DIR=str(tmp_path / "other"))
    second.port = first.port
    assert f"cannot listen on RESTAPI_PORT={first.port}" in await refusal(second)


async def test_a_kafka_that_is_not_there_is_waited_for_and_then_named(make_worker: Start) -> None:
    (port,) = free_ports(1)
    env = {"KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}", "KAFKA_START_WAIT_S": "1"}
    worker = make_worker(env)
    assert f"127.0.0.1:{port}" in await refusal(worker)
    assert "waiting for the log" in worker.log.read_text()


@pytest.mark.parametrize("some_exist", [False, True], ids=["none", "some"])
async def test_fewer_brokers_than_copies_asked_for_are_waited_for_and_told_clearly(
    make_worker: Start, own_kafka: KafkaBroker, *, some_exist: bool
) -> None:
    """Also where all of Weir's own topics exist, and only the engine's are missing."""
    env = {**kafka_env(own_kafka), "KAFKA_START_WAIT_S": "1"}
    if some_exist:
        first = await make_worker(env, KAFKA_CONSUMER_GROUP="another").start()
        await first.stop()
    worker = make_worker(env, KAFKA_REPLICATION_FACTOR="3")
    line = await refusal(worker)
    assert line.startswith("weir: Kafka has 1 broker(s), but replication 3 was asked for topic ")
    assert "set KAFKA_REPLICATION_FACTOR" in line
    assert "waiting for the log" in worker.log.read_text()


async def test_a_worker_never_replaces_a_missing_llm(make_worker: Start) -> None:
    (port,) = free_ports(1)
    worker = await make_worker({"OPENAI_URL": f"http://127.0.0.1:{port}/v1", "UPSTREAM_RETRIES": "0"}).start()
    for stream in (True, False):
        with pytest.raises(openai.InternalServerError) as raised:
            await worker.client().chat.completions.create(
                model="", messages=[], extra_body=body_of("demo", stream=stream)
            )
        assert raised.value.status_code == 502
        assert raised.value.code == "upstream_unreachable"
