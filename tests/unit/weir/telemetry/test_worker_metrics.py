"""The metrics of a worker: their names, labels and values."""

import asyncio
from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.weir.log.memory_log import AWAY, MemoryLog
from weir import topics
from weir.llm.prices import Tokens
from weir.log.log import LogError, Partition
from weir.telemetry import metrics
from weir.telemetry.observed import Observed
from weir.telemetry.worker_metrics import Metrics

AT = Partition(topics.CHAT_CHUNKS.name, 0)


async def scraped(one: Metrics, accept: str = "") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Samples as Prometheus' own parser reads them, by name and labels."""
    text, _ = await one.rendered(accept)
    families = text_string_to_metric_families(text.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float | None:
    return samples.get((name, frozenset(labels.items())))


def labels_of(samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float], name: str, label: str) -> set[str]:
    return {dict(labels)[label] for found, labels in samples if found == name}


async def test_two_workers_in_one_process_count_for_themselves() -> None:
    one, other = Metrics(), Metrics()
    one.accepted("http")
    assert value(await scraped(one), "weir_requests_accepted_total", ingress="http") == 1
    assert value(await scraped(other), "weir_requests_accepted_total", ingress="http") == 0


async def test_only_so_many_models_have_a_label_of_their_own() -> None:
    one = Metrics(models_max=3, models=["default"])
    for model in ("a", "b", "c", "d", None, "", "x" * 5000):
        one.ended(model=model, status="completed", tokens=Tokens(output=1))
    found = await scraped(one)
    assert labels_of(found, "weir_requests_ended_total", "model") == {"a", "b", "other"}
    assert value(found, "weir_tokens_total", traffic="live", model="other", kind="output") == 5


async def test_a_model_without_an_answer_gets_no_label() -> None:
    """A client may ask for any model, and would use up the labels."""
    one = Metrics(models_max=3, models=["default"])
    for n in range(10):
        one.ended(model=f"nonsense-{n}", status="failed", error_code="model_not_found", error_type="upstream_error")
    one.ended(model="default", status="failed", error_code="upstream_timeout", error_type="upstream_error")
    one.ended(model="real", status="completed")
    found = await scraped(one)
    assert labels_of(found, "weir_requests_ended_total", "model") == {"other", "default", "real"}


async def test_codes_types_marks_doors_and_methods_that_are_not_known_are_other() -> None:
    one = Metrics()
    one.ended(model="m", status="failed", error_code="made-up-by-a-server", error_type="funny")
    one.refused("carrier pigeon", error_code=None, error_type=None)
    one.attempted("begin", 0.2)
    one.attempted("whatever")
    one.answered("BREW", "/coffee", 418, 0.1)
    found = await scraped(one)
    assert (
        value(found, "weir_requests_ended_total", traffic="live", model="other", status="failed", error_code="other")
        == 1
    )
    assert value(found, "weir_requests_refused_total", ingress="other", error_code="other") == 1
    assert value(found, "weir_errors_total", type="other") == 2
    assert value(found, "weir_attempts_total", traffic="live", mark="other") == 1
    assert value(found, "weir_request_queue_time_seconds_count", traffic="live") == 1
    assert value(found, "weir_http_requests_total", method="other", route="/coffee", status="418") == 1


async def test_an_answer_is_told_with_its_times_tokens_and_cost() -> None:
    one = Metrics(models=["m"])
    one.ended(
        model="m",
        status="completed",
        ttft_s=0.3,
        duration_s=4.0,
        tokens_per_second=50.0,
        tokens=Tokens(input=10, cached=4, output=200, reasoning=50),
        cost_usd=0.25,
    )
    one.ended(model="m", status="cancelled", ttft_s=-1.0, tokens=Tokens(output=-5), cost_usd=-1.0)
    found = await scraped(one)
    assert value(found, "weir_requests_ended_total", traffic="live", model="m", status="completed", error_code="") == 1
    assert value(found, "weir_time_to_first_token_seconds_bucket", traffic="live", model="m", le="0.5") == 2
    assert value(found, "weir_time_to_first_token_seconds_bucket", traffic="live", model="m", le="0.25") == 1
    assert value(found, "weir_request_duration_seconds_sum", traffic="live", model="m") == 4
    assert value(found, "weir_output_tokens_per_second_count", traffic="live", model="m") == 1
    kinds = {kind: value(found, "weir_tokens_total", traffic="live", model="m", kind=kind) for kind in Tokens.__slots__}
    assert kinds == {"input": 10, "cached": 4, "output": 200, "reasoning": 50}
    assert value(found, "weir_cost_usd_total", traffic="live", model="m") == 0.25


