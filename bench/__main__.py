"""``make bench``: ratios to no proxy and to a bare proxy, in one run on one machine."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench.processes import BenchError
from bench.targets import NAMES, start_all
from bench.workloads import WORKLOADS, Cell, Workload, run

QUICK_SECONDS = 1.0


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often everything is measured (default 5)")
    parser.add_argument("--seconds", type=float, default=8.0, help="time per cell (default 8)")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before each cell that do not count")
    parser.add_argument("--only", type=_list, default=["W1", "W2", "W3"], help="workloads: W1,W2,W3")
    parser.add_argument("--targets", type=_list, default=list(NAMES), help=f"of {','.join(NAMES)}")
    return parser.parse_args(given)


def _list(text: str) -> list[str]:
    return [item for item in text.split(",") if item]


def chosen(keys: Sequence[str]) -> list[Workload]:
    """The workloads of these names."""
    return [workload for workload in WORKLOADS if workload.key in keys]


def line(cell: Cell) -> str:
    """One cell, while the run goes on."""
    of = cell.figures
    busy = " ".join(f"{name} {share:.2f}" for name, share in cell.cpu.items() if share >= 0.005)
    return (
        f"{cell.round} {cell.workload} {NAMES[cell.target]:<21}"
        f" {of.requests_per_s:7.1f} req/s {of.tokens_per_s:8.0f} tok/s"
        f"  TTFT {of.ttft_ms:6.2f} p95 {of.ttft_p95_ms:6.2f}"
        f"  gap {of.gap_ms:5.2f}  per token {of.token_ms:6.3f}"
        f"  transit {of.transit_ms:6.2f}  errors {of.errors}  CPU {busy}"
    )


def main(given: Sequence[str]) -> int:
    """Returns the exit code."""
    options = arguments(given)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="weir-bench-")))
        field = start_all(options.targets, folder, stack)
        print(f"pids: {field.pids}")
        workloads = chosen(options.only)
        for cell in run(workloads, field, rounds=options.rounds, seconds=options.seconds, warmup_s=options.warmup):
            print(line(cell), flush=True)
            for text in cell.figures.error_texts:
                print(f"   {text[:500]}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BenchError as error:
        sys.exit(f"bench: {error}")
