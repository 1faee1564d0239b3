"""Medians of the cells over the rounds, for each workload and target; ratios are made within a round.

A ratio of two medians would mix rounds in which the machine was fast with rounds in which it was slow.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from bench.elsewhere import ELSEWHERE
from bench.load import Figures
from bench.processes import NOISY
from bench.recovery import NO_TABLES, Start
from bench.stats import Spread
from bench.targets import BARE, ECHO, KAFKA, NO_PROXY
from bench.workloads import Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One workload against one target."""

    workload: str
    target: str
    requests_per_s: Spread
    tokens_per_s: Spread
    ttft_ms: Spread
    ttft_p95_ms: Spread
    gap_ms: Spread
    token_ms: Spread
    transit_ms: Spread
    messages: Spread  # the number of messages of an answer over RabbitMQ
    of_none: Spread | None  # requests/s, as a share of those without a proxy, or of RabbitMQ alone
    of_bare: Spread | None  # tokens/s, as a share of the bare proxy's
    added_ttft_ms: Spread | None
    added_transit_ms: Spread | None
    added_token_ms: Spread | None
    errors: int
    cpu: dict[str, float]  # median
    tokens_per_cpu_s: float  # of the programs between client and upstream, without the broker


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The results of a run."""

    machine: dict[str, Any]
    options: dict[str, Any]
    cells: list[Cell]
    starts: list[Start]

    def to_json(self) -> dict[str, Any]:
        """The results as the JSON of a file."""
        return {
            "machine": self.machine,
            "options": self.options,
            "cells": [cell.to_json() for cell in self.cells],
            "starts": [start.to_json() for start in self.starts],
            "elsewhere": [asdict(each) for each in ELSEWHERE],
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Results":
        """The results in the JSON of a file."""
        cells = [Cell(**{**cell, "figures": Figures(**cell["figures"])}) for cell in stored["cells"]]
        starts = [Start(**start) for start in stored["starts"]]
        return cls(machine=stored["machine"], options=stored["options"], cells=cells, starts=starts)

    @property
    def noisy(self) -> int:
        """How many cells were disturbed by other programs."""
        return sum(cell.cpu["others"] > NOISY for cell in self.cells)

    def rows(self) -> list[Row]:
        """A row for each workload and target, in the order of the run."""
        return [_row(self.cells, *names) for names in dict.fromkeys((c.workload, c.target) for c in self.cells)]

    def row(self, workload: str, target: str) -> Row | None:
        """One row, if it was measured."""
        return next((row for row in self.rows() if (row.workload, row.target) == (workload, target)), None)


def _row(cells: Sequence[Cell], workload: str, target: str) -> Row:
    by = {(cell.target, cell.round): cell for cell in cells if cell.workload == workload}
    own = [cell for cell in by.values() if cell.target == target]
    cpu = {name: median(cell.cpu[name] for cell in own) for name in own[0].cpu}

    def spread(value: Callable[[Figures], float]) -> Spread:
        return Spread.of([value(cell.figures) for cell in own])

    none = ECHO if any(name == ECHO for name, _ in by) else NO_PROXY

    def against(other: str, compare: Callable[[Figures, Figures], float]) -> Spread | None:
        pairs = [(cell.figures, by[other, cell.round].figures) for cell in own if (other, cell.round) in by]
        return Spread.of([compare(*pair) for pair in pairs]) if pairs and target != other else None

    return Row(
        workload=workload,
        target=target,
        requests_per_s=spread(lambda of: of.requests_per_s),
        tokens_per_s=spread(lambda of: of.tokens_per_s),
        ttft_ms=spread(lambda of: of.ttft_ms),
        ttft_p95_ms=spread(lambda of: of.ttft_p95_ms),
        gap_ms=spread(lambda of: of.gap_ms),
        token_ms=spread(lambda of: of.token_ms),
        transit_ms=spread(lambda of: of.transit_ms),
        messages=spread(lambda of: of.messages),
        of_none=against(none, lambda of, base: ratio(of.requests_per_s, base.requests_per_s)),
        of_bare=against(BARE, lambda of, bare: ratio(of.tokens_per_s, bare.tokens_per_s)),
        added_ttft_ms=against(none, lambda of, base: of.ttft_ms - base.ttft_ms),
        added_transit_ms=against(none, lambda of, base: of.transit_ms - base.transit_ms),
        added_token_ms=against(none, lambda of, base: of.token_ms - base.token_ms),
        errors=sum(cell.figures.errors for cell in own),
        cpu=cpu,
        tokens_per_cpu_s=median(_per_cpu_s(cell) for cell in own),
    )


def _per_cpu_s(cell: Cell) -> float:
    busy = sum(share for name, share in cell.cpu.items() if name in {f"{cell.target} proxy", f"{cell.target} worker"})
    return ratio(cell.figures.tokens_per_s, busy)


def ratio(value: float, base: float) -> float:
    """The quotient of two values; 0 if the divisor is 0."""
    return value / base if base else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """A promise about speed, and the measured value."""

    promise: str
    measured: str
    met: bool


def floors(results: Results) -> list[Floor]:
    """The floors that this run can check."""
    found = []
    if (row := results.row("W1", KAFKA)) and row.added_ttft_ms and row.added_transit_ms:
        ttft, transit = row.added_ttft_ms, row.added_transit_ms
        found += [
            _floor("W1 on Kafka: at most 8 ms added to the first token", f"{ttft.show(1)} ms", ttft.median <= 8),
            _floor("W1 on Kafka: at most 2.5 ms added per token", f"{transit.show()} ms", transit.median <= 2.5),
        ]
    if (row := results.row("W2", KAFKA)) and row.of_none:
        promise = "W2 on Kafka: at least 0.6 of the requests/s without a proxy"
        found.append(_floor(promise, row.of_none.show(), row.of_none.median >= 0.6))
    if (row := results.row("W3", KAFKA)) and row.of_bare:
        tokens = row.tokens_per_s.median
        found.append(
            _floor(
                "W3 on Kafka: at least 30,000 tokens/s, or 0.8 of the bare proxy's",
                f"{tokens:,.0f} tokens/s, {row.of_bare.show()}",
                tokens >= 30_000 or row.of_bare.median >= 0.8,
            )
        )
    for case in ("embedded, memory", "kafka, rocksdb"):
        if took := [start.serves_s for start in results.starts if start.case == case and start.after != NO_TABLES]:
            promise = f"{results.starts[0].records:,} requests, {case}: every start serves again within 10 s"
            found.append(_floor(promise, f"{Spread.of(took).show(1)} s", max(took) <= 10))
    if results.cells:
        errors = sum(cell.figures.errors for cell in results.cells)
        found.append(_floor("No answer is wrong or missing", f"{errors} errors", errors == 0))
    return found


def _floor(promise: str, measured: str, met: bool) -> Floor:
    return Floor(promise=promise, measured=measured, met=met)
