"""The main job on a Kafka that encrypts, wants a login, and gives the user only the rights of docs/security.md."""

import asyncio
import json
import re
import secrets
import shlex
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo.text import expected_content
from tests.e2e.amqp import demo_model
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.test_crash import GOES_ON, until

# All tests of that module, on the workers of this one.
from tests.e2e.test_openai_client import (  # noqa: F401 -- pytest finds them here
    test_a_client_that_leaves_does_not_end_the_answer,
    test_a_failed_request_fails_again_when_it_is_fetched,
    test_answers_equal_the_upstreams_token_for_token,
    test_any_worker_shows_a_request,
    test_errors_are_the_ones_the_upstream_would_raise,
    test_the_model_list_is_the_upstreams,
    test_the_same_uid_is_answered_once_and_another_body_is_a_conflict,
    test_thinking_is_told_apart_from_the_answer,
    test_tools_several_choices_logprobs_and_usage,
)
from tests.e2e.test_start import refusal
from tests.e2e.test_two_workers import taken_over
from tests.e2e.workers import FAUST, ROOT, Worker
from tests.services.kafka import KafkaBroker, Listener
from tests.unit.demo.helpers import Received, body_of, calls, hurry, streamed

LISTENER = Listener(protocol="SASL_SSL")
SHORT = Listener(protocol="SASL_SSL", login_s=3.0)  # as managed Kafkas have it, where the time is longer
PASSWORD, WRONG, OPERATORS = (secrets.token_urlsafe(12) for _ in range(3))
DAY_MS = 86_400_000
SEED_TOPICS = {
    # topic: partitions, days
    "ai-feedback-events": (6, 7),
    "ai-learning-signals": (3, 7),
    "ai-insights": (3, 7),
    "agent-thinking-events": (6, 7),
    "agent-decision-events": (6, 7),
    "agent-trace-events": (6, 7),
    "agent-metrics-events": (3, 7),
    "query-lineage-events": (3, 30),
    "audit-events": (6, 90),
}


def env(kafka: KafkaBroker, listener: Listener = LISTENER) -> dict[str, str]:
    return {
        **kafka_env(kafka),
        "KAFKA_BOOTSTRAP_SERVERS": kafka.address(listener),
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": "weir",
        "KAFKA_SASL_PASSWORD": PASSWORD,
        "KAFKA_SSL_CAFILE": str(kafka.ca_file),
    }


def documented_acls() -> list[list[str]]:
    """The arguments of the kafka-acls commands in docs/security.md, without the addresses and the user."""
    page = (ROOT / "docs" / "security.md").read_text().replace("\\\n", " ")
    commands = [shlex.split(line) for line in page.splitlines() if line.startswith("kafka-acls ")]
    begin = ["kafka-acls", "--bootstrap-server", "$KAFKA", "--command-config", "admin.properties"]
    begin += ["--add", "--allow-principal", "User:weir"]
    assert commands
    assert all(command[: len(begin)] == begin for command in commands)
    return [command[len(begin) :] for command in commands]


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaBroker]:
    users = {"weir": PASSWORD, "operator": OPERATORS}
    with KafkaBroker(listeners=[LISTENER], users=users, trusted=["operator"]) as broker:
        for arguments in documented_acls():
            broker.allow("weir", *arguments)
        yield broker


@dataclass
class Pair:
    """Two workers for all tests, and their LLM."""

    workers: list[Worker]
    upstream: str


