"""agent-trace-events: the steps of a request, with timings. They are folded into the requests table, for people."""

from typing import Any

from weir import limits
from weir.chat.lifecycle import Happening
from weir.chat.requests import ChatRequest
from weir.events import catalogue
from weir.events.base import EventData
from weir.events.publishing import Events


class Traces:
    """Emits trace events without making an answer wait for them."""

    def __init__(self, events: Events, *, worker: str) -> None:
        self._events = events
        self._worker = worker

    def emit(
        self, request: ChatRequest, happening: Happening, details: dict[str, Any], *, event_id: str | None = None
    ) -> None:
        """Emit the event of a request's step. Never raises and never waits.

        Args:
            request: the request.
            happening: the step.
            details: the other fields of its model in ``weir.events.traces``.
            event_id: the event's id: the same each time the same step is emitted.
        """
        data = self._data(request, happening, details)
        self._events.emit(
            data, request.tenant, event_id=event_id, traceparent=request.traceparent, replay=request.replay
        )

    async def publish(
        self, request: ChatRequest, happening: Happening, details: dict[str, Any], *, event_id: str
    ) -> None:
        """Publish the event of a request's step, and wait until it is in the log.

        Raises:
            LogError: the event may or may not be in the log.
        """
        data = self._data(request, happening, details)
        await self._events.publish(data, request.tenant, event_id=event_id, traceparent=request.traceparent)

    def _data(self, request: ChatRequest, happening: Happening, details: dict[str, Any]) -> EventData:
        # Not validated: Weir itself made all of it, but for what the LLM sent, which is passed on unchanged.
        return catalogue.BY_NAME[happening].model_construct(
            trace_id=request.uid,
            uid=request.uid,
            rid=request.event_id,
            worker=self._worker,
            ingress=request.ingress,
            model=limits.name(request.body.get("model")),
            username=request.username,
            session_id=request.session_id,
            stream=request.stream,
            accepted_at=request.accepted_at,
            replay=request.replay,
            replay_of=request.replay_of,
            **details,
        )
