"""The rows of the last prompts of each user, as fingerprints, for as long as one may be asked again."""

from collections.abc import MutableMapping

import orjson

from weir.envelope import Json, dumps
from weir.feedback import retries
from weir.table_rows import TableRows

PromptRows = TableRows[Json]
"""By tenant and user; ``weir.feedback.retries`` defines a row."""


def prompt_rows(table: MutableMapping[bytes, bytes], max_bytes: int) -> PromptRows:
    """Return the rows of a table of prompts."""
    return TableRows("prompts", table, encode=dumps, decode=_decode, max_bytes=max_bytes)


def _decode(key: str, value: bytes) -> Json:
    del key
    row: Json = orjson.loads(value)
    for one in retries.prompts(row):
        _ = float(one.at), int(one.fingerprint, 16)
    return row
