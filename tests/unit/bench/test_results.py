"""Percentiles, ratios within rounds, floors, and results by them."""

import argparse
from pathlib import Path

import orjson
import pytest

from bench import output, report
from bench.__main__ import arguments
from bench.load import Figures
from bench.recovery import NO_TABLES, Start
from bench.results import Results, floors
from bench.stats import Spread, percentile
from bench.workloads import Cell


def figures(per_s: float, *, ttft_ms: float = 5.0, transit_ms: float = 0.1, errors: int = 0) -> Figures:
    return Figures(
        seconds=8.0,
        requests=100,
        errors=errors,
        requests_per_s=per_s,
        tokens_per_s=per_s * 50,
        ttft_ms=ttft_ms,
        ttft_p95_ms=2 * ttft_ms,
        gap_ms=5.0,
        token_ms=5.0,
        transit_ms=transit_ms,
        transit_p95_ms=2 * transit_ms,
        error_texts=[],
        messages=48.5,
    )


def cell(workload: str, target: str, number: int, of: Figures, *, others: float = 0.0) -> Cell:
    cpu = {"generator": 0.1, "upstream": 0.1, "bare proxy": 0.5, "kafka worker": 0.5, "kafka broker": 0.2}
    return Cell(workload=workload, target=target, round=number, figures=of, cpu={**cpu, "others": others})


def start(case: str, after: str, seconds: float) -> Start:
    return Start(
        case=case, after=after, records=1000, ping_s=1.0, token_s=seconds, old_s=2.0, cpu_s=1.0, cpu={"worker": 0.5}
    )


MACHINE = {
    "date": "2026-01-31T12:00:00+00:00",
    "commit": "abc",
    "changed_files": 0,
    "cpu": "CPU",
    "cores": 2,
    "memory_gib": 4.0,
    "system": "Linux",
    "python": "3.11",
    "kafka": "4.1.1",
}


@pytest.fixture
def results() -> Results:
    cells = []
    # The machine is half as fast in the second round; the ratios are not.
    for number, fast in ((1, 1.0), (2, 0.5), (3, 1.0)):
        for workload in ("W1", "W2", "W3"):
            cells += [
                cell(workload, "none", number, figures(1000 * fast)),
                cell(workload, "bare", number, figures(800 * fast, ttft_ms=6)),
                cell(workload, "kafka", number, figures(640 * fast, ttft_ms=11 + number, transit_ms=2.1)),
            ]
        cells.append(cell("W4", "echo", number, figures(200 * fast, ttft_ms=8)))
        cells.append(cell("W4", "kafka", number, figures(100 * fast, ttft_ms=100)))
    starts = [start("kafka, rocksdb", "stop", 3.0), start("kafka, rocksdb", NO_TABLES, 40.0)]
    options = {"rounds": 3, "seconds": 8.0}
    return Results(machine=MACHINE, options=options, cells=cells, starts=starts)


def test_percentiles_are_interpolated() -> None:
    assert percentile([4, 1, 3, 2], 0.5) == 2.5
    assert percentile([1, 2, 3, 4, 5], 0.95) == pytest.approx(4.8)
    assert percentile([7], 0.95) == 7
    assert percentile([], 0.5) == 0


def test_a_spread_is_shown_where_there_is_one() -> None:
    assert Spread.of([1, 3, 2]).show() == "2.00 (1.00…3.00)"
    assert Spread.of([1]).show(0) == "1"


def test_ratios_are_made_within_a_round(results: Results) -> None:
    row = results.row("W2", "kafka")
    assert row is not None
    assert row.of_none == Spread(0.64, 0.64, 0.64)
    assert row.of_bare == Spread(0.8, 0.8, 0.8)
    assert row.added_ttft_ms == Spread(8.0, 7.0, 9.0)
    assert row.tokens_per_cpu_s == 64_000
    none = results.row("W2", "none")
    assert none is not None
    assert none.of_none is None


def test_over_rabbitmq_the_base_is_rabbitmq_alone(results: Results) -> None:
    row = results.row("W4", "kafka")
    assert row is not None
    assert row.of_none == Spread(0.5, 0.5, 0.5)
    assert row.added_ttft_ms == Spread(92.0, 92.0, 92.0)
    shown = " ".join(report.full(results).split())
    assert "| Weir, Kafka acks=all | 100.0 | 0.50 | 5,000 | 100.0 (200.0) | 92.0 |" in shown
    assert "Generator and RabbitMQ alone make 10,000 tokens/s in W4, 2.0 times what they make with Weir" in shown


def test_what_was_measured_elsewhere_says_so(results: Results) -> None:
    lines = [line for line in report.full(results).splitlines() if "Go worker" in line]
    assert [line.partition("3.7")[0].strip("| ") for line in lines] == [
        "Go worker (measured elsewhere, on two shared cores)"
    ]
    results.cells[:] = [each for each in results.cells if each.workload != "W4"]
    assert "Go worker" not in report.full(results)


def test_every_floor_is_told(results: Results) -> None:
    assert [floor.met for floor in floors(results)] == [True] * 6
    worse = Results(
        machine=MACHINE,
        options=results.options,
        cells=[cell("W1", "none", 1, figures(4)), cell("W1", "kafka", 1, figures(4, ttft_ms=13.1, errors=1))],
        starts=[start("kafka, rocksdb", "kill -9", 10.1)],
    )
    assert [floor.met for floor in floors(worse)] == [False, True, False, False]


def test_a_disturbed_cell_is_told(results: Results) -> None:
    assert "DISTURBED" not in report.full(results)
    results.cells.append(cell("W3", "kafka", 4, figures(1), others=1.0))
    assert "DISTURBED: in 1 of 34 cells" in report.full(results)


def test_a_table_has_even_columns() -> None:
    lines = report.grid(["a", "b"], [["long", "1"], ["x", "22"]]).splitlines()
    assert lines == ["| a    |  b |", "|------|---:|", "| long |  1 |", "| x    | 22 |"]


def test_results_are_read_back_and_published(results: Results, tmp_path: Path) -> None:
    output.publish(results, tmp_path)
    assert output.load(tmp_path / "benchmarks.json") == results
    assert (tmp_path / "benchmarks.svg").read_bytes().startswith(b"<?xml")
    page = (tmp_path / "benchmarks.md").read_text()
    assert "$" not in page
    assert "| Weir, Kafka acks=all" in page
    stored = orjson.loads((tmp_path / "benchmarks.json").read_bytes())
    assert stored["machine"] == MACHINE
    assert [other["name"] for other in stored["elsewhere"]] == ["Go worker"]


def test_a_run_that_measured_only_a_part_is_shown(results: Results, tmp_path: Path) -> None:
    part = Results(machine=MACHINE, options=results.options, cells=results.cells[:1], starts=[])
    output.publish(part, tmp_path)
    assert "no proxy" in report.full(part)


def test_parts_are_chosen_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    options: argparse.Namespace = arguments(["--only", "start,W1", "--targets", "none"])
    assert (options.only, options.targets) == (["W1", "start"], ["none"])
    with pytest.raises(SystemExit):
        arguments(["--only", "W9"])
    assert "W9: allowed are W1, W2, W3, W4, start" in capsys.readouterr().err
