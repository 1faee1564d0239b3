"""Tells the ends that were lost: a worker that dies, or a log that is away for long, may lose the event of an end.

The terminals table knows that a request has ended, and its row still runs. Then the end is read out of the log and told
again, as the event that was lost: so its row, and all lists, show it. What only the lost event knew (cost, attempts)
stays unknown.
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

LATE_S = 60.0  # after its end, the word of it counts as lost


def is_late(row: Json | None, ended: EndedRequest, now: float, table_expiry_s: float) -> bool:
    """Whether a request has ended a while ago and its row does not show that end."""
    age_s = now - ended.ended_at
    if not LATE_S <= age_s < table_expiry_s or superseded(row, ended.rid):
        return False
    return row is None or row["state"] not in TERMINAL


async def tell(
    log: LogClient, events: Events, uid: str, ended: EndedRequest, row: Json | None, *, worker: str, redactor: Redactor
) -> None:
    """Tell the end of a request, out of the log; where the log has lost it, without what it said.

    Args:
        log: where the terminal stands.
        events: where it is told.
        uid: the request.
        ended: how it ended.
        row: what its row shows; None where it has none.
        worker: host:port of the worker that tells it.
        redactor: of the error, which may quote the request.

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
    """A request's terminal, and how many chunks came before it."""
    at = partition_of(log, topics.CHAT_CHUNKS.name, uid.encode())
    record = await record_at(log, at, ended.last)
    frame = None if record is None else decode(record)
    return (frame.terminal, frame.seq) if frame is not None and frame.uid == uid else (None, 0)
