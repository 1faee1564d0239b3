"""What is known of the feedback on each request: what waits for its end, and what has its signal.

Keyed by the uid, as the requests table, so that the worker that learns of a request's end has what waits for it.
"""

from collections.abc import Iterator

import orjson

from app import app
from tables import values
from weir.envelope import Json, dumps
from weir.feedback import pieces

table = app.Table(
    "feedback",
    key_type=bytes,
    value_type=bytes,
    partitions=app.settings.chat_partitions,
    help="Feedback on each request, and the signals made of it.",
)


def get(uid: str) -> Json | None:
    """The row of a request in a partition that this worker owns (``weir.feedback.pieces``)."""
    key = uid.encode()
    return values.read("feedback", key, table.get(key), _decode)


def put(uid: str, row: Json | None) -> None:
    """Write a row, or remove it. Must run under an event of the uid's partition."""
    if row is None:
        table.pop(uid.encode(), None)
    else:
        values.put(table, uid.encode(), dumps(row))


def rows() -> Iterator[Json]:
    """All rows of the partitions that this worker owns (and of those it stands by for), in no order."""
    for _, row in values.read_all("feedback", table, _decode):
        yield row


def _decode(key: bytes, value: bytes) -> Json:
    row: Json = orjson.loads(value)
    if row["uid"] == key.decode() and pieces.pieces(row):
        return row
    raise TypeError("another uid, or no feedback")
