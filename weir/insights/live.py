"""The windows of the live topics: takes their records, each acknowledged when all its effects are written."""

import logging
import time
from functools import partial
from typing import cast

from weir import topics
from weir.insights.swapping import GivenAwayError
from weir.insights.watching import WindowKeeper
from weir.log.log import Delivered, record_of
from weir.worker import Worker

logger = logging.getLogger(__name__)


class LiveWindows:
    """Takes events of agent-metrics-events and ai-learning-signals, one after the other."""

    def __init__(self, worker: Worker, watching: WindowKeeper) -> None:
        self._worker, self._watching = worker, watching

    async def take(self, event: Delivered) -> None:
        """Take one event. An event of a partition that was given away is left to the next owner."""
        message = event.message
        try:
            record = record_of(message, self._worker.settings.topic_prefix)
            await self._watching.take(record, _generation(event), partial(self._owns, event))
        except GivenAwayError:
            return
        except Exception:
            # An agent that raises stops its partitions; later records are folded all the same.
            logger.exception("%s %d at %d", message.topic, message.partition, message.offset)
        event.ack()

    async def tick(self) -> None:
        """Close windows of partitions without new records."""
        if not self._worker.draining:
            own = self._worker.own_partitions(topics.AGENT_METRICS)
            await self._watching.tick(own, self._worker.membership.generation, time.time())

    def _owns(self, event: Delivered) -> bool:
        return not self._worker.rebalancing and _generation(event) == self._worker.membership.generation


def _generation(event: Delivered) -> int:
    return cast("int", event.message.generation_id)
