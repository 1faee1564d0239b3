"""Figures that this benchmark does not measure, and shows beside its own."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Elsewhere:
    """One workload against a program that this benchmark does not run, on another machine."""

    workload: str
    name: str
    where: str
    requests_per_s: float
    tokens_per_s: float
    ttft_ms: float  # median


# The queue worker that Weir replaces. It serves one request at a time, so the others wait for their turn.
GO_WORKER = Elsewhere(
    workload="W4",
    name="Go worker",
    where="measured elsewhere, on two shared cores",
    requests_per_s=3.7,
    tokens_per_s=185,
    ttft_ms=6900,
)
ELSEWHERE = (GO_WORKER,)
