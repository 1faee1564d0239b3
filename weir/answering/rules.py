"""The settings of a worker for answering: leases, attempts and marks."""

from dataclasses import dataclass, field

from weir.answering.calling import CallRules
from weir.answering.continuing import Continuation

VOID_PAUSE_MAX_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Limits of answering."""

    lease_s: float  # silence after which another worker's attempt counts as dead
    attempts_max: int  # marks for one request; then it fails without another call
    frame_max_bytes: int  # the largest value of a record, where the topic takes no less
    void_marks_max: int = 12  # of one worker for one request: only a defect makes so many void
    void_pause_s: float = 0.05  # after the first void mark; twice as long after each, up to `VOID_PAUSE_MAX_S`
    read_back_s: float = 10.0  # a record that was confirmed and cannot be read for so long: look again
    alone: bool = False  # whether no other worker can be alive: any attempt found in the log is dead
    continuation: Continuation = Continuation.RESTART  # how the LLM goes on with a half-said answer
    calls: CallRules = field(default_factory=CallRules)  # the rules of LLM calls

    def pause_s(self, void_marks: int) -> float:
        """Return the pause before the next mark of a worker, after so many of its marks that did not count."""
        return min(self.void_pause_s * 2.0 ** (void_marks - 1), VOID_PAUSE_MAX_S)
