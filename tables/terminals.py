"""How requests ended: the table that decisions read.

Only what was read back from the log and counts is written here, so a late write of a former owner is the same as the
owner's own. Requests that are not here are running, or unknown; nothing is ever concluded from a missing entry.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import orjson

from app import app
from tables import values
from weir.chat.frames import Status
from weir.envelope import dumps

table = app.Table(
    "terminals",
    key_type=bytes,
    value_type=bytes,
    partitions=app.settings.chat_partitions,
    help="How requests ended, and where their answers stand in chat-chunks.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A finished request."""

    rid: str
    fingerprint: str
    tenant: str
    status: str
    first: int  # offset in chat-chunks of its first counting mark
    last: int  # and of its terminal
    ended_at: float  # seconds since the epoch


def get(uid: str) -> Ended | None:
    """How a request of a partition that this worker owns ended, if it is known to have ended."""
    key = uid.encode()
    return values.read("terminals", key, table.get(key), _decode)


def rows() -> Iterator[tuple[str, Ended]]:
    """(uid, entry) of the partitions that this worker owns (and of those it stands by for), in no order."""
    for key, ended in values.read_all("terminals", table, _decode):
        yield key.decode(), ended


def _decode(key: bytes, value: bytes) -> Ended:
    key.decode()
    ended = Ended(**orjson.loads(value))
    texts, numbers = (ended.rid, ended.fingerprint, ended.tenant), (ended.first, ended.last, ended.ended_at)
    if Status(ended.status) and all(isinstance(text, str) for text in texts) and all(map(_is_number, numbers)):
        return ended
    raise TypeError("fields of other types")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def put(uid: str, ended: Ended) -> None:
    """Write an entry. Must run under an event of the uid's partition: its changelog goes to the same one."""
    values.put(table, uid.encode(), dumps(asdict(ended)))


def forget(uid: str) -> None:
    """Remove an entry. Must run under an event of the uid's partition."""
    table.pop(uid.encode(), None)
