"""The insights agent: what requests took and what people say of answers, folded into windows, and judged.

One agent reads both topics, one record after the other: so nothing else changes a row while an insight is being told.
"""

import logging
import time
from functools import partial
from typing import Any, cast

from faust.types import EventT, StreamT

from app import app
from app.core import unacknowledged
from tables import quality
from weir import topics
from weir.insights.configured import limits, spans
from weir.insights.swapping import GivenAwayError
from weir.insights.watching import Watching
from weir.log.log import record_of

logger = logging.getLogger(__name__)

# Between two looks at the clock: a window without news closes that much later.
TICK_S = min(5.0, app.settings.insight_window_s / 4)

watching = Watching(
    log=app.log_client,
    events=app.events,
    rows=quality.rows,
    spans=spans(app.settings),
    limits=limits(app.settings),
    tenant=app.settings.default_tenant,
    written=app.tables_written,
)
app.window_events = watching.counts.events


@app.agent(app.source(topics.AGENT_METRICS, topics.AI_LEARNING_SIGNALS), name="insights")
async def insights(stream: StreamT[Any]) -> None:
    """Fold each record into its window; acknowledged when all that follows from it is written."""
    async for event in unacknowledged(stream):
        try:
            await watching.take(
                record_of(event.message, app.settings.topic_prefix), _generation(event), partial(_owns, event)
            )
        except GivenAwayError:
            continue  # the next owner gets it again
        except Exception:
            # An agent that raises stops its partitions; what is folded after this one is folded all the same.
            logger.exception("%s %d at %d", event.message.topic, event.message.partition, event.message.offset)
        event.ack()


@app.timer(TICK_S, name="insights-tick")
async def tick() -> None:
    """Close windows of partitions where nothing comes any more."""
    if app.tables.actives_ready and not app.draining:
        await watching.tick(app.own_partitions(topics.AGENT_METRICS), app.consumer_generation_id, time.time())


def _generation(event: "EventT[Any]") -> int:
    return cast("int", event.message.generation_id)


def _owns(event: "EventT[Any]") -> bool:
    return not app.rebalancing and _generation(event) == app.consumer_generation_id
