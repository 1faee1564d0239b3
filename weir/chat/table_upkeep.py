"""Keeps the requests and terminals tables: folds trace events into rows, and removes rows that have expired."""

import logging
import time
from collections.abc import Iterator

from weir import envelope, topics
from weir.chat import late_ends
from weir.chat.ends import Ends
from weir.chat.lifecycle import Happening
from weir.chat.states import RequestRows, apply
from weir.envelope import Event, MalformedRecordError, new_id, seconds_of
from weir.events.redaction import Redactor
from weir.limits import UID_CHARS
from weir.log.log import Delivered, LogError, partition_of
from weir.timing import in_turns
from weir.worker import Worker

logger = logging.getLogger(__name__)

SWEEP_S = 300.0  # rows live for days; a few minutes more do not matter


class TableUpkeep:
    """The tables of one worker.

    Args:
        worker: the worker.
        requests: the requests table.
        ends: the terminals table.
        redactor: redacts the errors of ends that are published late.
    """

    def __init__(self, worker: Worker, *, requests: RequestRows, ends: Ends, redactor: Redactor) -> None:
        self._worker, self._requests, self._ends = worker, requests, ends
        self._redactor = redactor

    def take(self, event: Delivered) -> Event | None:
        """Fold one record of agent-trace-events; return its event, or None if the record was skipped."""
        try:
            trace = envelope.decode(event.message.value)
            self.fold(trace)
        except MalformedRecordError as error:
            logger.warning("agent-trace-events %d at %d: %s", event.message.partition, event.message.offset, error)
        except Exception:
            # An agent that raises stops its partition, and no decision depends on this row.
            logger.exception("agent-trace-events %d at %d", event.message.partition, event.message.offset)
        else:
            return trace
        return None

    def fold(self, event: Event) -> None:
        """Fold one trace event into its row."""
        uid = event.data.get("uid")
        if not isinstance(uid, str) or len(uid) > UID_CHARS:
            return
        if event.event_type == Happening.FORGOTTEN:
            self._forget(uid, event.data.get("rid"))
            return
        row = apply(self._requests.get(uid), event)
        if row is not None:
            self._requests.put(uid, row)

    def _forget(self, uid: str, rid: object) -> None:
        """Remove the rows of a request, unless its uid has been used again meanwhile."""
        row, ended = self._requests.get(uid), self._ends.get(uid)
        if row is not None and row.get("rid") == rid:
            self._requests.forget(uid)
        if ended is not None and ended.rid == rid:
            self._ends.forget(uid)

    async def sweep(self) -> None:
        """Ask, through the log, for the removal of expired rows: a table may be changed under an event only."""
        own, now, log = self._worker.own_partitions(), time.time(), self._worker.log
        try:
            await self._tell_late_ends(own, now)
        except LogError as error:
            logger.warning("ends that were not published wait for the next sweep: %s", error)
            return
        async for uid, rid, tenant, since in in_turns(self.finished()):  # 100,000 rows are a quarter of a second
            key = uid.encode()
            at = partition_of(log, topics.AGENT_TRACES.name, key)
            if at.partition not in own or not expired(since, now, self._worker.settings.table_expiry_s):
                continue
            value = envelope.encode(new_id("evt"), Happening.FORGOTTEN, tenant, {"uid": uid, "rid": rid})
            try:
                await log.append(*at, key, value)
            except LogError as error:
                logger.warning("expired rows stay until the next sweep: %s", error)
                return

    async def _tell_late_ends(self, own: set[int], now: float) -> None:
        log, expiry_s = self._worker.log, self._worker.settings.table_expiry_s
        async for uid, ended in in_turns(self._ends.items()):
            if partition_of(log, topics.CHAT_CHUNKS.name, uid.encode()).partition not in own:
                continue
            row = self._requests.get(uid)
            if late_ends.is_late(row, ended, now, expiry_s):
                worker = self._worker
                await late_ends.tell(log, worker.events, uid, ended, row, worker=worker.name, redactor=self._redactor)

    def finished(self) -> Iterator[tuple[str, str | None, str, object]]:
        """Iterate over the rows of both tables: (uid, rid, tenant, time of its end or else of its acceptance)."""
        for uid, row in self._requests.items():
            yield uid, row.get("rid"), str(row["tenant"]), row.get("ended_at") or row.get("accepted_at")
        for uid, ended in self._ends.items():
            yield uid, ended.rid, ended.tenant, ended.ended_at


def expired(since: object, now: float, after_s: float) -> bool:
    """Whether a time (ISO 8601, or seconds since the epoch) is longer than ``after_s`` ago; an invalid time is."""
    then = since if isinstance(since, float) else seconds_of(str(since))
    return then is None or now - then > after_s
