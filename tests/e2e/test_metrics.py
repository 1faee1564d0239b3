"""GET /metrics of real workers shows their work, on both brokers, and Prometheus' own tool accepts it."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import Start
from tests.e2e.test_crash import until
from tests.e2e.workers import Worker
from tests.services.kafka import KafkaBroker
from tests.services.promtool import check
from tests.unit.demo.helpers import Received, body_of, streamed
from weir.telemetry import metrics
from weir.version import read_version

ALERTS = Path(__file__).parents[2] / "docs" / "alerts.yml"
REQUESTS = 5

Samples = dict[str, dict[frozenset[tuple[str, str]], float]]


async def scrape(worker: Worker) -> Samples:
    """Samples by name and labels."""
    async with aiohttp.ClientSession() as session, session.get(f"{worker.url}/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        text = await answer.text()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def one(samples: Samples, name: str, **labels: str) -> float:
    return samples.get(name, {}).get(frozenset(labels.items()), 0.0)


def lag(samples: Samples, topic: str) -> dict[str, float]:
    """The lag by partition."""
    labelled = {tuple(sorted(labels)): value for labels, value in samples.get("ai_kafka_consumer_lag", {}).items()}
    return {at[0][1]: value for at, value in labelled.items() if at[1] == ("topic", topic)}


async def seen(look: Callable[[], Awaitable[Any]], *, within_s: float = 20.0) -> None:
    """Look until the result is as expected: commits come once a second."""
    async with asyncio.timeout(within_s):
        while not await look():
            await asyncio.sleep(0.2)


async def test_what_was_done_is_counted_and_an_idle_group_has_no_lag(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker = await make_worker(broker).start()
    before = await scrape(worker)
    for n in range(REQUESTS):
        await streamed(worker.client(), body_of("demo", f"metric {n}", uid=f"metric-{n}"))
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{worker.url}/v1/chat/completions", json={}) as refused:
            assert refused.status == 400
        async with session.get(f"{worker.url}/requests/metric-0") as row:
            assert row.status in {200, 404}
        async with session.get(f"{worker.url}/no/such/path/as/{'x' * 50}") as unknown:
            assert unknown.status == 404

    async def settled() -> bool:
        lags = lag(await scrape(worker), "chat-requests")
        return len(lags) == 6 and not any(lags.values())

    await seen(settled)
    after = await scrape(worker)

    def grown(name: str, **labels: str) -> float:
        return one(after, name, **labels) - one(before, name, **labels)

    for topic, least in (("chat-requests", REQUESTS), ("chat-chunks", 3 * REQUESTS), ("agent-trace-events", REQUESTS)):
        produced = grown("ai_kafka_messages_produced_total", topic=topic)
        assert produced >= least
        assert grown("ai_kafka_produce_latency_seconds_count", topic=topic) == produced
        assert 0 < grown("ai_kafka_produce_latency_seconds_sum", topic=topic) < 60
        assert grown("ai_kafka_messages_consumed_total", topic=topic) >= least
    assert grown("ai_kafka_messages_produced_total", topic="chat-requests") == REQUESTS
    assert grown("ai_kafka_messages_produced_total", topic="weir-terminals-changelog") == REQUESTS  # Faust's producer
    assert grown("ai_kafka_messages_produced_total", topic="ai-insights") == 0
    assert grown("weir_requests_accepted_total", ingress="http") == REQUESTS
    assert grown("weir_requests_refused_total", ingress="http", error_code="missing_required") == 1
    chat = {"method": "POST", "route": "/v1/chat/completions"}
    assert grown("weir_http_requests_total", **chat, status="200") == REQUESTS
    assert grown("weir_http_requests_total", **chat, status="400") == 1
    assert grown("weir_http_request_duration_seconds_count", **chat) == REQUESTS + 1
    assert grown("weir_http_requests_total", method="GET", route="other", status="404") == 1
    assert grown("weir_attempts_total", traffic="live", mark="begin") == REQUESTS
    assert grown("weir_request_queue_time_seconds_count", traffic="live") == REQUESTS
    well = {"traffic": "live", "model": "demo", "status": "completed", "error_code": ""}
    assert one(after, "weir_requests_ended_total", **well) == REQUESTS
    for name in ("time_to_first_token", "request_duration"):
        assert one(after, f"weir_{name}_seconds_count", traffic="live", model="demo") == REQUESTS
    assert one(after, "weir_tokens_total", traffic="live", model="demo", kind="output") > REQUESTS
    assert one(after, "weir_cost_usd_total", traffic="live", model="demo") > 0
    assert one(after, "weir_requests_in_flight") == one(after, "weir_streams_open") == 0
    assert one(after, "weir_assigned_partitions", topic="chat-requests") == 6
    assert one(after, "weir_rebalances_total") >= 1
    assert one(after, "weir_table_rows", table="terminals") == REQUESTS
    assert one(after, "weir_event_loop_delay_seconds_count") > 0
    assert one(after, "process_resident_memory_bytes") > 0


async def test_a_worker_says_which_weir_it_is_in_its_view_and_in_its_metrics(make_worker: Start) -> None:
    worker = await make_worker({}, WEIR_COMMIT="0123abc").start()
    async with aiohttp.ClientSession() as session, session.get(f"{worker.url}/version") as answer:
        assert answer.status == 200
        told = await answer.json()
    assert told == read_version({"WEIR_COMMIT": "0123abc"}).as_json()
    del told["name"]
    assert one(await scrape(worker), "weir_build_info", **told) == 1


async def test_an_accepted_request_that_fails_is_not_refused(make_worker: Start) -> None:
    worker = await make_worker({}).start()
    async with aiohttp.ClientSession() as session:
        for body in (body_of("demo-refuse"), body_of("demo-refuse", stream=True), {}):
            async with session.post(f"{worker.url}/v1/chat/completions", json=body) as answer:
                assert answer.status == 400
    samples = await scrape(worker)
    assert one(samples, "weir_requests_accepted_total", ingress="http") == 2
    assert sum(samples["weir_requests_refused_total"].values()) == 1
    assert one(samples, "weir_requests_refused_total", ingress="http", error_code="missing_required") == 1


async def test_what_waits_is_lag_and_what_is_being_done_is_told(broker: dict[str, str], make_worker: Start) -> None:
    """One answer at a time: the other requests are in the log, and nowhere else."""
    worker = await make_worker(broker, MAX_IN_FLIGHT="1").start()
    bodies = [body_of("demo:tokens=12,delay_ms=100", f"wait {n}", uid=f"wait-{n}") for n in range(3)]
    received = [Received() for _ in bodies]
    streams = [
        asyncio.create_task(streamed(worker.client(), body, into)) for body, into in zip(bodies, received, strict=True)
    ]
    await until(lambda: any(into.chunks for into in received))

    async def backlog() -> bool:
        now = await scrape(worker)
        busy = one(now, "weir_requests_in_flight") >= 1 and one(now, "weir_log_readers") >= 1
        return busy and sum(lag(now, "chat-requests").values()) >= 2

    await seen(backlog)
    await asyncio.gather(*streams)

    async def nothing() -> bool:
        now = await scrape(worker)
        return one(now, "weir_requests_in_flight") == sum(lag(now, "chat-requests").values()) == 0

    await seen(nothing)


async def test_a_scrape_does_not_wait_for_a_broker_that_is_away(own_kafka: KafkaBroker, make_worker: Start) -> None:
    env = {"KAFKA_BOOTSTRAP_SERVERS": own_kafka.bootstrap, "KAFKA_REPLICATION_FACTOR": "1"}
    worker = await make_worker(env).start()
    known = await scrape(worker)
    own_kafka.kill()
    for _ in range(3):
        async with asyncio.timeout(5):
            now = await scrape(worker)
        assert lag(now, "chat-requests").keys() == lag(known, "chat-requests").keys()
    at = "weir_consumer_lag_timestamp_seconds"
    assert one(now, at) >= one(known, at) > 0


async def test_promtool_accepts_what_a_worker_says(make_worker: Start) -> None:
    worker = await make_worker({}).start()
    await streamed(worker.client(), body_of("demo"))
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{worker.url}/metrics") as answer:
            assert await asyncio.to_thread(check, ["metrics"], await answer.read()) == ""
        accept = {"Accept": "application/openmetrics-text;version=1.0.0"}
        async with session.get(f"{worker.url}/metrics", headers=accept) as answer:
            assert answer.content_type == "application/openmetrics-text"
            assert list(openmetrics(await answer.text()))  # type: ignore[no-untyped-call]


async def test_promtool_accepts_the_example_rules_and_they_are_about_metrics_that_exist() -> None:
    assert await asyncio.to_thread(check, ["rules", str(ALERTS)]) == ""
    named = set(re.findall(r"\b(?:weir|ai_kafka)_[a-z_]+", ALERTS.read_text()))
    assert {name.removesuffix("_bucket") for name in named} <= {spec.name for spec in metrics.ALL}
