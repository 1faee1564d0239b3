"""A request and its replay, compared, and as an event. No I/O."""

from weir.events.base import derived_id
from weir.events.replays import ReplayCompared
from weir.replay.report.comparison import Compared
from weir.replay.report.likeness import likeness
from weir.replay.requests.answered import Ended
from weir.replay.requests.selecting import Original
from weir.replay.runs import Run


def compare(uid: str, original: Original, ended: Ended, *, texts: bool) -> Compared:
    """A pair."""
    before = original.ended
    if before is None:
        raise RuntimeError("compared before its end was looked for")
    left, right = before.text, ended.text
    return Compared(
        uid=uid,
        replay_of=original.request.uid,
        tenant=original.request.tenant,
        original=before.outcome,
        replay=ended.outcome,
        similarity=_similarity(before, ended),
        identical=left == right,
        original_text=left if texts else None,
        replay_text=right if texts else None,
    )


def _similarity(before: Ended, after: Ended) -> float | None:
    """Of two answers that are whole; one that says nothing is unlike one that does."""
    left, right = before.text, after.text
    whole = {before.outcome.status, after.outcome.status} == {"completed"}
    return likeness(left, right) if whole and (left or right) else None


def told(run: Run, compared: Compared) -> ReplayCompared:
    """A pair as an event."""
    return ReplayCompared(run=run.id, **compared.as_json())


def told_id(run: Run, compared: Compared) -> str:
    """The event's id: the same whoever tells it."""
    return derived_id("replay.compared", run.id, compared.uid)
