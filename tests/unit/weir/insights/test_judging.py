"""Each kind of insight: raised, not raised from too little, not raised twice, compared with before, cleared."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.unit.weir.insights.helpers import LIMITS, requests, signals, window_of
from weir.envelope import Event
from weir.events.insights import InsightSeverity, InsightType
from weir.insights.judging import Breach, Closed, InsightLimits, Verdict, judge, silent

SIZE_MS = 10_000
KEPT = LIMITS.normal_after
QUALITY, ERRORS, LATENCY = InsightType.QUALITY_DROP, InsightType.ERROR_RATE, InsightType.LATENCY
COST, DROUGHT = InsightType.COST, InsightType.FEEDBACK_DROUGHT


class History:
    """Windows, one after the other, each judged as it closes."""

    def __init__(self, limits: InsightLimits = LIMITS) -> None:
        self.limits = limits
        self.closed: list[Closed] = []
        self.active: dict[InsightType, Breach] = {}

    def add(self, *groups: Sequence[Event]) -> list[Verdict]:
        start = len(self.closed) * SIZE_MS
        window = window_of(*(event for group in groups for event in group))
        one = Closed(start_ms=start, end_ms=start + SIZE_MS, window=window)
        verdicts = judge(one, self.closed[-KEPT:], self.active, self.limits)
        wrong = set(self.active)
        for verdict in verdicts:
            if verdict.raised:
                self.active[verdict.kind] = Breach(previous=verdict.previous)
            else:
                del self.active[verdict.kind]
        self.closed.append(replace(one, breached=frozenset(wrong | set(self.active))))
        return verdicts

    def story(self, *windows: Sequence[Event]) -> list[str]:
        """Return the changes of each window: + raised, - cleared, . nothing."""
        told = []
        for window in windows:
            verdicts = self.add(window)
            assert len(verdicts) <= 1
            told.append(("+" if verdicts[0].raised else "-") + str(verdicts[0].kind) if verdicts else ".")
        return told


def mixed(up: int, down: int) -> list[Event]:
    return [*signals(up, 1.0), *signals(down, -1.0)]


def failing(failed: int, of: int) -> list[Event]:
    return [*requests(failed, status="failed"), *requests(of - failed)]


def taking(latency_ms: float, count: int = 20) -> list[Event]:
    return requests(count, latency_ms=latency_ms)


def costing(usd: float, count: int = 20) -> list[Event]:
    return requests(count, cost_usd=usd)


def heard(feedback: int, answers: int = 100) -> list[Event]:
    return [*requests(answers), *signals(feedback, 1.0)]


# -- quality


def test_quality_below_the_floor_is_told_once_and_cleared_when_it_is_well_above() -> None:
    bad, at_the_limit, good = mixed(8, 12), mixed(21, 20), mixed(13, 7)
    assert History().story(bad, bad, at_the_limit, good, good) == [
        "+quality_drop",
        ".",
        ".",  # above the floor, not above what is calm
        "-quality_drop",
        ".",
    ]


def test_two_thumbs_down_are_no_alarm_and_no_reason_to_clear_one() -> None:
    assert History().story(mixed(0, 9)) == ["."]
    assert History().story(mixed(0, 20), mixed(9, 0)) == ["+quality_drop", "."]


def test_quality_that_falls_by_much_is_told_though_it_is_above_the_floor() -> None:
    history = History()
    assert history.story(mixed(20, 0), mixed(20, 0)) == [".", "."]
    (verdict,) = history.add(mixed(14, 6))
    assert verdict.value == pytest.approx(0.4)
    assert (verdict.kind, verdict.limit, verdict.previous) == (QUALITY, 0.5, 1.0)
    assert history.story(mixed(15, 5), mixed(17, 3)) == [".", "-quality_drop"]  # compared with what was before the fall


def test_a_small_fall_is_none() -> None:
    assert History().story(mixed(20, 0), mixed(16, 4)) == [".", "."]


def test_it_is_compared_with_several_windows_together_and_with_none_in_which_it_was_wrong() -> None:
    assert History().story(mixed(4, 0), mixed(4, 0), mixed(4, 0), mixed(12, 6)) == [".", ".", ".", "+quality_drop"]
    history = History()
    story = history.story(mixed(40, 0), mixed(0, 40), mixed(0, 40), mixed(40, 0), mixed(14, 6))
    assert story == [".", "+quality_drop", ".", "-quality_drop", "+quality_drop"]


def test_signals_count_by_their_weight() -> None:
    guesses = signals(20, -1.0, weight=0.2)
    assert History().story([*signals(10, 1.0, weight=1.0), *guesses]) == ["."]  # 10 against 4


# -- errors


def test_too_many_errors_are_told_once_and_cleared_when_they_are_few() -> None:
    assert History().story(failing(6, 100), failing(50, 100), failing(5, 100), failing(4, 100)) == [
        "+error_rate",
        ".",
        ".",
        "-error_rate",
    ]


def test_few_requests_or_a_single_failure_are_no_alarm() -> None:
    assert History().story(failing(9, 9), failing(2, 20)) == [".", "."]


def test_cancelled_and_expired_requests_are_no_errors() -> None:
    ended = [*requests(40, status="cancelled"), *requests(40, status="expired"), *requests(20)]
    assert History().story(ended) == ["."]


def test_how_far_it_is_beyond_says_how_much_it_matters() -> None:
    (warning,), (critical,) = History().add(failing(6, 100)), History().add(failing(60, 100))
    assert (warning.severity, critical.severity) == (InsightSeverity.WARNING, InsightSeverity.CRITICAL)


# -- latency


def test_latency_over_the_limit_is_told_once_and_cleared() -> None:
    assert History().story(taking(6000), taking(7000), taking(4600), taking(3000)) == ["+latency", ".", ".", "-latency"]


def test_latency_that_doubles_is_told_and_what_is_too_short_to_notice_is_not() -> None:
    assert History().story(taking(1000), taking(2500), taking(1900), taking(1400)) == [".", "+latency", ".", "-latency"]
    assert History().story(taking(10), taking(400)) == [".", "."]


def test_one_slow_request_among_many_or_few_requests_are_no_alarm() -> None:
    assert History().story([*taking(100, 40), *taking(60_000, 1)], taking(60_000, 9)) == [".", "."]


def test_what_lasts_as_long_as_windows_are_kept_is_what_is_normal_now() -> None:
    history = History()
    assert history.story(taking(1000), *[taking(2500)] * 6) == [".", "+latency", *["."] * 5]
    (verdict,) = history.add(taking(2500))
    assert not verdict.raised
    assert "normal" in verdict.reason
    assert history.story(*[taking(2500)] * 9, taking(6000)) == [*["."] * 9, "+latency"]


def test_what_is_over_an_absolute_limit_never_is_normal() -> None:
    assert History().story(*[taking(9000)] * 20) == ["+latency", *["."] * 19]


# -- cost


def test_cost_that_doubles_is_told_once_and_cleared() -> None:
    story = History().story(costing(0.01), costing(0.03), costing(0.04), costing(0.018), costing(0.01))
    assert story == [".", "+cost", ".", ".", "-cost"]


def test_cost_is_compared_with_a_setting_where_there_is_one() -> None:
    assert History().story(costing(5.0)) == ["."]
    assert History(replace(LIMITS, cost_max_usd=1.0)).story(costing(5.0), costing(0.5)) == ["+cost", "-cost"]


def test_few_requests_with_a_price_are_no_alarm_and_what_was_free_is_no_measure() -> None:
    assert History().story(costing(0.01), [*costing(0.09, 9), *requests(50)]) == [".", "."]
    assert History().story(costing(0.0), costing(0.01)) == [".", "."]


# -- feedback drought


def test_feedback_that_stops_is_told_once_and_cleared_when_it_comes_again() -> None:
    assert History().story(heard(20), heard(0), heard(1), heard(4), heard(10)) == [
        ".",
        "+feedback_drought",
        ".",
        ".",
        "-feedback_drought",
    ]


def test_where_there_never_was_feedback_or_little_was_to_be_expected_its_absence_is_no_alarm() -> None:
    assert History().story(heard(0), heard(0), heard(5), heard(0)) == [".", ".", ".", "."]
    assert History().story(heard(20), heard(0, answers=40)) == [".", "."]


def test_feedback_that_weir_concluded_does_not_count_as_feedback() -> None:
    guesses = signals(20, 1.0, feedback_source="abandon")
    history = History()
    assert history.story(heard(20)) == ["."]
    assert [verdict.kind for verdict in history.add(heard(0), guesses)] == [DROUGHT]


# -- all


def test_several_kinds_at_once_are_each_their_own() -> None:
    history = History()
    verdicts = history.add(failing(20, 40), taking(9000), mixed(0, 20))
    assert {verdict.kind for verdict in verdicts} == {ERRORS, LATENCY, QUALITY}
    assert {verdict.kind for verdict in history.add(taking(100, 40), signals(10, 0.05))} == {ERRORS, LATENCY}


def test_an_empty_window_changes_nothing_and_silence_is_told_as_the_reason() -> None:
    assert History().story(mixed(0, 20), []) == ["+quality_drop", "."]
    (verdict,) = silent([QUALITY], 12)
    assert not verdict.raised
    assert "12 windows" in verdict.reason
