"""The state of each request, for people (rows: `weir.chat.states`)."""

from typing import Any

import faust


def declare(app: faust.App, partitions: int) -> Any:
    """Declare the table."""
    return app.Table(
        "requests",
        key_type=bytes,
        value_type=bytes,
        partitions=partitions,
        help="State, timings and attempts of each request.",
    )
