"""Requests and answers in the log, and a worker that answers at once."""

from typing import Any

from tests.defaults import CHAT_PARTITIONS
from tests.unit.weir.log.memory_log import MemoryLog
from weir import topics
from weir.chat import frames, requests
from weir.chat.frames import Frame, FrameKind, Status, Terminal
from weir.chat.requests import ChatRequest
from weir.envelope import utc_iso
from weir.events.ingress import Ingress
from weir.log.log import Partition
from weir.log.partitioner import partition_for

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def place(topic: str, uid: str) -> Partition:
    return Partition(topic, partition_for(uid.encode(), CHAT_PARTITIONS))


def request_of(log: MemoryLog, uid: str, *, event_id: str = "", model: str = "m", **more: Any) -> ChatRequest:
    """Return a request of now."""
    body = {"model": model, "messages": [{"role": "user", "content": f"about {uid}"}]}
    fields = {
        "uid": uid,
        "event_id": event_id or f"evt-{uid}",
        "tenant": "acme",
        "ingress": Ingress.HTTP,
        "accepted_at": utc_iso(log.now),
        "body": body,
        "fingerprint": requests.fingerprint(body),
        "stream": False,
        "chunks_from": len(log.records.get(place(topics.CHAT_CHUNKS.name, uid), [])),
    }
    return ChatRequest(**{**fields, **more})


def put(log: MemoryLog, request: ChatRequest) -> None:
    at = place(topics.CHAT_REQUESTS.name, request.uid)
    log.put(at, request.key, requests.encode(request), requests.ACCEPTED)


def say(log: MemoryLog, request: ChatRequest, *texts: str, status: Status | None = Status.COMPLETED) -> None:
    """Put an answer into the log; without a status it has no end."""
    at = place(topics.CHAT_CHUNKS.name, request.uid)

    def write(kind: FrameKind, **fields: Any) -> int:
        frame = Frame(uid=request.uid, rid=request.event_id, kind=kind, attempt=f"att-{request.event_id}", **fields)
        return log.put(at, request.key, frames.encode(frame, event_id="evt-frame", tenant=request.tenant))

    write(FrameKind.BEGIN, after=-1, fingerprint=request.fingerprint)
    for seq, text in enumerate(texts):
        write(FrameKind.CHUNKS, seq=seq, chunks=[{"choices": [{"index": 0, "delta": {"content": text}}]}])
    if status is not None:
        error = {"code": "server_error", "type": "server_error", "status": 500} if status is Status.FAILED else None
        timings = {"first_chunk_ms": 3.0, "total_ms": 9.0}
        reason = "stop" if status is Status.COMPLETED else None
        terminal = Terminal(status=status, finish_reason=reason, usage=USAGE, error=error, timings=timings)
        write(FrameKind.TERMINAL, seq=len(texts), terminal=terminal)


def recorded(
    log: MemoryLog, uid: str, *texts: str, status: Status | None = Status.COMPLETED, **more: Any
) -> ChatRequest:
    """Put a request and its answer into the log."""
    request = request_of(log, uid, **more)
    put(log, request)
    log.now += 0.5
    say(log, request, *texts, status=status)
    return request


class Worker:
    """Answers what it finds in chat-requests, each event id once, as a worker does."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._read = dict.fromkeys(range(CHAT_PARTITIONS), 0)
        self.answered: list[ChatRequest] = []

    def skip(self) -> None:
        """Count all requests in the log as answered."""
        for number in self._read:
            self._read[number] = len(self._log.records.get(Partition(topics.CHAT_REQUESTS.name, number), []))

    def work(self, limit: int = 1_000_000) -> None:
        """Answer at most so many requests."""
        known = {request.event_id for request in self.answered}
        for number in self._read:
            at = Partition(topics.CHAT_REQUESTS.name, number)
            for record in self._log.records.get(at, [])[self._read[number] :]:
                if limit <= 0:
                    return
                self._read[number] += 1
                request = requests.decode(record.value)
                if request.event_id not in known:
                    limit -= 1
                    known.add(request.event_id)
                    self.answered.append(request)
                    say(self._log, request, f"answer of {request.body['model']}")
