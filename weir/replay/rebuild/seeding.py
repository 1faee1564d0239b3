"""What a rebuild takes from the live table: the windows that end before it, and what was wrong then.

Where the log still has everything, there is nothing to begin with, and no need of it.
"""

from collections.abc import Mapping

from weir.envelope import Json
from weir.events.insights import InsightCleared, InsightRaised
from weir.insights import partition
from weir.insights.reading import time_ms
from weir.insights.rows import ModelRow, PartitionRow, Rows, Span, name_of
from weir.insights.shard import Closing, Insight


def seed(live: Mapping[bytes, bytes], number: int, since_ms: int) -> dict[bytes, bytes]:
    """The rows of a partition as they were when all windows that end by a time were closed, and none after it.

    What was wrong then is what is wrong now or is over, if it was raised before and cleared after.

    Args:
        live: the rows of the partition.
        number: of the partition.
        since_ms: the time, milliseconds since the epoch; 0 for nothing at all.
    """
    table: dict[bytes, bytes] = {}
    if since_ms:
        then, now = Rows(table), Rows(dict(live))
        for name in {name for key in live if (name := name_of(key)) and partition.partition_of(name) == number}:
            _model(now, then, name, since_ms)
    Rows(table).put_partition(number, PartitionRow(closed_ms=since_ms))
    return table


def _model(now: Rows, then: Rows, name: str, since_ms: int) -> None:
    model, over = now.model(name) or ModelRow(), now.over(name)
    kept = [one for one in model.kept if one.end_ms <= since_ms]
    for one in kept:
        span = Span(name, one.start_ms, one.end_ms)
        if (row := now.window(span)) is not None:
            then.put_window(span, row)
    raised = [*model.active.values(), *(one["raised"] for one in over if _start_ms(one) >= since_ms)]
    active = {one["insight_type"]: one for one in raised if _start_ms(one) < since_ms}
    past = [one for one in over if _start_ms(one) < since_ms]
    if past:
        then.put_over(name, past)
    if kept or active or past:
        # Where the windows are gone, what is wrong was so in the last one before.
        judged_ms = kept[-1].end_ms if kept else min(since_ms, model.judged_until_ms)
        then.put_model(name, ModelRow(judged_until_ms=judged_ms, kept=kept, active=active))


def as_it_was(now: Rows, then: Rows, closing: Closing) -> tuple[Insight, ...]:
    """What was wrong in a window that is not rebuilt; it gets the figures that it has in the live table.

    Folded with the numbers of the log, it may look other than it does by an earlier rebuild, and later windows are
    compared with it. Where the live table has dropped the window, there are only these numbers.

    Args:
        now: the live rows.
        then: those that are folded.
        closing: the window; its row is changed.
    """
    if closing.row is None:
        return closing.insights  # nothing came, whatever the formula
    name, start_ms = closing.span.name, closing.span.start_ms
    live = now.window(closing.span)
    if live is not None and live.closed:
        closing.row.window, closing.row.newest, closing.row.offsets = live.window, live.newest, live.offsets
    wrong, over = (now.model(name) or ModelRow()).active, now.over(name)
    raised = [one for one in (*wrong.values(), *(one["raised"] for one in over)) if _start_ms(one) == start_ms]
    active = (then.model(name) or ModelRow()).active
    cleared = [one for one in over if _start_ms(one) == start_ms and one["insight_type"] in active]
    return (*map(InsightRaised.model_validate, raised), *map(InsightCleared.model_validate, cleared))


def _start_ms(insight: Json) -> int:
    return time_ms("window_start", insight["window_start"])
