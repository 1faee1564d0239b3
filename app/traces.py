"""agent-trace-events: what happens to a request, with timings. Folded into the requests table for people to look at."""

import asyncio
import logging
from typing import Any

from answers import envelope
from app import requests, topics
from app.lifecycle import Happening
from app.requests import ChatRequest
from transports.log import LogClient, LogError
from transports.partitioner import partition_for

logger = logging.getLogger(__name__)

WAITING_MAX = 10_000  # events on their way to the log; beyond that they are dropped and counted: answers come first
LINGER_S = 0.05  # how long an event waits for others: together they cost the log and its consumer little more than one


class Traces:
    """Emits trace events without making an answer wait for them."""

    def __init__(self, log: LogClient, *, worker: str) -> None:
        self._log = log
        self._worker = worker
        self._lingering: list[tuple[bytes, bytes]] = []  # key and value
        self._waiting: set[asyncio.Future[int]] = set()
        self.dropped = 0

    def emit(self, request: ChatRequest, happening: Happening, details: dict[str, Any]) -> None:
        """Tell what happened to a request. Never raises and never waits."""
        if len(self._waiting) + len(self._lingering) >= WAITING_MAX:
            self.dropped += 1
            return
        data = {
            "trace_id": request.uid,
            "uid": request.uid,
            "rid": request.event_id,
            "worker": self._worker,
            "ingress": request.ingress,
            "model": request.body.get("model"),
            "username": request.username,
            "stream": request.stream,
            "accepted_at": request.accepted_at,
            **details,
        }
        try:
            value = envelope.encode(requests.new_id("evt"), happening, request.tenant, data)
        except TypeError as error:  # something that a client or an upstream sent cannot be written
            self.dropped += 1
            logger.warning("request %s: a trace event cannot be written: %s", request.uid, error)
            return
        if not self._lingering:
            asyncio.get_running_loop().call_later(LINGER_S, self.flush)
        self._lingering.append((request.key, value))

    def flush(self) -> None:
        """Append what lingers, now. Never raises and never waits."""
        events, self._lingering = self._lingering, []
        for key, value in events:
            partition = partition_for(key, topics.AGENT_TRACES.partitions)
            try:
                landing = asyncio.ensure_future(self._log.append(topics.AGENT_TRACES.name, partition, key, value))
            except LogError as error:  # the client is stopped
                self.dropped += 1
                logger.warning("a trace event was not written: %s", error)
                continue
            self._waiting.add(landing)
            landing.add_done_callback(self._landed)

    def _landed(self, landing: "asyncio.Future[int]") -> None:
        self._waiting.discard(landing)
        if not landing.cancelled() and landing.exception() is not None:
            self.dropped += 1
            logger.warning("a trace event was not written: %s", landing.exception())
