"""Pairs in the form that a replay leaves."""

from typing import Any

from weir.replay.report.comparison import AnswerOutcome, Compared
from weir.replay.report.report import RunFacts

FACTS = RunFacts(
    run_id="run-1",
    model="new",
    from_time="2026-01-30T00:00:00Z",
    to_time=None,
    started_at="2026-01-31T09:00:00Z",
    ended_at="2026-01-31T09:30:00Z",
    selected=10,
    status="completed",
    parameters={"tenant": "acme"},
)


def outcome(model: str = "old", status: str = "completed", **fields: Any) -> AnswerOutcome:
    return AnswerOutcome(model=model, status=status, **fields)


def pair(
    number: int,
    original: AnswerOutcome | None = None,
    replay: AnswerOutcome | None = None,
    similarity: float | None = 0.5,
    **fields: Any,
) -> Compared:
    return Compared(
        uid=f"rp-{number:05}",
        replay_of=f"req-{number:05}",
        tenant=fields.pop("tenant", "acme"),
        original=original or outcome(),
        replay=replay or outcome("new"),
        similarity=similarity,
        identical=fields.pop("identical", similarity == 1.0),
        **fields,
    )


def failed(model: str = "new", error_code: str = "rate_limit_exceeded") -> AnswerOutcome:
    return outcome(model, "failed", error_code=error_code)
