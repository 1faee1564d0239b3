"""Turns every error into OpenAI's shape, and lets no traceback out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

from weir.envelope import Json, new_id
from weir.errors import SHOULD_RETRY, AnswerGoneError, ApiError, InvalidRequestError, UnavailableError
from weir.log.log import LogError, LogReplacedError

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ERROR = web.RequestKey("error", ApiError)  # the error that a request was answered with, for metrics and audit

REQUEST_ID = web.RequestKey("request_id", str)
"""The id under which an error can be found: the uid of its request, or an id of its own."""

_REASONS = {
    404: ("Unknown path: {method} {path}", "unknown_url"),
    405: ("{method} is not allowed on {path}; allowed: {allowed}", "method_not_allowed"),
    413: ("The body is larger than {limit} bytes.", "request_too_large"),
}


def json_response(body: Json | bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a JSON response, made of an object or of finished JSON."""
    encoded = body if isinstance(body, bytes) else orjson.dumps(body)
    return web.Response(body=encoded, status=status, headers=headers, content_type="application/json")


def error_response(error: ApiError, request_id: str) -> web.Response:
    """Return an error as a response."""
    headers = {"X-Request-ID": request_id, **error.headers}
    if error.status == web.HTTPConflict.status_code:
        headers[SHOULD_RETRY] = "false"  # the openai clients would retry, and it would conflict again
    return json_response(error.body, status=error.status, headers=headers)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn an exception of a handler into a response."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        return _told(request, _from_http(request, error), new_id("err"))
    except ConnectionError as error:
        # The client is gone, or does not read: there is no one to answer. aiohttp would log a traceback, as of a
        # defect, unless the handler ends as it ends where aiohttp is the first to notice.
        raise asyncio.CancelledError from error
    except Exception as error:  # noqa: BLE001 - it is logged if it is not an ApiError, and no traceback leaves
        request_id = request.get(REQUEST_ID) or new_id("err")
        return _told(request, as_api_error(error, request_id), request_id)


def _told(request: web.Request, error: ApiError, request_id: str) -> web.Response:
    request[ERROR], request[REQUEST_ID] = error, request_id
    return error_response(error, request_id)


def as_api_error(error: Exception, request_id: str) -> ApiError:
    """Return the error for a client; a defect is logged under the id, and its details stay here."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, LogReplacedError):
        return AnswerGoneError()
    if isinstance(error, LogError):
        return UnavailableError(f"The log cannot be read now: {error}", code="log_unavailable")
    logger.error("a defect (%s)", request_id, exc_info=error)
    return ApiError("internal error", status=500, kind="server_error", code="internal_error")


def _from_http(request: web.Request, error: web.HTTPException) -> ApiError:
    text, code = _REASONS.get(error.status, (error.reason or "the request failed", "http_error"))
    allowed = ", ".join(sorted(error.allowed_methods)) if isinstance(error, web.HTTPMethodNotAllowed) else ""
    message = text.format(method=request.method, path=request.path, allowed=allowed, limit=request.client_max_size)
    return InvalidRequestError(message, code=code, status=error.status)
