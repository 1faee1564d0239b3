"""The feedback agent: feedback from the doors and from Kafka becomes signals; what waits for too long is given up."""

from typing import Any

from faust.types import StreamT

from app import app, parts
from app.core import unacknowledged
from weir import topics
from weir.feedback.sweeping import feedback_sweep_s, sweep_feedback


@app.agent(app.source(topics.AI_FEEDBACK), name="feedback")
async def feedback(stream: StreamT[Any]) -> None:
    """Take feedback, many at once; each is acknowledged when what follows from it is in the log."""
    async for event in unacknowledged(stream):
        await parts.joiner.take(event)


@app.timer(feedback_sweep_s(app.settings), name="feedback sweep")
async def sweep() -> None:
    """Ask, through the log, for what is overdue to be joined or given up."""
    await sweep_feedback(parts.worker, parts.tables.feedback, parts.joiner)
