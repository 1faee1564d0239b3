"""Several installations on one Kafka: each has its own topics, and one that would use another's does not start."""

import asyncio
import re
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from demo.text import expected_content
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.test_crash import ended, uid_of
from tests.e2e.workers import DOWN_WITHIN_S, Worker, get_json
from tests.services.kafka import KafkaBroker
from tests.unit.demo.helpers import body_of, calls, streamed
from weir.log.kafka.client import KafkaLog
from weir.log.log import TopicSpec

FOREIGN = re.compile(
    r"weir: workers of the consumer group (\S+) process the requests of topic (\S+), and this worker's"
)


async def refused(worker: Worker) -> str:
    """The one line of a worker that does not start."""
    worker.launch()
    assert worker.process is not None
    assert await asyncio.to_thread(worker.process.wait, DOWN_WITHIN_S) == 1, worker.log_end()
    assert "Traceback" not in worker.log.read_text()
    return worker.log.read_text().splitlines()[-1]


async def says(worker: Worker, text: str, *, within_s: float = 60.0) -> None:
    async with asyncio.timeout(within_s):
        while text not in worker.log.read_text():
            await asyncio.sleep(0.1)


async def answered(worker: Worker, prompt: str) -> str:
    """Ask, and wait for the answer and its row; returns the uid."""
    body = body_of("demo:tokens=5", prompt)
    received = await streamed(worker.client(), body)
    assert "".join(received.deltas("content")) == expected_content(body)
    uid = uid_of(received)
    assert (await ended(worker, uid))["state"] == "completed"
    return uid


