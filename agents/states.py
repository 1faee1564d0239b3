"""The states agent: folds trace events into the requests table, and lets go of rows that have expired."""

from typing import Any

from faust.types import StreamT

from app import app, parts
from app.core import unacknowledged
from weir import topics
from weir.chat.table_upkeep import SWEEP_S


@app.agent(app.source(topics.AGENT_TRACES), name="states")
async def states(stream: StreamT[Any]) -> None:
    """One row for each request; a record that is no event is passed over."""
    async for event in unacknowledged(stream):
        told = parts.upkeep.take(event)
        if told is None or not parts.joiner.ended(event, told):  # feedback may wait for the end of a request
            event.ack()


@app.timer(SWEEP_S, name="sweep")
async def sweep() -> None:
    """Ask, through the log, for expired rows to be removed."""
    await parts.upkeep.sweep()
