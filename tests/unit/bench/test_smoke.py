"""The whole benchmark once, without Kafka: too short for figures, but every answer is right."""

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from bench.processes import ROOT

WITHIN_S = 180.0  # some seconds of measuring; the rest is for machines that have other things to do


@pytest.mark.parametrize(
    ("workloads", "targets"),
    [
        pytest.param("W1,W2,W3", "none,bare,embedded", id="http"),
        pytest.param("W4", "echo,embedded", id="rabbitmq", marks=pytest.mark.rabbitmq),
    ],
)
def test_a_quick_run_measures_every_target_without_an_error(workloads: str, targets: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "--quick", "--targets", targets, "--only", workloads]
    run = subprocess.run(
        [*command, "--results", str(tmp_path), "--publish", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "| No answer is wrong or missing | 0 errors | met |" in " ".join(run.stdout.split())
    cells = orjson.loads((tmp_path / "benchmarks.json").read_bytes())["cells"]
    assert {(cell["workload"], cell["target"]) for cell in cells} == {
        (workload, target) for workload in workloads.split(",") for target in targets.split(",")
    }
    assert all(cell["figures"]["tokens_per_s"] > 0 for cell in cells)
