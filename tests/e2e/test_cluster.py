"""Three brokers, of which one is down, hangs or comes back: workers start all the same, or wait and say why.

The tests share a cluster, which is whole at the start of each.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from demo.text import expected_content
from tests.contracts.logs import new_name
from tests.e2e.conftest import Start
from tests.e2e.test_start import refusal
from tests.e2e.workers import Worker
from tests.services.kafka import KafkaBroker, KafkaCluster, broker_count
from tests.unit.demo.helpers import body_of, streamed
from weir import topics

pytestmark = pytest.mark.kafka

WITHIN_S = 90.0


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A cluster with the topics that a first worker has created."""
    with KafkaCluster() as cluster:
        first = Worker(env=env_of(cluster), folder=tmp_path_factory.mktemp("first"))
        try:
            asyncio.run(first.start())
        finally:
            first.kill()
        yield cluster


@pytest.fixture
async def cluster(three: KafkaCluster) -> KafkaCluster:
    for broker in three.brokers:
        broker.go_on()
    three.start()
    for broker in three.brokers:
        await until_whole(three, broker)
    return three


def env_of(cluster: KafkaCluster, **more: str) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
        "KAFKA_CONSUMER_GROUP": "known",
        "KAFKA_SESSION_TIMEOUT_S": "3",
        "KAFKA_START_WAIT_S": "60",
        **more,
    }


async def admin_of(cluster: KafkaCluster) -> AIOKafkaAdminClient:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    await admin.start()
    return admin


async def until_whole(cluster: KafkaCluster, broker: KafkaBroker) -> None:
    """Wait until a broker knows that all brokers are up."""
    port = int(broker.bootstrap.rpartition(":")[2])
    async with asyncio.timeout(WITHIN_S):
        while await asyncio.to_thread(broker_count, port, 10.0) < len(cluster.brokers):
            await asyncio.sleep(0.2)


async def known_down(cluster: KafkaCluster, down: KafkaBroker) -> None:
    """Wait until another broker has noticed that this one is down."""
    other = next(broker for broker in cluster.brokers if broker is not down)
    port = int(other.bootstrap.rpartition(":")[2])
    async with asyncio.timeout(WITHIN_S):
        while await asyncio.to_thread(broker_count, port, 10.0) == len(cluster.brokers):
            await asyncio.sleep(0.2)


async def says(worker: Worker, text: str) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not worker.log.exists() or text not in worker.log.read_text():
            await asyncio.sleep(0.1)


async def is_served(worker: Worker, text: str) -> None:
    """A request is answered, if not at once (503), and the log has no traceback."""
    body = body_of("demo:tokens=5", text, uid=text.replace(" ", "-"))
    async with asyncio.timeout(WITHIN_S):
        while True:
            with contextlib.suppress(openai.InternalServerError):
                received = await streamed(worker.client(), body)
                break
    assert "".join(received.deltas("content")) == expected_content(body)
    assert "Traceback" not in worker.log.read_text(), worker.log_end()


async def test_topics_that_are_missing_wait_for_the_broker_that_is_down(
    cluster: KafkaCluster, make_worker: Start
) -> None:
    """Another replication would be the wrong advice: the cluster has three brokers."""
    down = cluster.brokers[2]
    await asyncio.to_thread(down.kill)
    await known_down(cluster, down)
    new = {"KAFKA_TOPIC_PREFIX": f"{new_name()}."}  # an installation whose topics are to be made
    line = await refusal(make_worker(env_of(cluster, KAFKA_START_WAIT_S="1", **new)))
    assert "Kafka has 2 broker(s), but replication 3 was asked for" in line
    assert "broker 3 is down" in line
    assert "KAFKA_REPLICATION_FACTOR" not in line
    worker = make_worker(env_of(cluster, **new))
    worker.launch()
    await says(worker, "broker 3 is down")
    await asyncio.to_thread(down.start)
    await worker.up()
    await is_served(worker, "waited")


async def test_what_was_written_is_on_two_brokers(cluster: KafkaCluster, make_worker: Start) -> None:
    env = env_of(cluster)
    worker = await make_worker(env).start()
    await is_served(worker, "copied")
    admin: Any = await admin_of(cluster)
    made = [name for name in await admin.list_topics() if name.startswith(env["KAFKA_CONSUMER_GROUP"])]
    names = [*(topic.name for topic in topics.TOPICS), *made]
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names])
    await admin.close()
    found = {name: dict(entry[:2] for entry in entries) for _, _, _, name, entries in answer.resources}
    assert {name: config["min.insync.replicas"] for name, config in found.items()} == dict.fromkeys(names, "2")
    assert any(name.endswith("-changelog") for name in made)
    assert all(found[name]["cleanup.policy"] == "compact" for name in made if name.endswith("-changelog"))


@pytest.mark.parametrize("number", range(3))
async def test_a_worker_starts_right_after_the_death_of_a_broker(
    cluster: KafkaCluster, make_worker: Start, number: int
) -> None:
    """Its leader, its controller, its coordinator: for seconds, clients are sent to a broker that is gone."""
    await asyncio.to_thread(cluster.brokers[number].kill)
    worker = await make_worker(env_of(cluster)).start()
    await is_served(worker, f"without {number}")


@pytest.mark.parametrize("number", range(2))
async def test_a_worker_starts_while_a_broker_hangs(cluster: KafkaCluster, make_worker: Start, number: int) -> None:
    cluster.brokers[number].pause()  # the next test lets it go on
    worker = await make_worker(env_of(cluster)).start()
    await is_served(worker, f"while {number} hangs")


async def test_a_partition_without_a_leader_is_waited_for_and_named(cluster: KafkaCluster, make_worker: Start) -> None:
    new, only = {"KAFKA_TOPIC_PREFIX": f"{new_name()}."}, cluster.brokers[1]
    alone = f"{new['KAFKA_TOPIC_PREFIX']}known-__assignor-__leader"
    admin: Any = await admin_of(cluster)
    (error,) = (await admin.create_topics([NewTopic(alone, -1, -1, replica_assignments={0: [2]})])).topic_errors
    await admin.close()
    assert error[1] == 0, error
    worker = await make_worker(env_of(cluster, **new)).start()
    await worker.stop()
    await asyncio.to_thread(only.kill)
    await known_down(cluster, only)
    line = await refusal(make_worker(env_of(cluster, KAFKA_START_WAIT_S="1", **new)))
    assert f"topic {alone} has no leader for partition 0; the copies are on broker 2" in line
    worker.launch()
    await says(worker, "has no leader for partition")
    await asyncio.to_thread(only.start)
    await worker.up()
    await is_served(worker, "led again")
