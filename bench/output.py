"""Writes the results to a folder of runs, or to the docs."""

from pathlib import Path
from string import Template

import orjson

from bench import report
from bench.plot import draw
from bench.results import Results

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).with_name("page.md")


def save(results: Results, folder: Path) -> Path:
    """Write the run's JSON and its plot, named after its date; returns the JSON's path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = results.machine["date"].replace(":", "").replace("+0000", "Z")
    _write(results, folder / f"{name}.json", folder / f"{name}.svg")
    return folder / f"{name}.json"


def load(path: Path) -> Results:
    """Read an earlier run."""
    return Results.from_json(orjson.loads(path.read_bytes()))


def publish(results: Results, folder: Path) -> None:
    """Write benchmarks.md, .svg and .json to a folder."""
    _write(results, folder / "benchmarks.json", folder / "benchmarks.svg")
    page = Template(PAGE.read_text()).substitute(tables=report.full(results))
    (folder / "benchmarks.md").write_text(page)


def _write(results: Results, json: Path, svg: Path) -> None:
    json.write_bytes(orjson.dumps(results.to_json(), option=orjson.OPT_INDENT_2) + b"\n")
    draw(results, svg)
