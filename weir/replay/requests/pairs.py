"""Compares a request and its replay, and makes the event of the pair. No I/O."""

from weir.events.base import derived_id
from weir.events.replays import ReplayCompared
from weir.replay.report.comparison import Compared
from weir.replay.report.likeness import likeness
from weir.replay.requests.answered import EndedReplay
from weir.replay.requests.selecting import Original
from weir.replay.runs import Run


def compare(uid: str, original: Original, ended: EndedReplay, *, texts: bool) -> Compared:
    """Compare an original and its replay."""
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


def _similarity(before: EndedReplay, after: EndedReplay) -> float | None:
    """The similarity of two complete answers; an empty one is unlike one with text."""
    left, right = before.text, after.text
    whole = {before.outcome.status, after.outcome.status} == {"completed"}
    return likeness(left, right) if whole and (left or right) else None


def event_of(run: Run, compared: Compared) -> ReplayCompared:
    """A pair as an event."""
    return ReplayCompared(run=run.id, **compared.as_json())


def event_id_of(run: Run, compared: Compared) -> str:
    """The id of the pair's event: the same from every process that publishes it."""
    return derived_id("replay.compared", run.id, compared.uid)
