"""Steps that tests of several sheets share."""

from typing import Any


def bare(items: list[Any]) -> list[Any]:
    """Return items of a list without their indexes: streamed lists have them from their second piece on."""
    return [{k: v for k, v in item.items() if k != "index"} if isinstance(item, dict) else item for item in items]
