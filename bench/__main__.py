"""``make bench``: measures Weir's cost, as ratios to no proxy and to a bare proxy, and its starts, in one run."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import machine, output, profile, recovery, report
from bench.processes import BenchError
from bench.recovery import Start
from bench.results import Results, floors
from bench.targets import DOORS, NAMES, Field, start_all
from bench.workloads import WORKLOADS, Cell, Pace, Workload, run

START = "start"
PARTS = [*(workload.key for workload in WORKLOADS), START]
QUICK = {"rounds": 1, "seconds": 0.7, "warmup": 0.3, "records": 300, "starts": 1}


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="how often every cell is measured (default 5)")
    add("--seconds", type=float, default=8.0, help="time of each cell (default 8)")
    add("--warmup", type=float, default=1.0, help="seconds before each cell that do not count (default 1)")
    add("--patience", type=float, default=0.0, help="seconds for each cell to wait until other programs are quiet")
    add("--only", type=_some_of(PARTS), default=PARTS, help=f"of {','.join(PARTS)}")
    add("--targets", type=_some_of(list(NAMES)), default=list(NAMES), help=f"of {','.join(NAMES)}")
    add("--records", type=int, default=100_000, help="requests in the tables at the start (default 100000)")
    add("--starts", type=int, default=3, help="starts of each kind (default 3)")
    add("--quick", action="store_true", help="a smoke run: everything once, too short to mean anything")
    add("--profile", action="store_true", help="then record the workers with py-spy, one cell each")
    add("--from", dest="source", type=Path, help="measure nothing, show the results in this JSON file")
    add("--publish", type=Path, metavar="FOLDER", help="also write benchmarks.md, .svg and .json there")
    add("--results", type=Path, default=output.RESULTS, metavar="FOLDER", help="where runs go (bench/results)")
    add("--check", action="store_true", help="fail where a floor is not met")
    options = parser.parse_args(given)
    if options.quick:
        vars(options).update(QUICK)
    return options


def _some_of(names: Sequence[str]) -> Callable[[str], list[str]]:
    def choice(text: str) -> list[str]:
        chosen = text.split(",")
        if wrong := set(chosen) - set(names):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(wrong))}: allowed are {', '.join(names)}")
        return [name for name in names if name in chosen]

    return choice


def line(cell: Cell) -> str:
    """One cell as a line, while the run goes on."""
    of = cell.figures
    busy = " ".join(f"{name} {share:.2f}" for name, share in cell.cpu.items() if share >= 0.005)
    return (
        f"{cell.round} {cell.workload} {NAMES[cell.target]:<21}"
        f" {of.requests_per_s:7.1f} req/s {of.tokens_per_s:8.0f} tok/s"
        f"  TTFT {of.ttft_ms:6.2f} p95 {of.ttft_p95_ms:6.2f}"
        f"  token's way {of.transit_ms:6.2f}  per token {of.token_ms:6.3f}"
        f"  errors {of.errors}  CPU {busy}"
    )


def measure_cells(options: argparse.Namespace, folder: Path) -> list[Cell]:
    """Measure W1 to W4, one door after the other."""
    cells: list[Cell] = []
    for door, possible in DOORS.items():
        workloads = [workload for workload in WORKLOADS if workload.key in options.only and workload.door == door]
        keys = [key for key in possible if key in options.targets]
        if workloads and keys:
            with ExitStack() as stack:
                cells += measure_door(options, workloads, start_all(door, keys, folder, stack))
    return cells


def measure_door(options: argparse.Namespace, workloads: Sequence[Workload], field: Field) -> Iterator[Cell]:
    """Measure the workloads of one door."""
    say(f"pids: {field.pids}")
    pace = Pace(rounds=options.rounds, seconds=options.seconds, warmup_s=options.warmup, patience_s=options.patience)
    for cell in run(workloads, field, pace):
        say(line(cell))
        for text in cell.figures.error_texts:
            say(f"   {text[:500]}")
        yield cell
    if options.profile:
        for workload in workloads:
            for target in field.targets:
                say(f"profile of {workload.key}: {profile.record(workload, target, field, options.results)}")


def measure_starts(options: argparse.Namespace, folder: Path) -> list[Start]:
    """Measure S, the starts."""
    starts: list[Start] = []
    if START in options.only:
        for start in recovery.run(folder, options.records, options.starts):
            starts.append(start)
            say(
                f"S {start.case}, after {start.after}: /ping {start.ping_s} s, first token {start.token_s} s, "
                f"old requests {start.old_s} s, worker's CPU {start.cpu_s} s, CPU {start.cpu}"
            )
    return starts


def say(text: str) -> None:
    """Print progress."""
    print(text, flush=True)


def measure(options: argparse.Namespace) -> Results:
    """Measure everything that the options ask for."""
    given = {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
        described = machine.describe()
        cells = measure_cells(options, Path(folder))
        starts = measure_starts(options, Path(folder))
    results = Results(machine=described, options=given, cells=cells, starts=starts)
    say(f"\nresults: {output.save(results, options.results)}")
    return results


def main(given: Sequence[str]) -> int:
    """Run the benchmark; returns the exit code."""
    options = arguments(given)
    results = output.load(options.source) if options.source else measure(options)
    say(f"\n{report.full(results)}")
    if options.publish:
        output.publish(results, options.publish)
    return int(options.check and not all(floor.met for floor in floors(results)))


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except BenchError as error:
        sys.exit(f"bench: {error}")
