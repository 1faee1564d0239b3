"""Takes the start of a rebuild from the live table: the windows that end before it, and the breaches of that time.

If the log still has all records, there is no start to take, and no need of one.
"""

from collections.abc import Mapping

from weir.envelope import Json
from weir.events.insights import InsightCleared, InsightRaised
from weir.insights import partition
from weir.insights.closing import Closing, Insight
from weir.insights.reading import time_ms
from weir.insights.rows import QualityRows, name_of
from weir.insights.values import ModelRow, PartitionRow, WindowKey


def seed(live: Mapping[bytes, bytes], number: int, since_ms: int) -> dict[bytes, bytes]:
    """The rows of a partition as they were when all windows that end by a time were closed, and none after it.

    A breach at that time is one that lasts now or has cleared, if it was raised before and cleared after.

    Args:
        live: the rows of the partition.
        number: the number of the partition.
        since_ms: the time, milliseconds since the epoch; 0 for no rows at all.
    """
    table: dict[bytes, bytes] = {}
    if since_ms:
        then, now = QualityRows(table), QualityRows(dict(live))
        for name in {name for key in live if (name := name_of(key)) and partition.partition_of(name) == number}:
            _model(now, then, name, since_ms)
    QualityRows(table).put_partition(number, PartitionRow(closed_ms=since_ms))
    return table


def _model(now: QualityRows, then: QualityRows, name: str, since_ms: int) -> None:
    model, over = now.model(name) or ModelRow(), now.over(name)
    kept = [one for one in model.kept if one.end_ms <= since_ms]
    for one in kept:
        span = WindowKey(name, one.start_ms, one.end_ms)
        if (row := now.window(span)) is not None:
            then.put_window(span, row)
    raised = [*model.active.values(), *(one["raised"] for one in over if _start_ms(one) >= since_ms)]
    active = {one["insight_type"]: one for one in raised if _start_ms(one) < since_ms}
    past = [one for one in over if _start_ms(one) < since_ms]
    if past:
        then.put_over(name, past)
    if kept or active or past:
        # Where the windows are gone, the breaches are taken to be those of the last window before.
        judged_ms = kept[-1].end_ms if kept else min(since_ms, model.judged_until_ms)
        then.put_model(name, ModelRow(judged_until_ms=judged_ms, kept=kept, active=active))


def as_it_was(now: QualityRows, then: QualityRows, closing: Closing) -> tuple[Insight, ...]:
    """The breaches in a window that is not rebuilt; the window gets its figures of the live table.

    Folded with the log's numbers, it may differ from an earlier rebuild's window, and later windows are compared with
    it. If the live table has dropped the window, there are only the log's numbers.

    Args:
        now: the live rows.
        then: the rows of the rebuild.
        closing: the window; its row is changed.
    """
    if closing.row is None:
        return closing.insights  # there are no records, whatever the formula
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
