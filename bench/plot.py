"""Draws the results as one picture, in the colours of Okabe and Ito, which colour-blind people can tell apart."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.elsewhere import GO_WORKER
from bench.recovery import NO_TABLES
from bench.results import Results, Row
from bench.stats import Spread
from bench.targets import BARE, ECHO, EMBEDDED, KAFKA, NAMES
from bench.workloads import WORKLOADS

COLOURS = {BARE: "#56B4E9", EMBEDDED: "#E69F00", KAFKA: "#0072B2"}
GREY = "#999999"  # of RabbitMQ alone, which is one panel's only
FLOOR: dict[str, Any] = {"color": "#D55E00", "linestyle": "--", "linewidth": 1.2}
BACK = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8}  # of a label on a line
WIDTH = 0.26  # of a bar, where three stand side by side

Bar = tuple[float, str, Spread]  # place, target, height


def draw(results: Results, path: Path) -> None:
    """Write the picture as SVG."""
    figure = Figure(figsize=(13, 7.2), layout="constrained")
    axes: dict[str, Axes] = figure.subplot_mosaic([["W1", "W2", "W3"], ["W4", "S", "S"]])
    _latency(axes["W1"], results)
    _share(axes["W2"], results)
    _speed(axes["W3"], results)
    _queue(axes["W4"], results)
    _starts(axes["S"], results)
    for panel in axes.values():
        panel.spines[["top", "right"]].set_visible(False)
        panel.margins(y=0.16)
    handles: list[Artist] = [mpl.patches.Patch(color=COLOURS[key], label=NAMES[key]) for key in COLOURS]
    handles.append(mpl.lines.Line2D([], [], label="floor", **FLOOR))
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False)
    machine = results.machine
    figure.suptitle(
        f"Weir {machine['commit']}, {machine['cores']} cores for everything ({machine['cpu']})", fontsize=11
    )
    # The same figures make the same file.
    with mpl.rc_context({"svg.hashsalt": "weir"}):
        figure.savefig(path, format="svg", metadata={"Date": None})


def _latency(panel: Axes, results: Results) -> None:
    """W1: the latency added to that without a proxy."""
    rows = _rows(results, "W1", tuple(COLOURS))
    shift = {target: (number - 1) * WIDTH for number, target in enumerate(COLOURS)}
    first = [(shift[row.target], row.target, row.added_ttft_ms) for row in rows if row.added_ttft_ms]
    each = [(1 + shift[row.target], row.target, row.added_transit_ms) for row in rows if row.added_transit_ms]
    _bars(panel, [*first, *each], "{:.1f}")
    for middle, limit in ((0, 8), (1, 2.5)):
        panel.hlines(limit, middle - 0.45, middle + 0.45, **FLOOR)
    panel.set_xticks([0, 1], ["first token", "each token"])
    _name(panel, f"{_title(0)}:\nadded latency, median", "ms")


def _share(panel: Axes, results: Results) -> None:
    """W2: requests/s as a share of those without a proxy."""
    rows = _rows(results, "W2", tuple(COLOURS))
    _bars(panel, [(at, row.target, row.of_none) for at, row in enumerate(rows) if row.of_none], "{:.2f}")
    panel.axhline(0.6, **FLOOR)
    panel.set_xticks(range(len(rows)), [_short(row.target) for row in rows])
    _name(panel, f"{_title(1)}:\nrequests/s as a share of no proxy", "share")


def _speed(panel: Axes, results: Results) -> None:
    """W3: tokens/s, and the share of the bare proxy's."""
    rows = _rows(results, "W3", tuple(COLOURS))
    _bars(panel, [(at, row.target, _thousands(row.tokens_per_s)) for at, row in enumerate(rows)], "{:.0f} k")
    panel.axhline(30, **FLOOR)
    shares = [
        f"{_short(row.target)}\n{row.of_bare.median:.2f} of bare" if row.of_bare else _short(row.target) for row in rows
    ]
    panel.set_xticks(range(len(rows)), shares)
    _name(panel, f"{_title(2)}:\nthrough a proxy", "1,000 tokens/s")


def _queue(panel: Axes, results: Results) -> None:
    """W4: requests/s over RabbitMQ, beside a figure from elsewhere."""
    rows = _rows(results, "W4", (ECHO, EMBEDDED, KAFKA))
    _bars(panel, [(at, row.target, row.requests_per_s) for at, row in enumerate(rows)], "{:.0f}")
    names = [f"{_short(row.target)}\nTTFT {row.ttft_ms.median:,.0f} ms" for row in rows]
    if rows:
        other = GO_WORKER
        panel.bar(len(rows), other.requests_per_s, 0.56, facecolor="white", edgecolor="#555555", hatch="//")
        _label(panel, len(rows), other.requests_per_s, f"{other.requests_per_s:.1f}")
        names.append(f"{other.name},\nelsewhere\nTTFT {other.ttft_ms:,.0f} ms")
    panel.set_xticks(range(len(names)), names, fontsize=8)
    _name(panel, f"{_title(3)}:\nand the worker that Weir replaces", "requests/s")


def _starts(panel: Axes, results: Results) -> None:
    """S: the time until a worker serves everything again."""
    groups = dict.fromkeys((start.case, start.after) for start in results.starts if start.after != NO_TABLES)
    bars, names = [], []
    for at, (case, after) in enumerate(groups):
        took = [start.serves_s for start in results.starts if (start.case, start.after) == (case, after)]
        bars.append((at, case.partition(",")[0], Spread.of(took)))
        names.append(f"{case.replace(', ', chr(10))}\n{after}")
    _bars(panel, bars, "{:.1f}")
    panel.axhline(10, **FLOOR)
    panel.set_xticks(range(len(names)), names, fontsize=8)
    records = median([start.records for start in results.starts] or [0])
    _name(panel, f"S: start with {records:,.0f} requests in the tables,\nuntil all is served again", "s")


def _bars(panel: Axes, bars: Sequence[Bar], form: str) -> None:
    width = WIDTH if any(at % 1 for at, _, _ in bars) else 0.6
    for at, target, spread in bars:
        reach = [[spread.median - spread.least], [spread.most - spread.median]]
        whisker: dict[str, Any] = {"ecolor": "#333333", "capsize": 3, "elinewidth": 1}
        panel.bar(at, spread.median, width * 0.94, color=COLOURS.get(target, GREY), yerr=reach, error_kw=whisker)
        _label(panel, at, max(spread.most, 0), form.format(spread.median))


def _label(panel: Axes, at: float, height: float, text: str) -> None:
    panel.annotate(text, (at, height), (0, 3), textcoords="offset points", ha="center", fontsize=9, bbox=BACK)


def _rows(results: Results, workload: str, targets: Sequence[str]) -> list[Row]:
    return [row for target in targets if (row := results.row(workload, target))]


def _title(number: int) -> str:
    return WORKLOADS[number].title


def _short(target: str) -> str:
    return NAMES[target].replace("Weir, ", "Weir,\n").replace("bare ", "bare\n").replace("RabbitMQ ", "RabbitMQ\n")


def _thousands(spread: Spread) -> Spread:
    return Spread(spread.median / 1000, spread.least / 1000, spread.most / 1000)


def _name(panel: Axes, title: str, unit: str) -> None:
    panel.set_title(title, fontsize=10, loc="left")
    panel.set_ylabel(unit)
