"""Every path of a worker whose topics were created by Kafka, before the worker started."""

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka.admin import NewTopic

from tests.compatibility.paths import Lab, PathName, opened
from tests.compatibility.record_sizes import SHEET, SizeCase
from tests.compatibility.upstream import chunk, said
from tests.contracts.logs import OnKafka
from tests.defaults import SPECS
from tests.e2e.conftest import kafka_env
from tests.services.kafka import KafkaBroker

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning"),  # aiohttp; this loop only waits for it
]

DOORS: tuple[PathName, ...] = ("stream", "json", "rabbitmq", "rabbitmq-whole")


async def create_as_kafka_does(broker: KafkaBroker) -> None:
    async with OnKafka(broker.bootstrap).admin() as admin:
        await admin.create_topics([NewTopic(spec.name, spec.partitions, 1) for spec in SPECS])


@pytest.fixture(scope="module")
def small_topics(e2e_kafka: KafkaBroker, tmp_path_factory: pytest.TempPathFactory, rabbitmq_url: str) -> Iterator[Lab]:
    asyncio.run(create_as_kafka_does(e2e_kafka))
    with opened(tmp_path_factory.mktemp("lab"), rabbitmq_url, kafka_env(e2e_kafka)) as lab:
        yield lab


@SHEET.parametrize()
async def test_what_a_topic_does_not_take_is_told_at_once(small_topics: Lab, case: SizeCase) -> None:
    lab = small_topics
    contents = [chunk({"content": content}) for content in case.chunks]
    lab.upstream.play(case.id, said(*contents, chunk(finish_reason="stop")))
    only = DOORS if case.text is None else None
    messages = [{"role": "user", "content": case.request}]
    for path, heard in (await lab.ask_everywhere(case.id, only, messages=messages)).items():
        assert (heard.error or {}).get("code") == case.error, path
        if case.text is not None and (case.error is None or path in {"stream", "again", "rabbitmq"}):
            assert heard.text == case.text, path
        if case.text is None and not path.startswith("rabbitmq"):
            assert heard.status == 413, path
    assert len(lab.upstream.calls(case.id)) == (0 if case.text is None else len(DOORS))


def test_the_worker_says_at_its_start_that_it_takes_less_than_its_settings_say(small_topics: Lab) -> None:
    log = small_topics.worker.log.read_text()
    assert "chat-requests takes records of 1048588 bytes (max.message.bytes)" in log
    assert "Traceback" not in log