async def text_of(url: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return await answer.text()


@pytest.mark.kafka
async def test_installations_with_prefixes_of_their_own_share_a_cluster_and_nothing_else(
    e2e_kafka: KafkaBroker, make_worker: Start, upstream: str
) -> None:
    """Also after a kill, when the tables come from changelogs whose names have the prefix."""
    workers = [make_worker(kafka_env(e2e_kafka), KAFKA_TOPIC_PREFIX=prefix) for prefix in ("team-a.", "chat-")]
    for worker in workers:
        worker.launch()
    await asyncio.gather(*(worker.up() for worker in workers))
    uids = [await answered(worker, f"of {n}") for n, worker in enumerate(workers)]
    for uid, worker in zip(reversed(uids), workers, strict=True):
        await get_json(f"{worker.url}/requests/{uid}", until=404)
    by_key: Any = (await calls(upstream))["by_key"]
    assert (by_key["of 0"], by_key["of 1"]) == (1, 1)
    metrics = await text_of(f"{workers[0].url}/metrics")
    assert 'topic="chat-requests"' in metrics
    assert 'topic="weir-terminals-changelog"' in metrics
    assert "team-a." not in metrics
    workers[0].kill()
    await workers[0].start()
    assert (await get_json(f"{workers[0].url}/requests/{uids[0]}"))["state"] == "completed"


@pytest.mark.kafka
async def test_workers_of_another_group_do_not_start_while_there_are_any_and_analytics_do_not_matter(
    e2e_kafka: KafkaBroker, make_worker: Start
) -> None:
    env = kafka_env(e2e_kafka) | {"KAFKA_TOPIC_PREFIX": "taken."}
    first, other = make_worker(env), make_worker(env, KAFKA_CONSUMER_GROUP="other")
    await first.start()
    analytics = AIOKafkaConsumer("taken.chat-requests", bootstrap_servers=e2e_kafka.bootstrap, group_id="analytics")
    await analytics.start()
    try:
        line = await refused(other)
        found = FOREIGN.match(line)
        assert found, line
        assert found.groups() == ("taken.weir", "taken.chat-requests")
        assert "KAFKA_TOPIC_PREFIX" in line
        await answered(first, "still there")
        assert await first.stop() == 0
        await other.start()  # the first one's group has only offsets now, and the analytics group answers no request
        await answered(other, "of the other")
    finally:
        await analytics.stop()


@pytest.mark.kafka
async def test_of_two_groups_that_start_at_the_same_time_one_stays(e2e_kafka: KafkaBroker, make_worker: Start) -> None:
    env = kafka_env(e2e_kafka) | {"KAFKA_TOPIC_PREFIX": "race."}
    workers = [make_worker(env, KAFKA_CONSUMER_GROUP=group) for group in ("one", "two")]
    for worker in workers:
        worker.launch()
    async with asyncio.timeout(90):
        while all(worker.process and worker.process.poll() is None for worker in workers):
            await asyncio.sleep(0.2)
    (stopped,) = [worker for worker in workers if worker.process and worker.process.poll() is not None]
    assert FOREIGN.match(stopped.log.read_text().splitlines()[-1]), stopped.log_end()
    (stayed,) = [worker for worker in workers if worker is not stopped]
    await stayed.up()
    await answered(stayed, "alone")


@pytest.mark.kafka
async def test_a_worker_for_which_no_partition_is_left_says_so_and_gets_one_when_another_stops(
    e2e_kafka: KafkaBroker, make_worker: Start
) -> None:
    env = kafka_env(e2e_kafka) | {"KAFKA_TOPIC_PREFIX": "narrow.", "CHAT_PARTITIONS": "1"}
    first, second = make_worker(env), make_worker(env)
    await first.start()
    await second.start()
    told: dict[int, Worker] = {}
    async with asyncio.timeout(60):
        while set(told) != {0, 1}:
            told = {int(str((await get_json(f"{one.url}/ping"))["partitions"])): one for one in (first, second)}
            await asyncio.sleep(0.2)
    idle, busy = told[0], told[1]
    await says(idle, "has none of the 1 partitions of chat-requests")
    assert "has none of" not in busy.log.read_text()
    await answered(idle, "asked where nothing is generated")
    assert await busy.stop() == 0
    await says(idle, "has 1 of 1 partitions again")
    await answered(idle, "asked where it is")


@pytest.mark.parametrize("count", ["1", "13"])
async def test_another_number_of_partitions_is_chosen_once(
    broker: dict[str, str], make_worker: Start, count: str
) -> None:
    env = broker | {"KAFKA_TOPIC_PREFIX": f"count-{count}."}
    worker = await make_worker(env, CHAT_PARTITIONS=count).start()
    uids = [await answered(worker, f"{count} {n}") for n in range(8)]
    listed: set[str] = set()
    async with asyncio.timeout(30):
        while listed < set(uids):  # its trace events are folded a little later
            found: Any = await get_json(f"{worker.url}/requests")
            listed = {row["uid"] for row in found["requests"]}
    assert await worker.stop() == 0
    line = await refused(make_worker(env, CHAT_PARTITIONS="6"))
    prefix, anew = (f"count-{count}.", "KAFKA_TOPIC_PREFIX") if broker else ("", "WEIR_DATA_DIR")
    assert line == (
        f"weir: topic {prefix}chat-requests has {count} partitions, and CHAT_PARTITIONS is 6: keys are shared out by "
        f"it, so it is chosen once. Set CHAT_PARTITIONS={count}, or begin with new topics under another {anew}"
    )


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("name", "partitions", "told"),
    [
        ("ai-insights", 4, "topic odd-0.ai-insights has 4 partitions, and it must have 3"),
        (
            "weir-terminals-changelog",
            5,
            "topic odd-1.weir-terminals-changelog has 5 partitions, and CHAT_PARTITIONS is 6",
        ),
        ("weir-quality-changelog", 6, "topic odd-2.weir-quality-changelog has 6 partitions, and it must have 3"),
    ],
)
async def test_each_topic_and_each_changelog_must_fit(
    e2e_kafka: KafkaBroker, make_worker: Start, name: str, partitions: int, told: str
) -> None:
    prefix = told.split()[1].partition(".")[0] + "."
    log = KafkaLog(e2e_kafka.bootstrap, prefix=prefix)
    await log.start()
    await log.create_topics([TopicSpec(name=name, partitions=partitions)], replication=1)
    await log.stop()
    line = await refused(make_worker(kafka_env(e2e_kafka), KAFKA_TOPIC_PREFIX=prefix))
    assert line.startswith(f"weir: {told}"), line


@pytest.mark.kafka
@pytest.mark.parametrize(("retention_s", "starts"), [(86400.0, True), (600.0, False)])
async def test_retention_that_an_operator_has_set_is_kept_and_told_and_must_outlast_answers(
    e2e_kafka: KafkaBroker, make_worker: Start, retention_s: float, starts: bool
) -> None:
    prefix = f"kept-{retention_s:g}."
    admin = AIOKafkaAdminClient(bootstrap_servers=e2e_kafka.bootstrap)
    await admin.start()
    kept = {"retention.ms": f"{retention_s * 1000:.0f}"}
    await admin.create_topics([NewTopic(f"{prefix}chat-chunks", 6, 1, topic_configs=kept)])
    await admin.close()
    worker = make_worker(kafka_env(e2e_kafka), KAFKA_TOPIC_PREFIX=prefix)
    if starts:
        await worker.start()
        await says(worker, f"{prefix}chat-chunks 1 d (RETENTION_REQUESTS_S is 7 d)")
        assert worker.log.read_text().count("retention.ms of existing topics") == 1
    else:
        line = await refused(worker)
        assert line.startswith(f"weir: topic {prefix}chat-chunks keeps answers for 600 s"), line
