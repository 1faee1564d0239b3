"""How requests ended (rows: `weir.chat.ends`): the table that decisions read."""

from typing import Any

import faust


def declare(app: faust.App, partitions: int) -> Any:
    """Declare the table."""
    return app.Table(
        "terminals",
        key_type=bytes,
        value_type=bytes,
        partitions=partitions,
        help="How requests ended, and where their answers stand in chat-chunks.",
    )