async def test_what_a_replay_takes_is_apart_from_what_clients_asked() -> None:
    one = Metrics(models=["m"])
    one.attempted("begin", 0.2, replay=True)
    one.ended(model="m", status="failed", error_type="server_error", ttft_s=1.0, cost_usd=2.0, replay=True)
    found = await scraped(one)
    replayed = {name for name, labels in found if ("traffic", "replay") in labels and found[name, labels]}
    live = {name for name, labels in found if ("traffic", "live") in labels and found[name, labels]}
    assert {"weir_attempts_total", "weir_requests_ended_total", "weir_cost_usd_total"} <= replayed
    assert not live
    assert labels_of(found, "weir_errors_total", "type") == set()  # no client was told


async def test_foreign_topics_are_other_and_changelogs_are_weirs_own() -> None:
    one = Metrics(changelogs="weir-")
    for topic in ("weir-terminals-changelog", "weir-reply", "their-changelog", "chat-chunks"):
        one.consumed(topic, 2)
        one.appends(topic).observe(0.1)
    found = await scraped(one)
    for name in ("ai_kafka_messages_produced_total", "ai_kafka_messages_consumed_total"):
        known = {spec.name for spec in topics.TOPICS}
        assert labels_of(found, name, "topic") == known | {"weir-terminals-changelog", "other"}
    assert value(found, "ai_kafka_messages_consumed_total", topic="other") == 4
    assert value(found, "ai_kafka_produce_latency_seconds_count", topic="other") == 2


async def test_an_observed_log_counts_and_times_what_goes_through_it() -> None:
    log, one = MemoryLog(), Metrics()
    observed = Observed(log, one)
    got: list[int] = []
    await observed.follow(AT, 0, lambda records: got.extend(record.offset for record in records))
    assert [await observed.append(*AT, b"k", b"v") for _ in range(3)] == [0, 1, 2]
    assert [record.offset for record in await observed.read(AT, 1)] == [1, 2]
    assert got == [0, 1, 2]
    assert (await observed.bounds(AT)).end == 3
    found = await scraped(one)
    assert value(found, "ai_kafka_messages_produced_total", topic=AT.topic) == 3
    assert value(found, "ai_kafka_produce_latency_seconds_count", topic=AT.topic) == 3
    assert value(found, "ai_kafka_messages_consumed_total", topic=AT.topic) == 5


async def test_what_the_log_does_not_take_is_a_failure_and_what_is_cancelled_is_nothing() -> None:
    log, one = MemoryLog(), Metrics()
    observed = Observed(log, one)
    log.broken = AWAY
    with pytest.raises(LogError):
        await observed.append(*AT, b"k", b"v")
    log.broken, log.appending = None, asyncio.Event()
    landing = asyncio.ensure_future(observed.append(*AT, b"k", b"v"))
    landing.cancel()
    await asyncio.wait({landing})
    await asyncio.sleep(0)
    found = await scraped(one)
    assert log.values(AT) == []
    assert value(found, "weir_produce_failures_total", topic=AT.topic) == 1
    assert value(found, "ai_kafka_messages_produced_total", topic=AT.topic) == 0


async def test_a_value_that_cannot_be_had_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    one = Metrics()

    def broken() -> dict[tuple[str, ...], float]:
        raise RuntimeError("no")

    one.read(metrics.LAG, broken)
    one.accepted("rabbitmq")
    assert value(await scraped(one), "weir_requests_accepted_total", ingress="rabbitmq") == 1
    assert "the values of ai_kafka_consumer_lag cannot be read" in caplog.text


async def test_openmetrics_is_for_scrapers_that_ask_for_it_and_ends_once() -> None:
    one = Metrics()
    text, content_type = await one.rendered("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert text.count(b"# EOF\n") == 1
    assert text.endswith(b"# EOF\n")
    text, content_type = await one.rendered("text/html")
    assert content_type.startswith("text/plain; version=0.0.4")
    assert b"# EOF" not in text


async def test_a_loop_that_is_held_is_seen() -> None:
    one = Metrics()
    turns = iter([None, None])

    async def late(seconds: float) -> None:
        if next(turns, "over") == "over":
            raise asyncio.CancelledError
        await asyncio.sleep(seconds + 0.02)

    with pytest.raises(asyncio.CancelledError):
        await one.sample_loop(late, every_s=0.001)
    found = await scraped(one)
    assert value(found, "weir_event_loop_delay_seconds_count") == 2
    assert value(found, "weir_event_loop_delay_seconds_bucket", le="0.01") == 0
