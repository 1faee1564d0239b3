import base64
import hashlib
import random
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import orjson
import pytest

from tests.unit.weir.replay.report.pairs import FACTS, failed, outcome, pair
from weir.replay.report.charts import POINTS_MAX
from weir.replay.report.comparison import Compared
from weir.replay.report.page import page
from weir.replay.report.report import report_of

EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)">&amp;\'"\u2028'
VOID = {"meta", "input", "link", "br"}


class Page(HTMLParser):
    """Parses a page like a browser: it fails where elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}  # of the last element of each name
        self.said = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.texts[tag] = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]] += data
            self.said += data if self.open[-1] not in {"script", "style"} else ""

    def count(self, tag: str, kind: str | None = None) -> int:
        return sum(name == tag and kind in (None, attributes.get("class")) for name, attributes in self.elements)


def data(text: str) -> list[Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    rows: list[Any] = orjson.loads(found[1])
    return rows


def pairs(count: int) -> list[Compared]:
    dice = random.Random(5)
    return [
        pair(
            n,
            outcome(
                latency_ms=dice.uniform(500, 9000), ttft_ms=200.5, input_tokens=90, output_tokens=50, cost_usd=1e-4
            ),
            outcome(
                "new", latency_ms=dice.uniform(50, 400), ttft_ms=99.5, input_tokens=90, output_tokens=60, cost_usd=3e-4
            ),
            round(dice.random(), 4),
        )
        for n in range(count)
    ]


def test_every_element_is_closed_and_the_figures_are_there_without_a_script() -> None:
    found = Page(page(report_of(FACTS, [*pairs(30), pair(99, replay=failed(), similarity=None)])))
    assert found.open == []
    for said in (
        "old → new",
        "31 of 10 requests",
        "faster",
        "dearer",
        "longer",
        "+20.0 %",
        "\N{MULTIPLICATION SIGN}3.0",
        "failed only before: 0",
    ):
        assert said in found.said, said
    assert found.count("article") == 6
    assert found.count("svg", "chart") == 2
    assert found.count("rect", "bar") == 20
    assert found.count("circle", "point") == 30
    assert found.count("noscript") == 1


@pytest.mark.parametrize(
    "evil",
    [
        [replace(pair(1), uid=EVIL, replay_of=EVIL, tenant=EVIL)],
        [pair(1, outcome(EVIL, latency_ms=1), outcome(EVIL, latency_ms=1)), replace(pair(2), replay_of=EVIL)],
        [replace(pair(1, outcome(latency_ms=5), outcome(latency_ms=6)), replay_of=EVIL)],
        [pair(1, outcome(status=EVIL), outcome("new", EVIL, error_code=EVIL, finish_reason=EVIL))],
        [pair(1, original_text=EVIL, replay_text=f"<!--{EVIL}")],
    ],
)
def test_what_comes_from_the_data_is_never_markup(evil: list[Compared]) -> None:
    facts = replace(
        FACTS, run_id=EVIL, model=EVIL, from_time=EVIL, started_at=EVIL, parameters={EVIL: EVIL, "x": {"y": EVIL}}
    )
    report = report_of(facts, evil)
    text = page(report)
    found = Page(text)
    assert found.open == []
    assert found.count("script") == 2
    assert found.count("img") == 0
    assert not [name for _, attributes in found.elements for name in attributes if name.startswith("on")]
    assert [row[:2] for row in data(text)] == [[each.replay_of, each.uid] for each in report.requests]


def test_the_embedded_data_holds_no_character_that_could_end_its_script() -> None:
    text = page(report_of(FACTS, [pair(1, original_text=EVIL, replay_text="<!--<script>")]))
    raw = text.split('id="data">')[1].split("</script>")[0]
    assert not {*"<>&"} & {*raw}
    assert data(text)[0][7:] == [EVIL, "<!--<script>"]


def test_the_policy_allows_nothing_but_the_pages_own_style_and_script() -> None:
    text = page(report_of(FACTS, pairs(3)))
    found = Page(text)
    policy = next(a["content"] for tag, a in found.elements if a.get("http-equiv") == "Content-Security-Policy")
    style, script = (
        base64.b64encode(hashlib.sha256(found.texts[tag].encode()).digest()).decode() for tag in ("style", "script")
    )
    own = f"style-src 'sha256-{style}'; script-src 'sha256-{script}'"
    assert policy == f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"
    assert "style" not in {name for _, attributes in found.elements for name in attributes}  # the policy forbids them


def test_it_loads_nothing() -> None:
    text = page(report_of(FACTS, pairs(3)))
    found = Page(text)
    assert not {"src", "href", "srcset", "action"} & {name for _, attributes in found.elements for name in attributes}
    assert "url(" not in text
    assert "@import" not in text
    assert "http://" not in text
    assert "https://" not in text


def test_the_script_sets_text_and_never_markup() -> None:
    script = Page(page(report_of(FACTS, []))).texts["script"]
    assert "textContent" in script
    for risky in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("):
        assert risky not in script


def test_texts_are_in_it_only_where_they_were_asked_for() -> None:
    assert data(page(report_of(FACTS, [pair(1)])))[0][7:] == [None, None]
    assert data(page(report_of(FACTS, [pair(1, original_text="then")])))[0][7:] == ["then", None]


def test_ten_thousand_requests_are_a_few_megabytes_and_one_picture() -> None:
    text = page(report_of(FACTS, pairs(10_000)))
    found = Page(text)
    assert len(text.encode()) < 4_000_000
    assert len(data(text)) == 10_000
    assert POINTS_MAX * 0.9 < found.count("circle", "point") <= POINTS_MAX
    assert "One of 7 is drawn." in found.said


def test_a_point_knows_its_row() -> None:
    report = report_of(FACTS, reversed(pairs(5)))
    found = Page(page(report))
    rows = [int(a["data-row"] or "") for tag, a in found.elements if tag == "circle" and a.get("class") == "point"]
    latencies = [report.requests[row].original.latency_ms or 0 for row in rows]
    assert sorted(rows) == [0, 1, 2, 3, 4]
    assert latencies == sorted(latencies)


def test_how_requests_ended_is_a_matrix() -> None:
    found = [
        *(pair(n) for n in range(7)),
        *(pair(n, replay=failed(), similarity=None) for n in range(3)),
        *(pair(n, failed("old"), similarity=None) for n in range(2)),
    ]
    matrix = page(report_of(FACTS, found)).split('class="matrix"')[1].split("</table>")[0]
    cells = re.findall(r'<td class="(\w+)">(\d+)</td>', matrix)
    assert cells == [("same", "7"), ("bad", "3"), ("good", "2"), ("none", "0")]


@pytest.mark.parametrize("latency_ms", [0.0, 0.4, 1.0, 1000.0, 3_600_000.0])
def test_any_latency_has_its_place_in_the_picture(latency_ms: float) -> None:
    same = [pair(n, outcome(latency_ms=latency_ms), outcome("new", latency_ms=latency_ms)) for n in range(6)]
    found = Page(page(report_of(FACTS, same)))
    points = [attributes for tag, attributes in found.elements if tag == "circle" and attributes["class"] == "point"]
    assert len(points) == 6
    assert all(0 <= float(point["cx"] or "") <= 380 and 0 <= float(point["cy"] or "") <= 300 for point in points)


def test_nothing_compared_is_a_page_too() -> None:
    found = Page(page(report_of(replace(FACTS, status="running", ended_at=None), [])))
    assert "No two answers to compare" in found.said
    assert "0 of 10 requests" in found.said
    assert found.open == []
