"""The rows of the terminals table: how requests ended. Decisions read them.

Only an end that was read back from the log and counts is written there, so a late write of a former owner equals the
owner's own. A request without a row is running, or unknown; nothing is concluded from a missing row.
"""

from collections.abc import MutableMapping
from dataclasses import asdict, dataclass

import orjson

from weir.chat.frames import Status
from weir.envelope import dumps
from weir.table_rows import TableRows


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRequest:
    """A finished request."""

    rid: str
    fingerprint: str
    tenant: str
    status: str
    first: int  # offset in chat-chunks of the request's first counting mark
    last: int  # offset of its terminal
    ended_at: float  # seconds since the epoch


Ends = TableRows[EndedRequest]
"""The ends, by uid."""


def ends(table: MutableMapping[bytes, bytes], max_bytes: int) -> Ends:
    """Return the rows of a table of ends."""
    return TableRows("terminals", table, encode=_encode, decode=_decode, max_bytes=max_bytes)


def _encode(ended: EndedRequest) -> bytes:
    return dumps(asdict(ended))


def _decode(uid: str, value: bytes) -> EndedRequest:
    del uid
    ended = EndedRequest(**orjson.loads(value))
    texts, numbers = (ended.rid, ended.fingerprint, ended.tenant), (ended.first, ended.last, ended.ended_at)
    if Status(ended.status) and all(isinstance(text, str) for text in texts) and all(map(_is_number, numbers)):
        return ended
    raise TypeError("fields of other types")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)
