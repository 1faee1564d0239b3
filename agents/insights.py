"""The insights agent: folds the figures of requests and the signals of feedback into windows, and judges them.

One agent reads both topics, one record after the other: so nothing else changes a row while an insight is published.
"""

from typing import Any

from faust.types import StreamT

from app import app, parts
from app.core import unacknowledged
from weir import topics
from weir.insights.configured import tick_s


@app.agent(app.source(topics.AGENT_METRICS, topics.AI_LEARNING_SIGNALS), name="insights")
async def insights(stream: StreamT[Any]) -> None:
    """Fold each record into its window; its event is acknowledged when all results are written."""
    async for event in unacknowledged(stream):
        await parts.windows.take(event)


@app.timer(tick_s(app.settings), name="insights-tick")
async def tick() -> None:
    """Close windows of partitions that get no more records."""
    if app.tables.actives_ready:
        await parts.windows.tick()
