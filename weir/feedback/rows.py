"""What is known of the feedback on each request: what waits for its end, and what has its signal.

Keyed by the uid, as the requests table, so that the worker that learns of a request's end has what waits for it.
"""

from collections.abc import MutableMapping

import orjson

from weir.envelope import Json, dumps
from weir.feedback import pieces
from weir.table_rows import TableRows

FeedbackRows = TableRows[Json]
"""By uid; what is in a row is told by ``weir.feedback.pieces``."""


def feedback_rows(table: MutableMapping[bytes, bytes], max_bytes: int) -> FeedbackRows:
    """The rows of a table of feedback."""
    return TableRows("feedback", table, encode=dumps, decode=_decode, max_bytes=max_bytes)


def _decode(uid: str, value: bytes) -> Json:
    row: Json = orjson.loads(value)
    if row["uid"] == uid and pieces.pieces(row):
        return row
    raise TypeError("another uid, or no feedback")
