"""The feedback agent: makes signals of feedback from the doors and from Kafka, and gives up what waits for too long."""

from typing import Any

from faust.types import StreamT

from app import app, parts
from app.core import unacknowledged
from weir import topics
from weir.feedback.sweeping import feedback_sweep_s, sweep_feedback


@app.agent(app.source(topics.AI_FEEDBACK), name="feedback")
async def feedback(stream: StreamT[Any]) -> None:
    """Process feedback, many pieces at once; each event is acknowledged when its results are in the log."""
    async for event in unacknowledged(stream):
        await parts.joiner.take(event)


@app.timer(feedback_sweep_s(app.settings), name="feedback sweep")
async def sweep() -> None:
    """Ask, through the log, for overdue feedback to be joined or given up."""
    await sweep_feedback(parts.worker, parts.tables.feedback, parts.joiner)
