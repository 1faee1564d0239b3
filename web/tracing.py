"""The span of the HTTP door: for a new request, from its headers to the last token of its answer."""

from aiohttp import web

from web.errors import Handler
from weir.telemetry.traceparent import HEADER
from weir.telemetry.tracing import tracing

TRACEPARENT = web.RequestKey("traceparent", str)
"""Where a request keeps its position in a trace."""

_TRACED = ("POST", "/v1/chat/completions")


@web.middleware
async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Open a span for a new request. Errors are responses already."""
    if (request.method, request.path) != _TRACED:
        return await handler(request)
    given = request.headers.getall(HEADER, [])
    with tracing.http(*_TRACED, given[0] if len(given) == 1 else None) as span:
        request[TRACEPARENT] = span.traceparent or ""
        response = await handler(request)
        span.tell(http__response__status_code=response.status)
        if response.status >= web.HTTPInternalServerError.status_code:
            span.failed(str(response.status))
        return response
