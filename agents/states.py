"""The state agent: folds trace events into the requests table, and lets go of rows that have expired."""

import logging
import time
from datetime import datetime
from typing import Any

from faust.types import StreamT

from answers import envelope
from answers.envelope import Json, MalformedRecordError
from app import app, topics
from app.core import unacknowledged
from app.lifecycle import Happening
from app.requests import new_id
from tables import requests, terminals
from transports.log import LogError
from transports.partitioner import partition_for

logger = logging.getLogger(__name__)

SWEEP_S = 300.0  # rows live for days; a few minutes more do not matter


@app.agent(app.source(topics.AGENT_TRACES), name="states")
async def states(stream: StreamT[Any]) -> None:
    """One row for each request; a record that is no event is passed over."""
    async for event in unacknowledged(stream):
        try:
            fold_event(envelope.decode(event.message.value))
        except MalformedRecordError as error:
            logger.warning("agent-trace-events %s: %s", event.message.offset, error)
        event.ack()


def fold_event(event: envelope.Event) -> None:
    """Fold one trace event into its row."""
    uid = event.data.get("uid")
    if not isinstance(uid, str):
        return
    if event.event_type == Happening.FORGOTTEN:
        requests.forget(uid)
        terminals.forget(uid)
        return
    row = requests.apply(requests.get(uid), event)
    if row is not None:
        requests.put(uid, row)


@app.timer(SWEEP_S, name="sweep")  # type: ignore[untyped-decorator]  # Faust gives it no types
async def sweep() -> None:
    """Ask, through the log, for expired rows to be removed: a table may be changed under an event only."""
    own, now = app.own_partitions(), time.time()
    for row in requests.rows():
        key = str(row["uid"]).encode()
        partition = partition_for(key, topics.AGENT_TRACES.partitions)
        if partition not in own or not expired(row, now, app.settings.table_expiry_s):
            continue
        value = envelope.encode(new_id("evt"), Happening.FORGOTTEN, row["tenant"], {"uid": row["uid"]})
        try:
            await app.log_client.append(topics.AGENT_TRACES.name, partition, key, value)
        except LogError as error:
            logger.warning("expired rows stay until the next sweep: %s", error)
            return


def expired(row: Json, now: float, after_s: float) -> bool:
    """Whether a row's request ended (or, if that was never heard of, was accepted) longer than ``after_s`` ago."""
    since = row.get("ended_at") or row.get("accepted_at")
    return bool(since) and now - datetime.fromisoformat(str(since)).timestamp() > after_s
