"""Rebuilds the requests table, from agent-trace-events."""

from collections.abc import Mapping
from typing import ClassVar

from weir import envelope
from weir.chat import states
from weir.chat.lifecycle import Happening
from weir.envelope import Event, Json, MalformedRecordError
from weir.limits import UID_CHARS
from weir.log.log import Record
from weir.replay.verify.folds.base import JsonRows, before


class RequestsFold(JsonRows):
    """Rebuilds one partition of the requests table.

    Args:
        oldest_s: time of the oldest trace event that is left; 0 if none is gone.
    """

    ASIDE: ClassVar[Mapping[str, str]] = {}

    def __init__(self, oldest_s: float) -> None:
        self._oldest_s = oldest_s
        super().__init__()

    async def take(self, record: Record) -> None:
        """Take a trace event."""
        try:
            self.fold(envelope.decode(record.value))
        except MalformedRecordError:
            return  # skipped by the agent, too

    def fold(self, event: Event) -> None:
        """Fold an event into its row."""
        uid = event.data.get("uid")
        if not isinstance(uid, str) or len(uid) > UID_CHARS:
            return
        key = uid.encode()
        if event.event_type == Happening.FORGOTTEN:
            if self.known.get(key, {}).get("rid") == event.data.get("rid"):
                self.known.pop(key, None)
            return
        row = states.apply(self.known.get(key), event)
        if row is not None:
            self.known[key] = row

    def whole(self, key: bytes, live: Json) -> bool:
        """Whether the log still has the first event of a row, its acceptance."""
        del key
        return not before(live.get("accepted_at"), self._oldest_s)
