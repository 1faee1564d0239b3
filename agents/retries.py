"""The retries agent: brings the prompts of one user together, and removes those that are too old to matter."""

from typing import Any

from faust.types import StreamT

from app import app, parts
from app.core import unacknowledged
from weir import topics
from weir.feedback.sweeping import SWEEP_S, sweep_prompts


@app.agent(app.source(topics.CHAT_PROMPTS), name="retries")
async def retries(stream: StreamT[Any]) -> None:
    """Process one prompt after the other."""
    async for event in unacknowledged(stream):
        await parts.retry_watch.take(event)


@app.timer(SWEEP_S, name="prompts sweep")
async def sweep() -> None:
    """Ask, through the log, for the removal of old rows."""
    await sweep_prompts(parts.worker, parts.tables.prompts)
