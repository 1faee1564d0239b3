"""The last prompts of each user, as fingerprints (rows: `weir.feedback.prompt_rows`)."""

from typing import Any

import faust


def declare(app: faust.App, partitions: int) -> Any:
    """Declare the table."""
    return app.Table(
        "prompts",
        key_type=bytes,
        value_type=bytes,
        partitions=partitions,
        help="The last prompts of each user, as fingerprints.",
    )
