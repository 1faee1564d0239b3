"""Adds up feedback: by kind, by source, by state."""

from collections import Counter
from dataclasses import dataclass, field

from weir.envelope import Json
from weir.feedback.pieces import Piece, Standing


@dataclass(slots=True)
class Summary:
    """Sums that can be added to the sums of other workers."""

    by_type: Counter[str] = field(default_factory=Counter)
    by_source: Counter[str] = field(default_factory=Counter)
    by_state: Counter[str] = field(default_factory=Counter)
    score_sum: float = 0.0  # of joined pieces

    def add(self, piece: Piece) -> None:
        """Add one piece."""
        self.by_type[str(piece.feedback_type)] += 1
        self.by_source[str(piece.feedback_source)] += 1
        self.by_state[str(piece.state)] += 1
        self.score_sum += (piece.signal or {}).get("score", 0.0)

    def merge(self, other: Json) -> None:
        """Add the ``body`` of another worker's summary."""
        self.by_type.update(other["by_type"])
        self.by_source.update(other["by_source"])
        self.by_state.update({str(state): other[state] for state in Standing})
        self.score_sum += other["score_sum"]

    @property
    def body(self) -> Json:
        """The sums as JSON; the mean score is that of joined pieces, and null where there are none."""
        joined = self.by_state[Standing.JOINED]
        return {
            "count": self.by_type.total(),
            "by_type": dict(self.by_type),
            "by_source": dict(self.by_source),
            **{str(state): self.by_state[state] for state in Standing},
            "mean_score": round(self.score_sum / joined, 6) if joined else None,
            "score_sum": round(self.score_sum, 6),
        }
