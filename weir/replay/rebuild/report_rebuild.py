"""The report of a rebuild of the windows, as text and as JSON."""

from dataclasses import dataclass, field

from weir.envelope import Json, utc_iso
from weir.events.insights import InsightRaised
from weir.insights.closing import Insight
from weir.replay.rebuild.rebuilding import Rebuilt
from weir.replay.rebuild.rescoring import Counted


@dataclass(slots=True, kw_only=True)
class RebuildReport:
    """The report of a run, or of a dry run."""

    run: str | None  # None: the run wrote nothing
    from_ms: int
    signals: Counted = field(default_factory=Counted)
    windows: int = 0
    changed: int = 0
    more: list[Json] = field(default_factory=list)  # insights that were not published before, and are there now
    less: list[Json] = field(default_factory=list)  # insights that were published, and are not there now
    rows: int = 0  # rows of the feedback table that have other numbers now
    emitted_signals: int = 0
    emitted_insights: int = 0
    taken: list[int] = field(default_factory=list)  # partitions that were done before the run was resumed

    def add(self, found: Rebuilt, published: dict[str, tuple[str, Insight]]) -> None:
        """Add a partition; ``published`` are the insights that are in the log."""
        self.signals.add(found.signals)
        self.windows += found.windows
        self.changed += found.changed
        self.more += [_line(*found.insights[name]) for name in found.more]
        self.less += [_line(*published[name]) for name in found.less]

    def as_json(self) -> Json:
        """The whole report as JSON."""
        return {
            "object": "replay.feedback",
            "run": self.run,
            "from": utc_iso(self.from_ms / 1000) if self.from_ms else None,
            "signals": self.signals.as_json(),
            "windows": {"rebuilt": self.windows, "changed": self.changed},
            "insights": {"more": self.more, "less": self.less},
            "feedback_rows": self.rows,
            "emitted": {"signals": self.emitted_signals, "insights": self.emitted_insights},
            "partitions_done_before": self.taken,
        }

    def as_text(self) -> str:
        """The report as a few lines of text."""
        signals = self.signals.as_json()
        counts = f"{signals['changed']} with other numbers, {signals['unknown']} without their feedback"
        before, after = _number(signals["mean_score_before"]), _number(signals["mean_score_after"])
        since = f"given since {utc_iso(self.from_ms / 1000)}" if self.from_ms else "in the log"
        lines = [
            f"run       {self.run or 'none: nothing was written'}",
            f"signals   {signals['seen']} {since}, {counts}",
            f"score     mean {before} before, {after} now",
            f"feedback  {self.rows} rows with other numbers",
            f"windows   {self.windows} rebuilt, {self.changed} with other figures",
            f"insights  {len(self.more)} new, {len(self.less)} that do not hold any more",
            *(f"  + {_text(one)}" for one in self.more),
            *(f"  - {_text(one)}" for one in self.less),
            f"emitted   {self.emitted_signals} signals, {self.emitted_insights} insights",
        ]
        if self.taken:
            lines.append(f"done before it was resumed: partitions {', '.join(map(str, self.taken))} of the windows")
        return "\n".join(lines) + "\n"


def _line(tenant: str, insight: Insight) -> Json:
    names = ("insight_id", "insight_type", "model", "value", "threshold", "window_start", "window_end")
    fields = insight.model_dump(mode="json", include=set(names))
    return {"event": "raised" if isinstance(insight, InsightRaised) else "cleared", "tenant": tenant, **fields}


def _text(one: Json) -> str:
    where = f"{one['tenant']}:{one['model']}, window of {one['window_start']}"
    return (
        f"{one['event']} {one['insight_type']} of {where}: {_number(one['value'])}, limit {_number(one['threshold'])}"
    )


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
