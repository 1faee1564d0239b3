"""The windows of each tenant and model, and what they show: rows of ``weir.insights.rows`` in a changelog table.

Its changelog has as many partitions as the two topics that the windows are folded from, so one worker owns a tenant and
model in all three.
"""

from functools import partial

from app import app
from tables import values
from weir.insights.rows import Rows
from weir.topics import AGENT_METRICS

table = app.Table(
    "quality",
    key_type=bytes,
    value_type=bytes,
    partitions=AGENT_METRICS.partitions,
    help="Windows of figures, and what is wrong.",
)

rows = Rows(table, partial(values.unreadable, "quality"))
