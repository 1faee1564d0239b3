"""The feedback agent: feedback from the doors and from Kafka becomes signals; what waits for too long is given up."""

import logging
import time
from typing import Any

from faust.types import StreamT

from app import app
from app.core import unacknowledged
from tables import feedback as table
from weir import topics
from weir.envelope import utc_iso
from weir.events.feedback import FeedbackExpired
from weir.feedback import pieces
from weir.feedback.joiner import Joiner, is_left
from weir.log.log import LogError, partition_of
from weir.timing import in_turns

logger = logging.getLogger(__name__)

SWEEP_S = 300.0  # feedback waits for a day; a few minutes more do not matter
SWEEPS_IN_WAIT = 4  # where it waits for less, in a test

joiner = Joiner(app)
app.on_drain(joiner.drain)


@app.agent(app.source(topics.AI_FEEDBACK), name="feedback")
async def feedback(stream: StreamT[Any]) -> None:
    """Take feedback, many at once; each is acknowledged when what follows from it is in the log."""
    async for event in unacknowledged(stream):
        await joiner.take(event)


@app.timer(min(SWEEP_S, app.settings.feedback_join_s / SWEEPS_IN_WAIT), name="feedback sweep")
async def sweep() -> None:
    """Ask, through the log, for what is overdue to be joined or given up: tables change under an event only."""
    own, now = app.own_partitions(topics.AI_FEEDBACK), time.time()
    limits = {
        "waiting_before": utc_iso(now - app.settings.feedback_join_s),
        "known_before": utc_iso(now - app.settings.table_expiry_s),
    }
    async for row in in_turns(table.rows()):
        uid = str(row["uid"])
        if partition_of(app.log_client, topics.AI_FEEDBACK.name, uid.encode()).partition not in own:
            continue
        if pieces.overdue(row, **limits) or (pieces.waiting(row) and is_left(uid)):
            try:
                await app.events.publish(FeedbackExpired(uid=uid, **limits), row["pieces"][0]["tenant"])
            except LogError as error:
                logger.warning("overdue feedback stays until the next sweep: %s", error)
                return
