"""The retries agent: brings the prompts of one user together, and lets go of them when they are too old to matter."""

import logging
import time
from typing import Any

from faust.types import StreamT

from app import app
from app.core import unacknowledged
from tables import prompts
from weir import topics
from weir.envelope import utc_iso
from weir.feedback import retries as rules
from weir.feedback.prompts import PromptsForgotten
from weir.feedback.retry_watch import Watch
from weir.log.log import LogError, partition_of
from weir.timing import in_turns

logger = logging.getLogger(__name__)

SWEEP_S = 300.0  # an old row changes nothing, and is small

watch = Watch(app)


@app.agent(app.source(topics.CHAT_PROMPTS), name="retries")
async def retries(stream: StreamT[Any]) -> None:
    """One prompt after the other."""
    async for event in unacknowledged(stream):
        await watch.take(event)


@app.timer(SWEEP_S, name="prompts sweep")
async def sweep() -> None:
    """Ask, through the log, for old rows to be removed: a table may be changed under an event only."""
    own, before = app.own_partitions(topics.CHAT_PROMPTS), time.time() - app.settings.retry_window_s
    async for key, row in in_turns(prompts.rows()):
        home = partition_of(app.log_client, topics.CHAT_PROMPTS.name, key.encode())
        if home.partition in own and rules.last_at(row) < before:
            tenant, _, user = key.partition(":")
            try:
                await app.events.publish(PromptsForgotten(user=user, before=utc_iso(before)), tenant)
            except LogError as error:
                logger.warning("old prompts stay until the next sweep: %s", error)
                return