@pytest.fixture(scope="module")
def pair(kafka: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("secured")
    with demo_model(folder / "demo.log") as upstream:
        workers = [Worker(env={**env(kafka), "OPENAI_URL": upstream}, folder=folder) for _ in range(2)]
        try:
            for worker in workers:
                worker.launch()
            for worker in workers:
                asyncio.run(worker.up())
            yield Pair(workers, upstream)
            for worker in workers:
                log = worker.log.read_text()
                assert PASSWORD not in log
                assert not re.search("ACL|authoriz", log)
        finally:
            for worker in workers:
                worker.kill()


@pytest.fixture
async def workers(pair: Pair) -> AsyncIterator[list[Worker]]:
    yield pair.workers
    for worker in pair.workers:
        await worker.disconnect()


@pytest.fixture
def upstream(pair: Pair) -> str:
    return pair.upstream


async def test_the_other_worker_ends_what_a_killed_one_began(workers: list[Worker], upstream: str) -> None:
    first, second = workers
    await taken_over(first, second, upstream)
    await first.start()


async def test_topics_have_the_partitions_and_the_retention_that_they_are_to_have(
    kafka: KafkaBroker, workers: list[Worker]
) -> None:
    assert workers
    config = ["--command-config", str(kafka.client_properties(LISTENER, "operator"))]
    where = ["--bootstrap-server", kafka.address(LISTENER), *config]
    told = await asyncio.to_thread(kafka.tool, "org.apache.kafka.tools.TopicCommand", *where, "--describe")
    found: dict[str, tuple[int, int, int]] = {}
    for line in told.splitlines():
        if match := re.match(r"Topic: (\S+)\s.*PartitionCount: (\d+)\s+ReplicationFactor: (\d+)", line):
            retention = re.search(r"retention\.ms=(\d+)", line)
            found[match[1]] = (int(match[2]), int(match[3]), int(retention[1]) if retention else 0)
    expected = {topic: (partitions, 1, days * DAY_MS) for topic, (partitions, days) in SEED_TOPICS.items()}
    assert {topic: found.get(topic) for topic in SEED_TOPICS} == expected


async def faust(arguments: list[str], given: dict[str, str], folder: Path) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(
        subprocess.run,
        [str(FAUST), "-A", "app", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "WEIR_DATA_DIR": str(folder), **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def test_commands_log_in_too_and_say_in_one_line_why_they_cannot(
    kafka: KafkaBroker, workers: list[Worker], tmp_path: Path
) -> None:
    assert workers
    send = ["send", "--partition", "2", "audit-events", "{}"]
    done, refused = await asyncio.gather(
        faust(send, env(kafka), tmp_path), faust(send, {**env(kafka), "KAFKA_SASL_PASSWORD": WRONG}, tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["topic_partition"] == ["audit-events", 2]
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith(f"weir: Kafka at {kafka.address(LISTENER)} does not let in KAFKA_SASL_USERNAME=weir")
    assert WRONG not in refused.stdout + refused.stderr


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("KAFKA_SASL_PASSWORD", WRONG, "does not let in KAFKA_SASL_USERNAME=weir"),
        ("KAFKA_SSL_CAFILE", "", "KAFKA_SSL_CAFILE"),
    ],
    ids=["a wrong password", "no CA"],
)
async def test_a_worker_that_is_not_let_in_ends_at_once_with_one_line(
    kafka: KafkaBroker, make_worker: Start, name: str, value: str, says: str
) -> None:
    worker = make_worker(env(kafka), **{name: value})
    started = time.monotonic()
    line = await refusal(worker)
    assert time.monotonic() - started < 30  # KAFKA_START_WAIT_S, which is for brokers that are not there yet
    assert line.startswith(f"weir: Kafka at {kafka.address(LISTENER)} ")
    assert says in line
    log = worker.log.read_text()
    assert not [secret for secret in (PASSWORD, WRONG) if secret in log]
    assert not [line for line in log.splitlines() if "[ERROR]" in line or "[WARNING]" in line]


def lines_since(log: Path, start: str, end: str) -> list[str]:
    """The lines of a log from the first with one text up to the first with another one after it."""
    lines = log.read_text().splitlines()
    first = next(n for n, line in enumerate(lines) if start in line)
    last = next((n for n in range(first, len(lines)) if end in lines[n]), len(lines))
    return lines[first:last]


async def test_a_password_that_is_changed_under_a_worker_costs_time_and_nothing_else(
    make_worker: Start, tmp_path: Path
) -> None:
    """Its logins last three seconds, so it is soon refused; with the right password it goes on where it was."""
    with KafkaBroker(listeners=[SHORT], users={"weir": PASSWORD}) as own, demo_model(tmp_path / "demo.log") as llm:
        worker = await make_worker(env(own, SHORT), OPENAI_URL=llm, SSE_HEARTBEAT_S="2").start()
        bodies = [body_of(f"demo:{GOES_ON}", f"changed {n}", uid=f"changed-{n}") for n in range(10)]
        received = [Received() for _ in bodies]
        streams = [
            asyncio.create_task(streamed(worker.client(), body, into))
            for body, into in zip(bodies, received, strict=True)
        ]
        await until(lambda: all(into.chunks for into in received))
        await asyncio.to_thread(own.set_password, "weir", WRONG)
        outside = "does not let in KAFKA_SASL_USERNAME=weir"
        await until(lambda: outside in worker.log.read_text())
        since = time.monotonic()
        await asyncio.sleep(2)
        await asyncio.to_thread(own.set_password, "weir", PASSWORD)
        await until(lambda: "accepts connections again" in worker.log.read_text())
        outside_s = time.monotonic() - since
        told = lines_since(worker.log, outside, "accepts connections again")
        assert len(told) <= 1 + outside_s / 5, "\n".join(told)
        assert not any(stream.done() for stream in streams)  # all of it came in the middle
        await hurry(llm)
        await asyncio.gather(*streams)
        for body, into in zip(bodies, received, strict=True):
            assert "".join(into.deltas("content")) == expected_content(body)
        by_key: Any = (await calls(llm))["by_key"]
        assert {by_key[f"changed {n}"] for n in range(10)} == {1}
        assert not [secret for secret in (PASSWORD, WRONG) if secret in worker.log.read_text()]
        assert 0 < own.log.read_text().count("Failed authentication") < 10 + outside_s / 2
        assert await worker.stop() == 0
