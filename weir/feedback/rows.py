"""The rows of feedback on each request: pieces that wait for its end, and pieces with a signal.

Keyed by the uid, as the requests table, so that the worker that learns of a request's end has its waiting pieces.
"""

from collections.abc import MutableMapping

import orjson

from weir.envelope import Json, dumps
from weir.feedback import pieces
from weir.table_rows import TableRows

FeedbackRows = TableRows[Json]
"""By uid; ``weir.feedback.pieces`` defines a row."""


def feedback_rows(table: MutableMapping[bytes, bytes], max_bytes: int) -> FeedbackRows:
    """Return the rows of a table of feedback."""
    return TableRows("feedback", table, encode=dumps, decode=_decode, max_bytes=max_bytes)


def _decode(uid: str, value: bytes) -> Json:
    row: Json = orjson.loads(value)
    if row["uid"] == uid and pieces.pieces(row):
        return row
    raise TypeError("another uid, or no feedback")
