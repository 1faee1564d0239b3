"""The definitions of metrics: names, units, labels."""

import re

from weir.telemetry import metrics

BACKBONE = {
    "ai_kafka_messages_produced_total": ("topic",),
    "ai_kafka_messages_consumed_total": ("topic",),
    "ai_kafka_consumer_lag": ("topic", "partition"),
    "ai_kafka_produce_latency_seconds": ("topic",),
}


def test_the_event_backbone_finds_its_metrics_under_the_names_and_labels_that_it_knows() -> None:
    assert {spec.name: spec.labels for spec in metrics.ALL if spec.name in BACKBONE} == BACKBONE


def test_names_say_kind_and_unit_and_no_label_is_a_person() -> None:
    assert len({spec.name for spec in metrics.ALL}) == len(metrics.ALL)
    for spec in metrics.ALL:
        assert re.fullmatch(r"(ai_kafka|weir)_[a-z0-9_]+", spec.name)
        assert spec.name.endswith("_total") == (spec.kind == "counter")
        assert ("seconds" in spec.unit) == spec.name.endswith("_seconds")
        assert bool(spec.buckets) == (spec.kind == "histogram")
        assert list(spec.buckets) == sorted(set(spec.buckets))
        assert not set(spec.labels) & {"tenant", "tenant_id", "uid", "user", "username", "session_id"}
        assert spec.help.endswith(".")
