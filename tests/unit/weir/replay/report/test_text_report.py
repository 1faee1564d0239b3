import random
import unicodedata
from dataclasses import replace

import pytest

from tests.unit.weir.replay.report.pairs import FACTS, failed, outcome, pair
from weir.replay.report.comparison import Compared
from weir.replay.report.report import report_of
from weir.replay.report.text_report import WIDTH, text_report


def pairs(count: int) -> list[Compared]:
    dice = random.Random(4)
    return [
        pair(
            n,
            outcome(latency_ms=1000 + n, ttft_ms=100, input_tokens=9, output_tokens=50, cost_usd=0.002),
            outcome("new", latency_ms=700 + n, ttft_ms=100, input_tokens=9, output_tokens=70, cost_usd=0.001),
            dice.random(),
        )
        for n in range(count)
    ]


def line(text: str, start: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(start))


def width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def test_what_is_clear_comes_first_then_totals_then_the_worst() -> None:
    text = text_report(report_of(FACTS, [*pairs(20), pair(90, replay=failed(), similarity=None)]))
    places = [text.index(part) for part in ("VERDICTS", "TOTALS", "Similarity", "ENDED OTHERWISE", "LEAST SIMILAR")]
    assert places == sorted(places)
    assert "21 of 10 requests compared" in text
    assert line(text, "latency p50").endswith("faster")
    assert line(text, "TTFT").endswith("no clear difference")
    assert line(text, "cost").endswith("cheaper")
    assert line(text, "output tokens").endswith("longer")
    assert line(text, "errors").endswith("no clear difference")


def test_too_few_pairs_are_said_to_be_too_few() -> None:
    text = text_report(report_of(FACTS, pairs(5)))
    assert "needs 6 pairs" in line(text, "latency p50")
    assert line(text, "latency p50").endswith("no clear difference")


def test_the_worst_are_those_that_went_well_before_and_then_those_least_alike() -> None:
    found = [
        pair(1, failed("old"), failed(), None),
        pair(2, failed("old"), outcome("new"), None),
        pair(3, outcome(), failed(error_code="context_length_exceeded"), None),
        *(pair(n, similarity=n / 100) for n in range(10, 30)),
        pair(30, similarity=1.0),
    ]
    text = text_report(report_of(FACTS, found), worst=3)
    otherwise, alike = text.split("ENDED OTHERWISE")[1].split("LEAST SIMILAR")
    assert otherwise.index("req-00003") < otherwise.index("req-00002")
    assert "failed (context_length_exceeded)" in otherwise
    assert "req-00001" not in text
    assert "(3 of 20)" in alike
    assert [part.split()[0] for part in alike.splitlines()[2:]] == ["req-00010", "req-00011", "req-00012"]


def test_identical_answers_and_equal_ends_are_not_listed() -> None:
    text = text_report(report_of(FACTS, [pair(n, similarity=1.0) for n in range(3)]))
    assert "ENDED OTHERWISE" not in text
    assert "LEAST SIMILAR" not in text
    assert "3 of 3 texts are identical" in text


@pytest.mark.parametrize("name", ["x" * 300, "水" * 300, "req-1", ""])
def test_it_fits_a_terminal_whatever_things_are_called(name: str) -> None:
    named = [
        replace(
            each, uid=f"{name}{n}", replay_of=f"{name}{n}", tenant=name, original=replace(each.original, model=name)
        )
        for n, each in enumerate(pairs(30))
    ]
    bad = replace(named[0], replay=failed(error_code=name))
    facts = replace(FACTS, run_id=name, from_time=name)
    text = text_report(report_of(facts, [*named, bad]))
    assert max(map(width, text.splitlines())) <= WIDTH


def test_nothing_in_the_data_can_talk_to_the_terminal() -> None:
    bad = replace(pair(1), tenant="\x1b]0;title\x07", uid="a\nb\r", replay_of="\N{RIGHT-TO-LEFT OVERRIDE}")
    text = text_report(report_of(replace(FACTS, model="\x9b31m"), [bad]))
    assert all(character.isprintable() for character in text.replace("\n", ""))
    assert "?]0;title?" in text


def test_sums_say_what_they_leave_out() -> None:
    text = text_report(report_of(FACTS, [*pairs(8), pair(50, outcome(cost_usd=1.0))]))
    assert line(text.split("TOTALS")[1], "cost").endswith("1 left out, not known")


def test_nothing_compared_is_a_report_too() -> None:
    text = text_report(report_of(replace(FACTS, ended_at=None, status="running"), []))
    assert "running, 0 of 10 requests compared" in text
    assert "to now" in text
