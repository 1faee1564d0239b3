"""The table that a run ends with."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

SHOWN = 6  # problems or notes of one check; all problems are in the folder of a run that failed


@dataclass(frozen=True, kw_only=True)
class Check:
    """One row: a name, a value, and the problems."""

    name: str
    value: object
    problems: Sequence[str] | None = None  # an empty list: the check holds; None: a number for information
    notes: Sequence[str] = field(default=())  # worth a look, and no failure

    @property
    def verdict(self) -> str:
        """The verdict in one word."""
        if self.problems is None:
            return ""
        return "FAILS" if self.problems else "holds"


def counted(counter: Counter[str]) -> str:
    """The counts as ``3 this, 1 that``."""
    return ", ".join(f"{count} {name}" for name, count in counter.most_common()) or "none"


def failures(checks: Sequence[Check]) -> list[str]:
    """All problems, each with its check."""
    return [f"{check.name.strip()}: {problem}" for check in checks for problem in check.problems or ()]


def rendered(checks: Sequence[Check]) -> str:
    """The rows, and under a row its first problems."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"  {check.name:<{width}}  {check.verdict:<5}  {check.value}".rstrip())
        below = [*(check.problems or ()), *check.notes]
        lines += [f"      {text[:300]}" for text in below[:SHOWN]]
        if len(below) > SHOWN:
            lines.append(f"      and {len(below) - SHOWN} more")
    return "\n".join(lines)
