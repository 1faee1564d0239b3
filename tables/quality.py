"""The windows of each tenant and model, and their insights (rows: `weir.insights.rows`).

Its changelog has as many partitions as the two topics that the windows are folded from, so one worker owns a tenant and
model in all three.
"""

from typing import Any

import faust


def declare(app: faust.App, partitions: int) -> Any:
    """Declare the table."""
    return app.Table(
        "quality",
        key_type=bytes,
        value_type=bytes,
        partitions=partitions,
        help="Windows of figures, and what is wrong.",
    )
