"""Requests, answers and feedback in a log."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson

from tests.unit.weir.log.memory_log import MemoryLog
from weir import envelope, topics
from weir.chat import frames, requests
from weir.chat.frames import Frame
from weir.chat.requests import ChatRequest
from weir.envelope import Json
from weir.events.feedback import FeedbackSubmitted
from weir.events.ingress import Ingress
from weir.export.output import Output
from weir.log.log import Partition, Record
from weir.ranges.offset_ranges import OffsetRange

REQUESTS = Partition(topics.CHAT_REQUESTS.name, 0)
CHUNKS = Partition(topics.CHAT_CHUNKS.name, 0)
FEEDBACK = Partition(topics.AI_FEEDBACK.name, 0)


def body_of(prompt: str = "Hi", **more: Any) -> Json:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **more}


def request_of(uid: str, **more: Any) -> ChatRequest:
    fields: dict[str, Any] = {
        "uid": uid,
        "event_id": f"evt-{uid}",
        "tenant": "default",
        "ingress": Ingress.HTTP,
        "accepted_at": "2026-11-20T08:00:00.000000Z",
        "body": body_of(f"ask {uid}"),
        "fingerprint": "f",
        "stream": True,
    }
    return ChatRequest(**{**fields, **more})


def ask(log: MemoryLog, uid: str, **more: Any) -> ChatRequest:
    """Put a request into the log."""
    request = request_of(uid, **{"chunks_from": len(log.records.get(CHUNKS, [])), **more})
    log.put(REQUESTS, uid.encode(), requests.encode(request), requests.ACCEPTED)
    return request


def say(log: MemoryLog, uid: str, *said: Frame, life: str = "") -> None:
    """Put frames of an answer into the log, under another uid than theirs, or under a later life."""
    for frame in said:
        fields = {name: getattr(frame, name) for name in Frame.__dataclass_fields__}
        own = Frame(**{**fields, "uid": uid, "rid": fields["rid"].replace("evt-1", f"evt-{uid}{life}")})
        log.put(CHUNKS, uid.encode(), frames.encode(own, event_id="evt-x", tenant="default"))


def rate(log: MemoryLog, uid: str, kind: str, *, tenant: str = "default", event_id: str = "", **more: Any) -> None:
    """Put feedback into the log."""
    data = {"uid": uid, "response_id": uid, "feedback_type": kind, **more}
    event_id = event_id or f"evt-{len(log.records.get(FEEDBACK, []))}"
    log.put(FEEDBACK, uid.encode(), envelope.encode(event_id, FeedbackSubmitted.EVENT_TYPE, tenant, data))


def whole(log: MemoryLog, at: Partition = REQUESTS) -> OffsetRange:
    return OffsetRange(at, 0, len(log.records.get(at, [])))


def record_of(value: bytes | None, *, key: bytes | None = b"k", **more: Any) -> Record:
    fields: dict[str, Any] = {
        "topic": "t",
        "partition": 1,
        "offset": 7,
        "timestamp": 1_763_740_173.123,
        "key": key,
        "value": value,
        "headers": (),
    }
    return Record(**{**fields, **more})


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


DEEP = orjson.loads(b"[" * 600 + b"]" * 600)  # can be read, and not be written again


def output_of(folder: Path, name: str = "out.jsonl") -> Output:
    return Output(folder / name)


async def counted(found: AsyncIterator[Any]) -> list[Any]:
    return [one async for one in found]
