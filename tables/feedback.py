"""The feedback on each request (rows: `weir.feedback.rows`)."""

from typing import Any

import faust


def declare(app: faust.App, partitions: int) -> Any:
    """Declare the table."""
    return app.Table(
        "feedback",
        key_type=bytes,
        value_type=bytes,
        partitions=partitions,
        help="Feedback on each request, and the signals made of it.",
    )
