"""The events in open windows, by hashes of their ids: an event that is published again is folded once.

Ids are hashes of eight bytes. When a window's row has ``PAGE`` of them they move into a row of their own, which is
written before the window's: if a crash comes in between, it is written again.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from weir.insights.rows import QualityRows
from weir.insights.values import WindowKey, WindowRow

HASH_BYTES: Final = 8  # among a million ids of a window, two share a hash once in 37 million windows
PAGE: Final = 64  # ids in a window's own row: half a kilobyte


class EventIds:
    """The ids in the open windows of one partition. Its memory stays true, because only it writes their rows."""

    def __init__(self, rows: QualityRows) -> None:
        self._rows = rows
        self._by_span: dict[WindowKey, set[bytes]] = {}

    def known(self, event_id: str, spans: Iterable[WindowKey]) -> bool:
        """Whether an event is in one of these windows, from whichever offset."""
        known = _hash(event_id)
        return any(known in self._of(span, None) for span in spans)

    def add(self, event_id: str, span: WindowKey, row: WindowRow) -> None:
        """Add the id of an event to a window, whose row the caller writes next."""
        ids = self._of(span, row)
        if len(row.ids) >= PAGE * HASH_BYTES:
            self._rows.put_ids(span, row.pages, row.ids)
            row.pages, row.ids = row.pages + 1, b""
        added = _hash(event_id)
        row.ids += added
        ids.add(added)

    def drop(self, span: WindowKey, row: WindowRow) -> None:
        """Drop the ids of a closed window; the caller writes its row next, or removes it."""
        for page in range(row.pages):
            self._rows.drop_ids(span, page)
        row.ids, row.pages = b"", 0
        self._by_span.pop(span, None)

    def _of(self, span: WindowKey, row: WindowRow | None) -> set[bytes]:
        """The ids in a window; read from its rows once."""
        found = self._by_span.get(span)
        if found is None:
            row = row or self._rows.window(span) or WindowRow()
            pages = [self._rows.ids(span, page) for page in range(row.pages)]
            found = self._by_span[span] = {
                page[at : at + HASH_BYTES] for page in (*pages, row.ids) for at in range(0, len(page), HASH_BYTES)
            }
        return found


def _hash(event_id: str) -> bytes:
    return hashlib.blake2b(event_id.encode(), digest_size=HASH_BYTES).digest()
