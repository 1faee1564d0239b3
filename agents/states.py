"""The state agent: folds trace events into the requests table, and lets go of rows that have expired."""

import logging
import time
from collections.abc import Iterator
from typing import Any

from faust.types import StreamT

from agents.feedback import joiner
from app import app
from app.core import unacknowledged
from tables import requests, terminals
from weir import envelope, topics
from weir.chat import late_ends
from weir.chat.lifecycle import Happening
from weir.envelope import MalformedRecordError, new_id, seconds_of
from weir.limits import UID_CHARS
from weir.log.log import LogError, partition_of
from weir.timing import in_turns

logger = logging.getLogger(__name__)

SWEEP_S = 300.0  # rows live for days; a few minutes more do not matter


@app.agent(app.source(topics.AGENT_TRACES), name="states")
async def states(stream: StreamT[Any]) -> None:
    """One row for each request; a record that is no event is passed over."""
    async for event in unacknowledged(stream):
        settled_later = False
        try:
            told = envelope.decode(event.message.value)
            fold_event(told)
            settled_later = joiner.ended(event, told)  # feedback may wait for it
        except MalformedRecordError as error:
            logger.warning("agent-trace-events %d at %d: %s", event.message.partition, event.message.offset, error)
        except Exception:
            # An agent that raises stops its partition, and nothing that decides depends on this row.
            logger.exception("agent-trace-events %d at %d", event.message.partition, event.message.offset)
        if not settled_later:
            event.ack()


def fold_event(event: envelope.Event) -> None:
    """Fold one trace event into its row."""
    uid = event.data.get("uid")
    if not isinstance(uid, str) or len(uid) > UID_CHARS:
        return
    if event.event_type == Happening.FORGOTTEN:
        forget(uid, event.data.get("rid"))
        return
    row = requests.apply(requests.get(uid), event)
    if row is not None:
        requests.put(uid, row)


def forget(uid: str, rid: object) -> None:
    """Remove the rows of a request, unless its uid has been used again meanwhile."""
    row, ended = requests.get(uid), terminals.get(uid)
    if row is not None and row.get("rid") == rid:
        requests.forget(uid)
    if ended is not None and ended.rid == rid:
        terminals.forget(uid)


@app.timer(SWEEP_S, name="sweep")
async def sweep() -> None:
    """Ask, through the log, for expired rows to be removed: a table may be changed under an event only."""
    own, now = app.own_partitions(), time.time()
    try:
        await _tell_late_ends(own, now)
    except LogError as error:
        logger.warning("ends that were not told wait for the next sweep: %s", error)
        return
    async for uid, rid, tenant, since in in_turns(finished()):  # a hundred thousand rows are a quarter of a second
        key = uid.encode()
        at = partition_of(app.log_client, topics.AGENT_TRACES.name, key)
        if at.partition not in own or not expired(since, now, app.settings.table_expiry_s):
            continue
        value = envelope.encode(new_id("evt"), Happening.FORGOTTEN, tenant, {"uid": uid, "rid": rid})
        try:
            await app.log_client.append(*at, key, value)
        except LogError as error:
            logger.warning("expired rows stay until the next sweep: %s", error)
            return


async def _tell_late_ends(own: set[int], now: float) -> None:
    async for uid, ended in in_turns(terminals.rows()):
        if partition_of(app.log_client, topics.CHAT_CHUNKS.name, uid.encode()).partition not in own:
            continue
        row = requests.get(uid)
        if late_ends.is_late(row, ended, now, app.settings.table_expiry_s):
            await late_ends.tell(
                app.log_client,
                app.events,
                uid,
                ended,
                row,
                worker=app.worker_name,
                redactor=app.teller.redactor,
            )


def finished() -> Iterator[tuple[str, str | None, str, object]]:
    """(uid, rid, tenant, when it ended or else was accepted) of the rows of both tables."""
    for row in requests.rows():
        yield str(row["uid"]), row.get("rid"), str(row["tenant"]), row.get("ended_at") or row.get("accepted_at")
    for uid, ended in terminals.rows():
        yield uid, ended.rid, ended.tenant, ended.ended_at


def expired(since: object, now: float, after_s: float) -> bool:
    """Whether a time (ISO 8601, or seconds since the epoch) is longer than ``after_s`` ago; nonsense is."""
    then = since if isinstance(since, float) else seconds_of(str(since))
    return then is None or now - then > after_s
