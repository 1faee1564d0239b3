import math
from itertools import pairwise

import pytest

from tests.unit.weir.replay.report.pairs import failed, outcome, pair
from weir.replay.report.judging import (
    ALPHA,
    MEASURES,
    PAIRS_MIN,
    UNCLEAR,
    JudgedMeasure,
    judged,
    judged_errors,
    mcnemar,
    median_interval,
)

LATENCY, TTFT, COST, OUTPUT = MEASURES


@pytest.mark.parametrize(
    ("count", "k"),
    [
        # fewer than k heads of n: 1/64 = 0.016; 1/256, 9/256 = 0.035; 11/1024 = 0.011, 56/1024 = 0.055; then by table
        (6, 1),
        (8, 1),
        (9, 2),
        (10, 2),
        (20, 6),
        (50, 18),
        (100, 40),
    ],
)
def test_the_interval_of_the_median_goes_from_the_kth_least_to_the_kth_greatest(count: int, k: int) -> None:
    assert median_interval(range(1, count + 1)) == (k, count + 1 - k)


def test_five_pairs_are_too_few_for_an_interval_and_six_are_enough() -> None:
    assert median_interval(range(PAIRS_MIN - 1)) is None
    assert median_interval(range(PAIRS_MIN)) == (0, PAIRS_MIN - 1)
    assert median_interval([]) is None


def test_the_interval_of_very_many_is_what_the_normal_approximation_says() -> None:
    count = 100_000
    interval = median_interval(range(count))
    assert interval is not None
    assert interval[0] == pytest.approx(count / 2 - 1.96 * math.sqrt(count) / 2, abs=2)
    assert sum(interval) == count - 1


@pytest.mark.parametrize(
    ("one", "other", "p"),
    [(0, 0, 1), (5, 5, 1), (0, 5, 2 / 32), (0, 6, 2 / 64), (6, 0, 2 / 64), (1, 9, 22 / 1024), (2, 9, 2 * 67 / 2048)],
)
def test_the_p_value_of_mcnemar_is_exact(one: int, other: int, p: float) -> None:
    assert mcnemar(one, other) == pytest.approx(p)


def test_the_p_value_of_very_many_pairs_is_a_number() -> None:
    assert mcnemar(3000, 3000) == pytest.approx(1)
    assert mcnemar(2900, 3100) == pytest.approx(0.0102, abs=0.0002)  # z = 199 / sqrt(6000)
    assert mcnemar(0, 6000) == 0


def latencies(*pairs: tuple[float, float]) -> JudgedMeasure:
    return judged(
        LATENCY, [pair(n, outcome(latency_ms=a), outcome("new", latency_ms=b)) for n, (a, b) in enumerate(pairs)]
    )


def test_a_replay_that_is_always_faster_is_faster() -> None:
    found = latencies(*((1000 + n, 900 - n) for n in range(10)))
    assert (found.verdict, found.pairs, found.difference) == ("faster", 10, -109)
    assert (found.low, found.high) == (-116, -102)  # of -118, -116, …, -100 the second and the ninth
    assert (found.original, found.replay) == (1004.5, 895.5)
    assert found.ratio == pytest.approx(895.5 / 1004.5)


def test_one_that_is_faster_as_often_as_slower_is_not_clear() -> None:
    assert latencies(*((100, 100 + change) for change in (-9, -8, -7, -6, -5, 5, 6, 7, 8, 9))).verdict == UNCLEAR


def test_an_interval_that_ends_at_nothing_is_not_clear() -> None:
    found = latencies(*((100, 100 + change) for change in (0, 1, 1, 1, 1, 1)))
    assert (found.low, found.high, found.verdict) == (0, 1, UNCLEAR)


def test_five_pairs_say_nothing_however_far_apart_they_are() -> None:
    found = latencies(*[(100, 900)] * 5)
    assert (found.low, found.high, found.verdict, found.difference) == (None, None, UNCLEAR, 800)
    assert latencies(*[(100, 900)] * 6).verdict == "slower"


def test_how_long_it_took_to_fail_is_not_compared() -> None:
    pairs = [pair(n, outcome(latency_ms=1000), outcome("new", "failed", latency_ms=1)) for n in range(20)]
    found = judged(LATENCY, pairs)
    assert (found.pairs, found.original, found.verdict) == (0, None, UNCLEAR)


def test_cost_is_the_total_of_pairs_where_both_are_known() -> None:
    pairs = [pair(n, outcome(cost_usd=0.1), outcome("new", cost_usd=0.3)) for n in range(6)]
    found = judged(COST, [*pairs, pair(6, outcome(cost_usd=50), outcome("new"))])
    assert [found.original, found.replay, found.ratio] == pytest.approx([0.6, 1.8, 3])
    assert (found.pairs, found.verdict) == (6, "dearer")


@pytest.mark.parametrize(("then", "now", "verdict"), [(100, 80, "shorter"), (80, 100, "longer"), (80, 80, UNCLEAR)])
def test_output_tokens_are_shorter_or_longer(then: int, now: int, verdict: str) -> None:
    pairs = [pair(n, outcome(output_tokens=then), outcome("new", output_tokens=now)) for n in range(8)]
    assert judged(OUTPUT, pairs).verdict == verdict


def test_nothing_has_no_ratio() -> None:
    pairs = [pair(n, outcome(cost_usd=0), outcome("new", cost_usd=1)) for n in range(8)]
    assert judged(COST, pairs).ratio is None
    assert judged(TTFT, []).ratio is None


def test_errors_are_judged_by_the_pairs_that_differ() -> None:
    good, bad = outcome("new"), failed()
    pairs = [
        *(pair(n, good, good) for n in range(100)),
        *(pair(n, bad, bad) for n in range(3)),
        *(pair(n, bad, good) for n in range(9)),
        pair(0, good, bad),
        pair(1, good, outcome("new", "cancelled")),  # by people: no error of the model's
        pair(2, outcome(status="expired"), bad),
    ]
    found = judged_errors(pairs)
    assert (found.pairs, found.original, found.replay) == (113, 12, 4)
    assert (found.only_original, found.only_replay) == (9, 1)
    assert found.p == pytest.approx(22 / 1024)
    assert found.verdict == "fewer errors"


@pytest.mark.parametrize(("more", "verdict"), [(5, UNCLEAR), (6, "more errors")])
def test_five_new_errors_may_be_chance(more: int, verdict: str) -> None:
    assert judged_errors([pair(n, outcome(), failed()) for n in range(more)]).verdict == verdict


def test_the_more_pairs_the_narrower_the_interval() -> None:
    shares = []
    for count in (10, 100, 1000, 10_000):
        low, high = median_interval(range(count)) or (0, 0)
        shares.append((high - low) / count)
    assert all(wide > narrow for wide, narrow in pairwise(shares))
    assert ALPHA == 0.05
