"""The web server: an aiohttp runner of Weir's own.

Faust's stock server notices a client that left only at the next write, and takes minutes to stop with a stream open;
this one cancels a handler when its client leaves, and stops when its streams have ended.
"""

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import web
from faust.exceptions import ImproperlyConfigured
from mode import Service

from app import app, parts
from web import client_retries, schemas
from web.asking import Asking
from web.auditing import Auditing
from web.bodies import Bodies
from web.chat import UID, ChatView
from web.client_retries import ClientRetries
from web.connections import ConnectionLimits, Runner
from web.errors import error_response, errors, json_response
from web.everywhere import Everywhere
from web.feedback import FeedbackView
from web.first_tries import FirstTries
from web.insights import InsightsView
from web.metrics import MetricsView
from web.models import ModelsView
from web.readers import Readers
from web.replays import ReplaysView
from web.requests import RequestsView
from web.thinking import ThinkingView
from web.tracing import trace
from weir.chat.requests import chunks_of
from weir.envelope import new_id
from weir.errors import UnavailableError

LOOK_S = 0.2  # between two checks for open requests while stopping
STOP_S = 2.0  # for handlers that are left when the drain time is over
ALWAYS = frozenset({"/ping", "/version", "/metrics"})  # served even if the worker is full


@app.web_server
class WebServer(Service):
    """Serves one worker's doors and views. Starts when the tables have recovered."""

    web_url = app.conf.canonical_url
    driver_version = f"aiohttp={aiohttp.__version__}"

    async def on_start(self) -> None:
        """Listen on RESTAPI_HOST and RESTAPI_PORT."""
        self._open: dict[asyncio.Task[object], web.Request] = {}
        self._readers = Readers(parts.worker)
        settings = app.settings
        self._runner = Runner(
            self._routes(),
            ConnectionLimits(
                connections_max=settings.http_connections_max, header_timeout_s=settings.http_header_timeout_s
            ),
            handler_cancellation=True,
            shutdown_timeout=STOP_S,
            access_log=None,
            keepalive_timeout=settings.http_keepalive_timeout_s,
            max_field_size=settings.request_header_max,
            max_line_size=settings.request_header_max,
        )
        await self._runner.setup()
        host, port = settings.restapi_host, settings.restapi_port
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as error:
            raise ImproperlyConfigured(f"cannot listen on RESTAPI_PORT={port}: {error.strerror}") from None
        app.on_drain(self._drain)
        self.log.info("HTTP on http://%s:%d", host, port)

    async def on_stop(self) -> None:
        """Close the connections that are still open."""
        await self._runner.cleanup()
        await self._readers.close()

    def _routes(self) -> web.Application:
        worker, owners, lookup, tables = parts.worker, parts.owners, parts.lookup, parts.tables
        tries = FirstTries(worker.settings.retry_attach_s)
        retries = ClientRetries(owners, lookup, tries, parts.work.generated)
        asking = Asking(worker, parts.door, self._readers, tries, retries)
        chat = ChatView(worker, lookup=lookup, readers=self._readers, asking=asking, cancelling=parts.cancelling)
        models = ModelsView(parts.upstream, kept_s=worker.settings.models_cache_s)
        everywhere = Everywhere(worker, owners)
        requests = RequestsView(
            worker, everywhere, lookup, rows=tables.requests, in_flight=lambda: parts.work.in_flight
        )
        thinking = ThinkingView(worker, lookup, parts.thinking_events)
        feedback = FeedbackView(worker, owners, everywhere, requests=tables.requests, rows=tables.feedback)
        insights = InsightsView(worker, everywhere, tables.quality)
        metrics = MetricsView(worker.metrics, parts.gauges.refresh)
        replays = ReplaysView(worker, tables.changelogs, everywhere)
        app.on_stopped(replays.close)
        bodies = Bodies(worker.tails.memory, worker.settings.client_write_timeout_s)
        audited = Auditing(parts.audit, worker.settings)
        http = web.Application(
            middlewares=[metrics.measure, trace, self._track, bodies.middleware, audited.middleware, errors],
            client_max_size=app.settings.request_max_bytes,
        )
        http.add_routes(
            [
                web.post("/v1/chat/completions", chat.create),
                web.get("/v1/chat/completions/{id}", requests.completion),
                web.get("/v1/chat/completions/{id}/stream", chat.resume),
                web.post("/v1/chat/completions/{id}/cancel", chat.cancel),
                web.get("/v1/models", models.index),
                web.post("/v1/feedback", feedback.create),
                web.get("/v1/feedback/{id}", feedback.show),
                web.post("/api/v1/feedback/submit", feedback.create),
                web.post("/api/v1/feedback/correction", feedback.correct),
                web.post("/api/v1/feedback/rating", feedback.rate),
                web.get("/api/v1/feedback/summary", feedback.summary),
                web.get("/requests", requests.index),
                web.get("/requests/{uid}", requests.show),
                web.get("/thinking/{id}", thinking.show),
                web.get("/thinking/{id}/steps", thinking.steps),
                web.get("/thinking/{id}/api-calls", thinking.api_calls),
                web.get("/thinking/{id}/metrics", thinking.metrics),
                web.post("/replays", replays.create),
                web.get("/replays", replays.index),
                web.get("/replays/{id}", replays.show),
                web.get("/replays/{id}/report", replays.page),
                web.post("/replays/{id}/resume", replays.resume),
                web.post("/replays/{id}/cancel", replays.cancel),
                web.get(client_retries.PATH, retries.index),
                web.post(client_retries.PATH + "/{uid}", retries.take),
                web.get("/schemas", schemas.index),
                web.get("/schemas/{event_type}", schemas.show),
                web.get("/insights", insights.insights),
                web.get("/quality", insights.quality),
                web.get("/metrics", metrics.index),
                web.get("/ping", _ping),
                web.get("/version", _version),
            ]
        )
        return http

    @web.middleware
    async def _track(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if len(self._open) >= app.settings.http_requests_max and request.path not in ALWAYS:
            full = UnavailableError("Too many requests are open here; ask again.", code="worker_full")
            return error_response(full, new_id("err"))
        task = asyncio.current_task()
        if task is not None:
            self._open[task] = request
        try:
            return await handler(request)
        finally:
            if task is not None:
                del self._open[task]

    async def _drain(self, seconds: float) -> None:
        """Let open streams end by themselves, and tell the clients of the others that this worker stops.

        Some cannot end before that: their requests are of a partition of this worker, and not begun. Their clients get
        the error as soon as no request is in flight here; a wait for the drain time would delay them all.
        """
        loop = asyncio.get_running_loop()
        deadline, cancelled = loop.time() + seconds, set[asyncio.Task[object]]()
        while self._open and (left_s := deadline - loop.time()) > 0:
            await asyncio.wait(set(self._open), timeout=min(left_s, LOOK_S))
            stuck = set() if parts.work.in_flight else {task for task in self._open if self._stuck(task)}
            for task in stuck - cancelled:
                task.cancel()
            cancelled |= stuck
        for task in self._open.keys() - cancelled:
            task.cancel()

    def _stuck(self, task: asyncio.Task[object]) -> bool:
        """Whether a handler waits for a request that this worker owns and will not begin."""
        uid = self._open[task].get(UID)
        if uid is None or parts.tables.terminals.get(uid) is not None:
            return False
        return chunks_of(parts.worker.log, uid).partition in parts.worker.own_partitions()


async def _ping(_http: web.Request) -> web.Response:
    """Answer that the worker is alive, and what is connected. The first seed's health check."""
    worker, connected = parts.worker, {name: state() for name, state in parts.health.items()}
    pong: dict[str, object] = {"message": "pong", "status": "draining" if worker.draining else "ok", **connected}
    if not worker.draining:
        pong["partitions"] = len(worker.own_partitions())
    return json_response(pong)


async def _version(_http: web.Request) -> web.Response:
    """Answer with the version of this worker."""
    return json_response(app.version.as_json())
