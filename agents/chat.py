"""The chat agent: requests in, answers out."""

from typing import Any

from faust.types import StreamT

from app import app, parts
from app.core import unacknowledged
from weir import topics


@app.agent(app.source(topics.CHAT_REQUESTS), name="chat")
async def chat(stream: StreamT[Any]) -> None:
    """Answer requests, many at once; each event is acknowledged after its terminal was read out of the log."""
    async for event in unacknowledged(stream):
        await parts.work.take(event)
