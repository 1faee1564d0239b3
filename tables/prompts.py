"""The last prompts of each user, as fingerprints, for as long as one may be asked again. Keyed by tenant and user."""

from collections.abc import Iterator

import orjson

from app import app
from tables import values
from weir.envelope import Json, dumps
from weir.feedback import retries

table = app.Table(
    "prompts",
    key_type=bytes,
    value_type=bytes,
    partitions=app.settings.chat_partitions,
    help="When each user asked what, as fingerprints.",
)


def get(key: str) -> Json | None:
    """The row of a user in a partition that this worker owns (``weir.feedback.retries``)."""
    return values.read("prompts", key.encode(), table.get(key.encode()), _decode)


def put(key: str, row: Json | None) -> None:
    """Write a row, or remove it. Must run under an event of the user's partition."""
    if row is None:
        table.pop(key.encode(), None)
    else:
        values.put(table, key.encode(), dumps(row))


def rows() -> Iterator[tuple[str, Json]]:
    """(key, row) of the partitions that this worker owns (and of those it stands by for), in no order."""
    for key, row in values.read_all("prompts", table, _decode):
        yield key.decode(), row


def _decode(key: bytes, value: bytes) -> Json:
    key.decode()
    row: Json = orjson.loads(value)
    for one in retries.prompts(row):
        _ = float(one.at), int(one.fingerprint, 16)
    return row
