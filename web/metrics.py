"""GET /metrics, and the metrics of HTTP itself."""

from collections.abc import Awaitable, Callable
from time import perf_counter

from aiohttp import hdrs, web

from web.chat import UID
from web.errors import ERROR, Handler
from weir.events.ingress import Ingress
from weir.telemetry.labels import OTHER
from weir.telemetry.worker_metrics import Metrics

CHAT = "/v1/chat/completions"
LEFT = 499  # the client is gone before its status: nginx's code for it


class MetricsView:
    """The metrics of one worker, for Prometheus."""

    def __init__(self, metrics: Metrics, refresh: Callable[[], Awaitable[None]]) -> None:
        self._metrics, self._refresh = metrics, refresh

    async def index(self, http: web.Request) -> web.Response:
        """Answer with all metrics: in the classic text format, or in OpenMetrics' where the scraper asks for it."""
        await self._refresh()
        text, content_type = await self._metrics.rendered(http.headers.get(hdrs.ACCEPT, ""))
        return web.Response(body=text, headers={hdrs.CONTENT_TYPE: content_type})

    @web.middleware
    async def measure(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count and time every request. The outermost middleware: errors are responses already."""
        began, status = perf_counter(), LEFT
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            resource = request.match_info.route.resource
            route = OTHER if resource is None else resource.canonical
            self._metrics.answered(request.method, route, status, perf_counter() - began)
            error = request.get(ERROR)
            if error is not None and route == CHAT and UID not in request:  # the request was not accepted
                fields = error.error
                self._metrics.refused(Ingress.HTTP, error_code=fields["code"], error_type=fields["type"])
