"""Commands of an installation with a prefix and a number of partitions of its own."""

from pathlib import Path

import orjson
import pytest

from tests.e2e.commands import ran
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.test_installations import answered
from tests.services.kafka import KafkaBroker

QUESTIONS = 8


@pytest.mark.kafka
async def test_commands_see_the_topics_of_their_installation(
    e2e_kafka: KafkaBroker, make_worker: Start, tmp_path: Path
) -> None:
    env = kafka_env(e2e_kafka) | {"KAFKA_TOPIC_PREFIX": "team-a.", "CHAT_PARTITIONS": "13"}
    worker = await make_worker(env).start()
    uids = {await answered(worker, f"question {n}") for n in range(QUESTIONS)}
    file = tmp_path / "requests.jsonl"
    await ran(worker, "export", "chat-requests", "--from", "earliest", "--output", str(file))
    exported = [orjson.loads(line) for line in file.read_bytes().splitlines()]
    assert "team-a." not in file.read_text()
    assert {uid for uid in uids if any(uid in str(one) for one in exported)} == uids
    for table in ("terminals", "requests", "feedback", "prompts", "quality"):
        assert "no difference" in await ran(worker, "replay", "table", table, "--verify")
    report = await ran(worker, "replay", "requests", "--from", "earliest", "--json")
    assert orjson.loads(report)["compared"] == QUESTIONS, report
    assert "no difference" in await ran(worker, "replay", "table", "terminals", "--verify")
