"""The states agent: folds trace events into the requests table, and removes rows that have expired."""

from typing import Any

from faust.types import StreamT

from app import app, parts
from app.core import unacknowledged
from weir import topics
from weir.chat.table_upkeep import SWEEP_S


@app.agent(app.source(topics.AGENT_TRACES), name="states")
async def states(stream: StreamT[Any]) -> None:
    """Fold one record after the other into the row of its request; a record that is not an event is skipped."""
    async for event in unacknowledged(stream):
        trace = parts.upkeep.take(event)
        if trace is None or not parts.joiner.ended(event, trace):  # feedback may wait for the end of a request
            event.ack()


@app.timer(SWEEP_S, name="sweep")
async def sweep() -> None:
    """Ask, through the log, for the removal of expired rows."""
    await parts.upkeep.sweep()
