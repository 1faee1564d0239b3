"""A changelog that ends with the marker of a transaction, which no reader gets: a worker starts all the same."""

from aiokafka import AIOKafkaProducer

from tests.defaults import CHAT_PARTITIONS, SETTINGS
from tests.e2e.conftest import Start, kafka_env
from tests.e2e.workers import get_json
from tests.services.kafka import KafkaBroker
from tests.unit.demo.helpers import body_of, streamed


async def test_a_worker_reads_its_tables_back_to_the_marker_of_a_transaction(
    e2e_kafka: KafkaBroker, make_worker: Start
) -> None:
    worker = await make_worker(kafka_env(e2e_kafka)).start()
    await streamed(worker.client(), body_of("demo:tokens=5", "before", uid="before"))
    assert await worker.stop() == 0
    topic = f"{SETTINGS.kafka_consumer_group}-terminals-changelog"
    async with AIOKafkaProducer(bootstrap_servers=e2e_kafka.bootstrap, transactional_id="another-program") as producer:
        for number in range(CHAT_PARTITIONS):
            async with producer.transaction():
                await producer.send_and_wait(topic, b"{}", key=b"k", partition=number)
    await worker.start()
    await streamed(worker.client(), body_of("demo:tokens=5", "after", uid="after"))
    assert (await get_json(f"{worker.url}/v1/chat/completions/before"))["choices"]
    assert "recovery starts anew" not in worker.log.read_text()
    assert await worker.stop() == 0
