"""Formats the results as markdown that is also legible on a terminal."""

from collections.abc import Callable, Sequence

from bench.elsewhere import ELSEWHERE
from bench.processes import NOISY
from bench.recovery import Start
from bench.results import Results, Row, floors, ratio
from bench.stats import Spread
from bench.targets import BARE, ECHO, HTTP, NAMES, NO_PROXY, RABBITMQ
from bench.workloads import WORKLOADS

NONE = "-"


def full(results: Results) -> str:
    """All tables."""
    parts = [headline(results)]
    if results.cells:
        parts += [*tables(results), cpu_table(results), *remarks(results)]
    if results.starts:
        parts.append(start_table(results.starts))
    return "\n\n".join([*parts, floor_table(results)])


def headline(results: Results) -> str:
    """The machine, the date and the options of the run."""
    machine, options = results.machine, results.options
    changed = f" with {machine['changed_files']} changed files" if machine["changed_files"] else ""
    rabbitmq = f", RabbitMQ {machine['rabbitmq']}" if "rabbitmq" in machine else ""
    return (
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB, {machine['system']}, Python "
        f"{machine['python']}, Kafka {machine['kafka']}{rabbitmq}; commit {machine['commit']}{changed}, "
        f"{machine['date']}; {options['rounds']} rounds, {options['seconds']:g} s per cell"
    )


def tables(results: Results) -> list[str]:
    """A table for each door that was measured."""
    doors = {workload.key: workload.door for workload in WORKLOADS}
    found = []
    for door, made in ((HTTP, table), (RABBITMQ, queue_table)):
        rows = [row for row in results.rows() if doors[row.workload] == door]
        if rows:
            found.append(made(rows))
    return found


def table(rows: Sequence[Row]) -> str:
    """The ratios: median over the rounds, least and most in brackets."""
    head = ["", "requests/s", "of no proxy", "tokens/s", "of bare proxy", "TTFT ms (p95)", "added", "token's way ms"]
    return grid([*head, "added", "errors"], _by_workload(rows, _line, len(head) + 1))


def queue_table(rows: Sequence[Row]) -> str:
    """The same ratios over RabbitMQ, and the figures from elsewhere."""
    head = ["", "requests/s", "of RabbitMQ alone", "tokens/s", "TTFT ms (p95)", "added", "token's way ms", "added"]
    lines = _by_workload(rows, _queue_line, len(head) + 2)
    for other in ELSEWHERE:
        figures = [f"{other.requests_per_s:,.1f}", NONE, f"{other.tokens_per_s:,.0f}", f"{other.ttft_ms:.1f}"]
        lines.append([f"{other.name} ({other.where})", *figures, *[NONE] * 6])
    return grid([*head, "ms per token", "messages per answer", "errors"], lines)


def _by_workload(rows: Sequence[Row], line: Callable[[Row], list[str]], empty: int) -> list[list[str]]:
    lines: list[list[str]] = []
    for workload in WORKLOADS:
        own = [row for row in rows if row.workload == workload.key]
        if own:
            lines.append([f"**{workload.title}**", *[""] * empty])
        lines += [line(row) for row in own]
    return lines


def _line(row: Row) -> list[str]:
    return [
        NAMES[row.target],
        f"{row.requests_per_s.median:,.1f}",
        _show(row.of_none),
        f"{row.tokens_per_s.median:,.0f}",
        _show(row.of_bare),
        f"{row.ttft_ms.median:.1f} ({row.ttft_p95_ms.median:.1f})",
        _show(row.added_ttft_ms, 1),
        f"{row.transit_ms.median:.2f}",
        _show(row.added_transit_ms),
        str(row.errors),
    ]


def _queue_line(row: Row) -> list[str]:
    return [
        NAMES[row.target],
        f"{row.requests_per_s.median:,.1f}",
        _show(row.of_none),
        f"{row.tokens_per_s.median:,.0f}",
        f"{row.ttft_ms.median:.1f} ({row.ttft_p95_ms.median:.1f})",
        _show(row.added_ttft_ms, 1),
        f"{row.transit_ms.median:.2f}",
        _show(row.added_transit_ms),
        f"{row.token_ms.median:.3f}",
        row.messages.show(1),
        str(row.errors),
    ]


