"""Asks, through the log, for changes to overdue rows: a table may be changed under an event only."""

import logging
import time
from typing import Final

from weir import topics
from weir.chat.prompts import PromptsForgotten
from weir.envelope import utc_iso
from weir.events.feedback import FeedbackExpired
from weir.feedback import pieces, retries
from weir.feedback.joiner import Joiner
from weir.feedback.prompt_rows import PromptRows
from weir.feedback.rows import FeedbackRows
from weir.log.log import LogError, partition_of
from weir.settings import Settings
from weir.timing import in_turns
from weir.worker import Worker

logger = logging.getLogger(__name__)

SWEEP_S: Final = 300.0  # feedback waits for a day, and an old prompt changes nothing; a few minutes more do not matter
SWEEPS_IN_WAIT: Final = 4  # where feedback waits for less time, in tests


def feedback_sweep_s(settings: Settings) -> float:
    """Return the seconds between two sweeps of the feedback table."""
    return min(SWEEP_S, settings.feedback_join_s / SWEEPS_IN_WAIT)


async def sweep_feedback(worker: Worker, rows: FeedbackRows, joiner: Joiner) -> None:
    """Ask for overdue feedback to be joined or given up. Never raises a LogError: the next sweep asks again."""
    own, now = worker.own_partitions(topics.AI_FEEDBACK), time.time()
    limits = {
        "waiting_before": utc_iso(now - worker.settings.feedback_join_s),
        "known_before": utc_iso(now - worker.settings.table_expiry_s),
    }
    async for uid, row in in_turns(rows.items()):
        if partition_of(worker.log, topics.AI_FEEDBACK.name, uid.encode()).partition not in own:
            continue
        if pieces.overdue(row, **limits) or (pieces.waiting(row) and joiner.is_left(uid)):
            try:
                await worker.events.publish(FeedbackExpired(uid=uid, **limits), row["pieces"][0]["tenant"])
            except LogError as error:
                logger.warning("overdue feedback stays until the next sweep: %s", error)
                return


async def sweep_prompts(worker: Worker, rows: PromptRows) -> None:
    """Ask for the removal of old prompts. Never raises a LogError: the next sweep asks again."""
    own, before = worker.own_partitions(topics.CHAT_PROMPTS), time.time() - worker.settings.retry_window_s
    async for key, row in in_turns(rows.items()):
        home = partition_of(worker.log, topics.CHAT_PROMPTS.name, key.encode())
        if home.partition in own and retries.last_at(row) < before:
            tenant, _, user = key.partition(":")
            try:
                await worker.events.publish(PromptsForgotten(user=user, before=utc_iso(before)), tenant)
            except LogError as error:
                logger.warning("old prompts stay until the next sweep: %s", error)
                return
