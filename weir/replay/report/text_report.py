"""Formats a report as plain text, no wider than ``WIDTH``: clear differences first, then the worst pairs."""

import unicodedata
from collections.abc import Sequence
from typing import Final

from weir.replay.report import figures
from weir.replay.report.comparison import AnswerOutcome
from weir.replay.report.figures import figure
from weir.replay.report.judging import COMPLETED
from weir.replay.report.report import ReplayReport

WIDTH: Final = 100  # columns
WORST: Final = 10  # requests that are listed, of each kind

_Table = list[list[str]]


def text_report(report: ReplayReport, worst: int = WORST) -> str:
    """The whole text, with ``worst`` of the requests that ended differently, and of the least similar answers."""
    parts = [_head(report), _verdicts(report), _totals(report), _lines(figures.similarity(report))]
    parts += [_ended_otherwise(report, worst), _least_similar(report, worst)]
    return "\n\n".join(filter(None, parts)) + "\n"


def _head(report: ReplayReport) -> str:
    facts = report.facts
    return _lines(
        f"Replay {facts.run_id}: {facts.status}, {len(report.requests):,} of {facts.selected:,} requests compared",
        f"  models    {figures.models(report)}",
        f"  requests  {figures.span(report)}",
        f"  replayed  {figures.replayed(report)}",
    )


def _verdicts(report: ReplayReport) -> str:
    rows = [["VERDICTS", "original", "replay", "change", "difference, 95 %", "pairs", ""]]
    for each in report.judged:
        sides = (figure(value, each.measure.unit) for value in (each.original, each.replay))
        shown = [figures.change(each.ratio), figures.interval(each), f"{each.pairs:,}", each.verdict]
        rows.append([each.measure.title, *sides, *shown])
    errors = report.errors
    counts = [f"{errors.original:,}", f"{errors.replay:,}", "", figures.probability(errors), f"{errors.pairs:,}"]
    rows.append(["errors", *counts, errors.verdict])
    meaning = "Of pairs that both completed. The span holds the median of their differences in 95 of 100 cases."
    return f"{_table(rows, left=(0, 6))}\n{_lines(meaning)}"


def _totals(report: ReplayReport) -> str:
    return _table([["TOTALS", "original", "replay", ""], *map(list, figures.totals(report))], left=(0, 3))


def _ended_otherwise(report: ReplayReport, worst: int) -> str:
    """The requests that ended differently; those that completed before come first."""
    found = [each for each in report.requests if each.original.status != each.replay.status]
    found.sort(key=lambda each: each.original.status != COMPLETED)
    rows = [[each.replay_of, each.uid, _end(each.original), _end(each.replay)] for each in found[:worst]]
    return _listed("ENDED OTHERWISE", len(found), ["original", "replay", "then", "now"], rows, left=(0, 1, 2, 3))


def _least_similar(report: ReplayReport, worst: int) -> str:
    known = [(each.similarity, each) for each in report.requests if each.similarity is not None and not each.identical]
    known.sort(key=lambda pair: pair[0])
    rows = [
        [
            each.replay_of,
            each.uid,
            each.tenant,
            figures.likeness(similarity),
            f"{each.original.chars:,}",
            f"{each.replay.chars:,}",
        ]
        for similarity, each in known[:worst]
    ]
    head = ["original", "replay", "tenant", "similarity", "characters", "now"]
    return _listed("LEAST SIMILAR", len(known), head, rows, left=(0, 1, 2))


def _end(outcome: AnswerOutcome) -> str:
    return outcome.status if outcome.error_code is None else f"{outcome.status} ({outcome.error_code})"


# -- layout


def _listed(title: str, count: int, head: list[str], rows: _Table, left: Sequence[int]) -> str:
    if not rows:
        return ""
    return f"{title} ({f'{len(rows):,} of ' if len(rows) < count else ''}{count:,})\n{_table([head, *rows], left)}"


def _table(rows: _Table, left: Sequence[int]) -> str:
    """Aligned columns; the cells in columns of ``left`` are aligned left."""
    rows = [[_cut(cell, WIDTH // 3) for cell in row] for row in rows]
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return _lines(*("  ".join(_placed(row, widths, left)) for row in rows))


def _placed(row: Sequence[str], widths: Sequence[int], left: Sequence[int]) -> list[str]:
    blanks = [" " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)]
    return [
        f"{cell}{blank}" if n in left else f"{blank}{cell}"
        for n, (cell, blank) in enumerate(zip(row, blanks, strict=True))
    ]


def _lines(*lines: str) -> str:
    return "\n".join(_cut(line.rstrip(), WIDTH) for line in lines)


def _cut(text: str, width: int) -> str:
    """The printable part of a text, without characters that move the cursor or change its direction, cut to a width."""
    shown = "".join(character if character.isprintable() else "?" for character in text)
    if _width(shown) <= width:
        return shown
    while _width(shown) >= width:
        shown = shown[:-1]
    return f"{shown}…"


def _width(text: str) -> int:
    """The width of a text in columns: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
