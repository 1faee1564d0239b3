"""The windows of each tenant and model, and what they show: rows of ``windows.rows`` in a changelog table.

Its changelog has as many partitions as the two topics that the windows are folded from, so one worker owns a tenant and
model in all three.
"""

from functools import partial

from app import app
from app.topics import AGENT_METRICS
from tables import values
from windows.rows import Rows

table = app.Table(
    "quality",
    key_type=bytes,
    value_type=bytes,
    partitions=AGENT_METRICS.partitions,
    help="Windows of figures, and what is wrong.",
)

rows = Rows(table, partial(values.unreadable, "quality"))
