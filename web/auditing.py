"""Records acts over HTTP in audit-events: reads, cancels and refusals.

Accepted requests are recorded by `weir.chat.accept`, before their answers begin.
"""

from collections.abc import Mapping
from typing import Final

from aiohttp import web

from web.errors import ERROR, REQUEST_ID, Handler
from weir.chat import audit
from weir.chat.audit import Action, Audit, Caller
from weir.chat.checking import tenant_of
from weir.errors import InvalidRequestError
from weir.events.ingress import Ingress
from weir.peers import FORWARDED
from weir.settings import Settings

ACTIONS: Final[Mapping[tuple[str, str], Action]] = {
    ("POST", "/v1/chat/completions"): audit.SUBMIT,
    ("GET", "/v1/chat/completions/{id}"): audit.READ,
    ("GET", "/v1/chat/completions/{id}/stream"): audit.READ,
    ("POST", "/v1/chat/completions/{id}/cancel"): audit.CANCEL,
    ("GET", "/requests"): audit.LIST,
    ("GET", "/requests/{uid}"): audit.READ,
    ("POST", "/v1/feedback"): audit.GIVE_FEEDBACK,
    ("POST", "/api/v1/feedback/submit"): audit.GIVE_FEEDBACK,
    ("POST", "/api/v1/feedback/correction"): audit.GIVE_FEEDBACK,
    ("POST", "/api/v1/feedback/rating"): audit.GIVE_FEEDBACK,
    ("GET", "/v1/feedback/{id}"): audit.READ_FEEDBACK,
    ("GET", "/api/v1/feedback/summary"): audit.READ_FEEDBACK,
    ("POST", "/replays"): audit.REPLAY,
    ("POST", "/replays/{id}/resume"): audit.REPLAY,
    ("POST", "/replays/{id}/cancel"): audit.CANCEL_REPLAY,
    ("GET", "/replays"): audit.READ_REPLAY,
    ("GET", "/replays/{id}"): audit.READ_REPLAY,
    ("GET", "/replays/{id}/report"): audit.READ_REPLAY,
    ("GET", "/thinking/{id}"): audit.READ,
    ("GET", "/thinking/{id}/steps"): audit.READ,
    ("GET", "/thinking/{id}/api-calls"): audit.READ,
    ("GET", "/thinking/{id}/metrics"): audit.READ,
}
"""The acts, by method and path as the router has it."""

RESOURCE: Final = web.RequestKey("resource", str)
"""The object of a request, where its path does not name it: a thing that the request made."""

CLOSED: Final = 499  # nginx's word for a client that left before its answer


def caller_of(http: web.Request) -> Caller:
    """Return the client of a request."""
    return Caller(
        ingress=Ingress.HTTP,
        ip_address=http.remote,
        user_agent=http.headers.get("User-Agent"),
        method=http.method,
        path=http.path,
    )


class Auditing:
    """Records acts on one worker."""

    def __init__(self, recorded: Audit, settings: Settings) -> None:
        self._audit, self._settings = recorded, settings

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Record an act when it is done."""
        resource = request.match_info.route.resource
        action = None if resource is None else ACTIONS.get((request.method, resource.canonical))
        if action is None:
            return await handler(request)
        status = CLOSED
        try:
            response = await handler(request)
            status = response.status
        finally:
            error = request.get(ERROR)
            code = None if error is None else str(error.error.get("code") or error.error.get("type"))
            if action is not audit.SUBMIT or code is not None:
                self._tell(request, action, status, code)
        return response

    def _tell(self, http: web.Request, action: Action, status: int, code: str | None) -> None:
        try:
            tenant = tenant_of(http.headers.get("X-Tenant-ID"), self._settings)
        except InvalidRequestError:
            tenant = self._settings.default_tenant
        named = http.get(RESOURCE) or http.match_info.get("id") or http.match_info.get("uid")
        name = named or http.get(REQUEST_ID)  # the X-Request-ID of an error
        self._audit.record(
            action,
            caller_of(http),
            tenant=tenant,
            service=FORWARDED in http.headers,  # another worker asks for a client, whose act it records itself
            resource_id=name and name.removeprefix("chatcmpl-"),
            status=None if status == CLOSED else status,
            error_code=code,
        )
