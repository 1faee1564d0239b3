import random
from dataclasses import replace

import orjson
import pytest

from tests.unit.weir.replay.report.pairs import FACTS, failed, outcome, pair
from weir.replay.report.comparison import compared_from
from weir.replay.report.report import report_of

MIXED = [
    pair(
        1,
        outcome(latency_ms=100, ttft_ms=10, input_tokens=5, output_tokens=10, cost_usd=0.1),
        outcome("new", latency_ms=200, ttft_ms=30, input_tokens=5, output_tokens=20, cost_usd=0.4),
        1.0,
    ),
    pair(
        2,
        outcome(latency_ms=300, ttft_ms=20, input_tokens=5, output_tokens=30, cost_usd=0.2),
        outcome("new", latency_ms=400, ttft_ms=50, input_tokens=5, output_tokens=40),
        0.2,
    ),
    pair(3, outcome(latency_ms=500, cost_usd=9), failed(), None),
    pair(4, outcome(status="cancelled", latency_ms=9000), outcome("new", "running"), None),
]


def test_totals_of_both_sides() -> None:
    report = report_of(FACTS, MIXED)
    assert report.original.statuses == {"cancelled": 1, "completed": 3}
    assert report.replay.statuses == {"completed": 2, "failed": 1, "running": 1}
    assert [report.original.error_rate, report.replay.error_rate] == pytest.approx([0, 1 / 3])
    assert report.statuses == {
        ("cancelled", "running"): 1,
        ("completed", "completed"): 2,
        ("completed", "failed"): 1,
    }


def test_times_are_those_of_completed_requests() -> None:
    report = report_of(FACTS, MIXED)
    then, now = report.original.latency_ms, report.replay.latency_ms
    assert then is not None
    assert now is not None
    assert (then.count, then.p50, then.p95, then.mean) == (3, 300, 480, 300)
    assert (now.count, now.p50, now.p95, now.mean) == (2, 300, 390, 300)


def test_sums_are_of_pairs_where_both_are_known_and_the_others_are_counted() -> None:
    report = report_of(FACTS, MIXED)
    assert (report.original.cost_usd, report.replay.cost_usd) == (0.1, 0.4)
    assert (report.original.output_tokens, report.replay.output_tokens) == (40, 60)
    assert report.unknown == {"input_tokens": 2, "output_tokens": 2, "cost_usd": 3}


def test_a_sum_of_nothing_known_is_null() -> None:
    report = report_of(FACTS, [pair(1, outcome(), outcome("new", output_tokens=5))])
    for side in (report.original, report.replay):
        assert side.input_tokens is side.output_tokens is side.cost_usd is None
    nothing = report_of(FACTS, [pair(1, outcome(output_tokens=0), outcome("new", output_tokens=0))])
    assert (nothing.original.output_tokens, nothing.replay.output_tokens) == (0, 0)


def test_likeness_is_of_pairs_whose_texts_are_known() -> None:
    same_emptiness = pair(5, similarity=None, identical=True)
    found = report_of(FACTS, [*MIXED, same_emptiness]).likenesses
    assert (found.pairs, found.identical) == (2, 1)
    assert [found.mean, found.p10] == pytest.approx([0.6, 0.28])  # a tenth of the way from 0.2 to 1


def test_the_order_in_which_pairs_come_makes_no_difference() -> None:
    dice = random.Random(3)
    pairs = [
        pair(
            n,
            outcome(latency_ms=dice.random() * 1000, cost_usd=dice.random()),
            outcome("new", dice.choice(["completed", "failed"]), latency_ms=dice.random(), cost_usd=dice.random()),
            dice.random(),
        )
        for n in range(200)
    ]
    before = orjson.dumps(report_of(FACTS, pairs).as_json())
    dice.shuffle(pairs)
    assert orjson.dumps(report_of(FACTS, iter(pairs)).as_json()) == before


def test_nothing_compared_is_a_report_too() -> None:
    report = report_of(replace(FACTS, status="interrupted", ended_at=None), [])
    json = report.as_json()
    assert (json["compared"], json["original"]["error_rate"], json["original"]["latency_ms"]) == (0, None, None)
    assert {each["verdict"] for each in json["judged"].values()} == {"no clear difference"}
    assert json["run"]["status"] == "interrupted"


def test_the_json_can_be_written_and_its_rows_read_again() -> None:
    report = report_of(FACTS, reversed(MIXED))
    json = orjson.loads(orjson.dumps(report.as_json()))
    assert [compared_from(row) for row in json["requests"]] == MIXED
    assert json["run"] == {
        "run_id": "run-1",
        "model": "new",
        "from_time": "2026-01-30T00:00:00Z",
        "to_time": None,
        "started_at": "2026-01-31T09:00:00Z",
        "ended_at": "2026-01-31T09:30:00Z",
        "selected": 10,
        "status": "completed",
        "parameters": {"tenant": "acme"},
    }


def test_the_json_is_the_same_without_rows() -> None:
    report = report_of(FACTS, MIXED)
    full = report.as_json()
    del full["requests"]
    assert report.as_json(rows=False) == full


def test_figures_in_the_json_are_rounded_to_what_can_be_measured() -> None:
    thirds = [
        pair(n, outcome(latency_ms=100 / 3, cost_usd=1e-6 / 3), outcome("new", latency_ms=200 / 3, cost_usd=1e-6))
        for n in range(6)
    ]
    judged = report_of(FACTS, thirds).as_json()["judged"]
    assert judged["latency_ms"] == {
        "unit": "ms",
        "of": "median",
        "pairs": 6,
        "original": 33.3,
        "replay": 66.7,
        "difference": 33.3,
        "low": 33.3,
        "high": 33.3,
        "ratio": 2.0,
        "verdict": "slower",
    }
    assert judged["cost_usd"]["difference"] == 6.67e-07
    assert judged["cost_usd"]["of"] == "total"