def cpu_table(results: Results) -> str:
    """The cores used by each process that took part in a cell."""
    head = ["CPU busy (cores)", "generator", "upstream", "proxy or worker", "Kafka", "RabbitMQ", "idle ones", "others"]
    lines = []
    for row in results.rows():
        busy = row.cpu
        own = busy.get(f"{row.target} proxy", busy.get(f"{row.target} worker"))
        broker = f"{row.target} broker"
        named = ["generator", "upstream", f"{row.target} proxy", f"{row.target} worker", broker, "rabbitmq"]
        idle = sum(share for name, share in busy.items() if name not in {*named, "others"})
        beside = [busy.get(broker), busy.get("rabbitmq"), idle, busy["others"]]
        shares = [busy["generator"], busy["upstream"], own, *beside]
        per_cpu = f"{row.tokens_per_cpu_s:,.0f}" if own else NONE
        pace = [f"{row.gap_ms.median:.2f}", f"{row.token_ms.median:.3f}", _show(row.added_token_ms, 3)]
        texts = [NONE if share is None else f"{share:.2f}" for share in shares]
        lines.append([f"{row.workload} {NAMES[row.target]}", *texts, per_cpu, *pace])
    return grid([*head, "tokens per CPU s", "gap ms", "ms per token", "added"], lines)


def remarks(results: Results) -> list[str]:
    """Remarks on how far the figures can be trusted."""
    found = []
    none, bare = results.row("W3", NO_PROXY), results.row("W3", BARE)
    proxies = [row.tokens_per_s.median for row in results.rows() if row.workload == "W3" and row.target != NO_PROXY]
    if none and bare and proxies:
        found.append(
            f"Generator and upstream alone make {none.tokens_per_s.median:,.0f} tokens/s in W3, "
            f"{none.tokens_per_s.median / max(proxies):.1f} times what they make through the fastest proxy."
        )
    queue = [row for row in results.rows() if row.workload == "W4" and row.target != ECHO]
    if (alone := results.row("W4", ECHO)) and queue:
        fastest = max(row.tokens_per_s.median for row in queue)
        found.append(
            f"Generator and RabbitMQ alone make {alone.tokens_per_s.median:,.0f} tokens/s in W4, "
            f"{ratio(alone.tokens_per_s.median, fastest):.1f} times what they make with Weir; the generator uses "
            f"{alone.cpu['generator']:.2f} cores for it."
        )
    if results.noisy:
        found.append(
            f"DISTURBED: in {results.noisy} of {len(results.cells)} cells other programs used more than {NOISY} cores."
        )
    return found


def start_table(starts: Sequence[Start]) -> str:
    """Seconds from the launch of the process, median over the starts."""
    lines = []
    for case, after in dict.fromkeys((start.case, start.after) for start in starts):
        some = [start for start in starts if (start.case, start.after) == (case, after)]
        values = [[getattr(start, name) for start in some] for name in ("ping_s", "token_s", "old_s", "cpu_s")]
        shown = [Spread.of(value).show(1) for value in values]
        lines.append([f"{case}; after {after}", f"{some[0].records:,}", *shown, str(len(some))])
    head = ["start", "requests", "/ping s", "first token s", "old requests s", "worker's CPU s", "starts"]
    return grid(head, lines)


def floor_table(results: Results) -> str:
    """The floors, and whether they are met."""
    lines = [[floor.promise, floor.measured, "met" if floor.met else "NOT MET"] for floor in floors(results)]
    return grid(["floor", "measured", ""], lines)


def _show(spread: Spread | None, digits: int = 2) -> str:
    return NONE if spread is None else spread.show(digits)


def grid(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A markdown table with even columns."""
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]

    def text(cells: Sequence[str]) -> str:
        first, *rest = [cell.ljust(width) for cell, width in zip(cells[:1], widths[:1], strict=True)] + [
            cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)
        ]
        return f"| {' | '.join([first, *rest])} |"

    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    return "\n".join([text(head), f"|{rule}|", *map(text, lines)])
