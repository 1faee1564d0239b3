"""Publishes the events of ends that were lost: when a worker dies, or when the log is away for long.

The terminals table shows that a request has ended, and its row still runs. Then the end is read from the log and its
event is published again, so that the request's row, and all lists, show the end. What only the lost event knew (cost,
attempts) stays unknown.
"""

from weir import topics
from weir.chat.decoding import decode
from weir.chat.ends import EndedRequest
from weir.chat.frames import Terminal
from weir.chat.lifecycle import TERMINAL
from weir.chat.states import superseded
from weir.envelope import Json, utc_iso
from weir.events.base import derived_id
from weir.events.publishing import Events
from weir.events.redaction import Redactor
from weir.events.traces import ENDS
from weir.log.log import LogClient, partition_of, record_at

LATE_S = 60.0  # after its end, a request's event counts as lost


def is_late(row: Json | None, ended: EndedRequest, now: float, table_expiry_s: float) -> bool:
    """Whether a request ended a while ago and its row does not show that end."""
    age_s = now - ended.ended_at
    if not LATE_S <= age_s < table_expiry_s or superseded(row, ended.rid):
        return False
    return row is None or row["state"] not in TERMINAL


async def tell(
    log: LogClient, events: Events, uid: str, ended: EndedRequest, row: Json | None, *, worker: str, redactor: Redactor
) -> None:
    """Publish the end of a request as the log holds it; where the log has lost it, without the terminal's content.

    Args:
        log: the log with the terminal.
        events: publishes the event.
        uid: the request's uid.
        ended: how the request ended.
        row: the request's row; None where it has none.
        worker: host:port of this worker.
        redactor: redacts the error, which may quote the request.

    Raises:
        LogError: the log cannot be read or written.
    """
    terminal, chunks = await _terminal(log, uid, ended)
    details: Json = {
        "trace_id": uid,
        "uid": uid,
        "rid": ended.rid,
        "worker": worker,
        "action": ended.status,
        "ended_at": utc_iso(ended.ended_at),
        "chunks": chunks,
        "attempts": len((row or {}).get("attempts", ())),
        "first": ended.first,
        "last": ended.last,
    }
    if terminal is not None:
        details |= {"finish_reason": terminal.finish_reason, "weir_finish": terminal.weir_finish}
        details |= {"usage": terminal.usage, "timings": terminal.timings}
    if terminal is not None and terminal.error is not None:
        error = redactor.error({**terminal.error, "message": str(terminal.error.get("message"))})
        details |= {"error": error, "error_message": error["message"]}
    data = ENDS[ended.status].model_construct(**details)
    event_id = derived_id(ended.rid, f"request.{ended.status}")  # as `weir.chat.account.Account.event_id` makes it
    await events.publish(data, ended.tenant, event_id=event_id)


async def _terminal(log: LogClient, uid: str, ended: EndedRequest) -> tuple[Terminal | None, int]:
    """Return a request's terminal, and the number of chunks before it."""
    at = partition_of(log, topics.CHAT_CHUNKS.name, uid.encode())
    record = await record_at(log, at, ended.last)
    frame = None if record is None else decode(record)
    return (frame.terminal, frame.seq) if frame is not None and frame.uid == uid else (None, 0)
