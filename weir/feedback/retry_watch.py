"""Detects that a user asks nearly the same again: implicit feedback on the request that was asked first."""

import logging
from collections import Counter

from weir import envelope, topics
from weir.chat.prompts import key_of
from weir.envelope import Event, MalformedRecordError
from weir.events.base import derived_id
from weir.events.feedback import FeedbackSource, FeedbackSubmitted, FeedbackType
from weir.feedback import retries
from weir.feedback.ownership import still_ours
from weir.feedback.prompt_rows import PromptRows
from weir.feedback.retries import after
from weir.feedback.rules import Count
from weir.log.log import Delivered, partition_of
from weir.log.retrying import until_written
from weir.worker import Worker

logger = logging.getLogger(__name__)


class RetryWatch:
    """Processes the prompts of users whose partitions this worker owns.

    Args:
        worker: the worker.
        rows: the prompts table.
        counts: counts what this worker has done with feedback since its start.
    """

    def __init__(self, worker: Worker, *, rows: PromptRows, counts: Counter[Count]) -> None:
        self._worker, self._rows, self._counts = worker, rows, counts

    async def take(self, event: Delivered) -> None:
        """Process one event of chat-prompts, and acknowledge it. Any other record is skipped."""
        message = event.message
        try:
            await self._take(event, envelope.decode(message.value))
        except MalformedRecordError as error:
            logger.warning("chat-prompts %d at %d: %s", message.partition, message.offset, error)
        except Exception:
            # An agent that raises stops its partition, and no decision depends on this.
            logger.exception("chat-prompts %d at %d", message.partition, message.offset)
        event.ack()

    async def _take(self, event: Delivered, prompt: Event) -> None:
        key = key_of(prompt)
        home = partition_of(self._worker.log, topics.CHAT_PROMPTS.name, key.encode())
        if home.partition != event.message.partition:
            raise MalformedRecordError("it is in the wrong partition")
        known = retries.prompts(self._rows.get(key))
        step = after(known, prompt, window_s=self._worker.settings.retry_window_s)
        if step.retried is not None:
            await self._tell(prompt.tenant_id, key.partition(":")[2], step.retried, str(step.by))
        if step.kept != known and await still_ours(self._worker, event):
            if step.kept:
                self._rows.put(key, retries.row_of(step.kept))
            else:
                self._rows.forget(key)

    async def _tell(self, tenant: str, user: str, uid: str, by: str) -> None:
        """Publish that a request was asked again: once for each request, however often it was."""
        data = FeedbackSubmitted(
            uid=uid,
            response_id=f"chatcmpl-{uid}",
            feedback_type=FeedbackType.IMPLICIT_REJECT,
            feedback_source=FeedbackSource.RETRY,
            user_id=user,
            metadata={"retried_by": by},
        )
        feedback_id = derived_id("retry", tenant, uid)
        await until_written(lambda: self._worker.events.publish(data, tenant, event_id=feedback_id))
        self._counts[Count.RETRIED] += 1
