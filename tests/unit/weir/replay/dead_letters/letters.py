"""Dead letters as workers write them, for tests."""

import itertools
import time
from dataclasses import replace
from typing import Any

from tests.unit.weir.answering.helpers import REQUEST
from tests.unit.weir.log.memory_log import MemoryLog
from weir import envelope, topics
from weir.chat import dead_letters, requests
from weir.chat.requests import ChatRequest
from weir.envelope import Json
from weir.events.ingress import Ingress
from weir.log.log import Headers, Partition, Record
from weir.log.partitioner import partition_for
from weir.rabbitmq import orders
from weir.rabbitmq.orders import Order

LETTERS, REQUESTS, ORDERS = (
    spec.name for spec in (topics.CHAT_DEAD_LETTERS, topics.CHAT_REQUESTS, topics.CHAT_DELIVERIES)
)
AWAY: Json = {"message": "Connection error: Bearer abcdefghijklmnopqrstuv", "code": "upstream_unavailable"}
_offsets = itertools.count()


async def put_dead_letter(
    log: MemoryLog,
    value: bytes,
    *,
    topic: str = REQUESTS,
    key: bytes = b"k",
    headers: Headers = (),
    partition: int = 1,
    offset: int | None = None,
    reason: str = "not JSON",
    tenant: str = "acme",
    value_max_bytes: int = 1 << 20,
    details: Json | None = None,
) -> str:
    """Write a dead letter about a record; return its id."""
    log.now = time.time()
    record = Record(topic, partition, next(_offsets) if offset is None else offset, log.now, key, value, headers)
    await dead_letters.write(
        log, record, reason=reason, tenant=tenant, value_max_bytes=value_max_bytes, details=details
    )
    at = Partition(LETTERS, partition_for(key, topics.CHAT_DEAD_LETTERS.partitions))
    return envelope.decode(log.records[at][-1].value).event_id


async def dead_letter_of_request(
    log: MemoryLog, request: ChatRequest, *, error: Json | None = None, **more: Any
) -> str:
    """Write a dead letter about a request that failed."""
    error = error or AWAY
    details = {"uid": request.uid, "attempts": 1, "error": error}
    value = more.pop("value", requests.encode(request))
    return await put_dead_letter(
        log, value, key=request.key, reason=f"failed: {error['message']}", details=details, **more
    )


def a_request(number: int, **changed: Any) -> ChatRequest:
    return replace(REQUEST, **{"uid": f"u-{number}", "event_id": f"evt-{number}", **changed})


def by_rabbitmq(number: int) -> ChatRequest:
    return a_request(number, ingress=Ingress.RABBITMQ)


def order(log: MemoryLog, request: ChatRequest) -> Order:
    """Order the delivery of a request."""
    made = Order(
        uid=request.uid,
        submission=request.event_id,
        tenant=request.tenant,
        fingerprint=request.fingerprint,
        chunks_from=0,
        stream=True,
        name="mine",
        queue="response_mine",
        declare=True,
        again=True,
        correlation_id="c",
    )
    log.now = time.time()
    log.put(Partition(ORDERS, partition_for(request.key, 6)), request.key, orders.encode(made))
    return made


def all_records(log: MemoryLog, topic: str) -> list[Record]:
    return [record for at, records in log.records.items() if at.topic == topic for record in records]


def letters(log: MemoryLog) -> list[envelope.Event]:
    return [envelope.decode(record.value) for record in all_records(log, LETTERS)]


def requests_in(log: MemoryLog) -> list[ChatRequest]:
    return [requests.decode(record.value) for record in all_records(log, REQUESTS)]


def orders_in(log: MemoryLog) -> list[Order]:
    return [orders.decode(record.value) for record in all_records(log, ORDERS)]
