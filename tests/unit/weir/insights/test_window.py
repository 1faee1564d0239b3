import random

import orjson
import pytest

from tests.unit.weir.insights.helpers import metrics, requests, signal, window_of
from weir.insights.window import WindowFigures


def test_what_is_added_up() -> None:
    window = window_of(
        metrics(latency_ms=100.0, ttft_ms=10.0, input_tokens=5, output_tokens=7, cost_usd=0.002),
        metrics(latency_ms=100.0, ttft_ms=10.0, input_tokens=5, output_tokens=7, cost_usd=0.004),
        metrics(status="failed", latency_ms=90_000.0, input_tokens=3),
        metrics(status="cancelled", latency_ms=1.0),
        metrics(status="expired"),
        signal(score=1.0, weight=1.0),
        signal(score=-1.0, weight=0.5, feedback_source="retry"),
    )
    assert window.figures() == {
        "requests": {"completed": 2, "failed": 1, "cancelled": 1, "expired": 1},
        "error_rate": 1 / 3,  # cancelled and expired ones are no errors of the model
        "latency_p50_ms": pytest.approx(100, rel=0.05),  # and how long a failure took is not its latency
        "latency_p95_ms": pytest.approx(100, rel=0.05),
        "ttft_p95_ms": pytest.approx(10, rel=0.05),
        "input_tokens": 13,
        "output_tokens": 14,
        "cost_usd": 0.006,
        "cost_per_request_usd": 0.003,
        "signals": 2,
        "score": pytest.approx(1 / 3, abs=1e-6),
        "feedback": 1,  # that a user asked again is a guess of Weir
    }


def test_of_an_empty_window_nothing_is_divided_by_nothing() -> None:
    figures = WindowFigures().figures()
    assert figures["error_rate"] is figures["score"] is figures["cost_per_request_usd"] is None
    assert figures["latency_p95_ms"] is None


def test_what_was_not_counted_is_null_and_what_was_counted_as_nothing_is_0() -> None:
    unknown = window_of(*requests(3)).figures()
    assert unknown["input_tokens"] is unknown["output_tokens"] is unknown["cost_usd"] is None
    nothing = window_of(metrics(input_tokens=0, output_tokens=0, cost_usd=0.0)).figures()
    assert (nothing["input_tokens"], nothing["output_tokens"], nothing["cost_usd"]) == (0, 0, 0.0)
    some = window_of(metrics(output_tokens=5), metrics()).figures()
    assert (some["input_tokens"], some["output_tokens"]) == (None, 5)


def test_a_window_of_a_former_version_shows_its_sums() -> None:
    flat = window_of(metrics(input_tokens=5, output_tokens=7)).flat()[:-2]
    figures = WindowFigures.from_flat(flat).figures()
    assert (figures["input_tokens"], figures["output_tokens"]) == (5, 7)


def test_the_order_and_the_grouping_make_no_difference_to_the_last_bit() -> None:
    dice = random.Random(3)
    events = [metrics(cost_usd=dice.random() / 7, latency_ms=dice.uniform(1, 9000)) for _ in range(300)]
    events += [signal(score=dice.uniform(-1, 1), weight=dice.uniform(0.1, 1)) for _ in range(300)]
    whole = window_of(*events)
    dice.shuffle(events)
    parts = window_of(*events[:100])
    parts.merge(window_of(*events[100:]))
    assert parts.flat() == whole.flat()


def test_it_is_read_as_it_was_written_and_may_get_fields_later() -> None:
    window = window_of(*requests(3, latency_ms=5.0, cost_usd=1.0), signal(score=0.5))
    assert WindowFigures.from_flat(orjson.loads(orjson.dumps(window.flat()))) == window
    assert WindowFigures.from_flat(window.flat()[:5]).completed == 3


def test_the_largest_sums_fit_into_json() -> None:
    window = window_of(*requests(1000, cost_usd=1e6, input_tokens=10**9))
    assert orjson.loads(orjson.dumps(window.flat())) == window.flat()
