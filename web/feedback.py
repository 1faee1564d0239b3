"""Feedback over HTTP: POST /v1/feedback, the platform's paths for it, and its signals, from any worker."""

import asyncio
from typing import Any

from aiohttp import web

from web.chat import JSON_TYPES
from web.connections import body_of
from web.errors import json_response
from web.everywhere import Everywhere
from web.tenants import named_tenant
from weir import topics
from weir.chat.accept import parse
from weir.chat.checking import tenant_of
from weir.chat.states import RequestRows
from weir.chat.validation import NAME_MAX
from weir.envelope import Json
from weir.errors import ApiError, InvalidRequestError, NotFoundError, UnavailableError
from weir.events.feedback import FeedbackType
from weir.feedback import pieces, rules
from weir.feedback.pieces import Piece
from weir.feedback.rows import FeedbackRows
from weir.feedback.rules import Given
from weir.feedback.summary import Summary
from weir.log.log import LogError, LogRefusedError, partition_of
from weir.peers import FORWARDED, Owners
from weir.timing import in_turns
from weir.worker import Worker

ACCEPTED = 202  # the feedback is in the log; its signal comes when the request has ended


class FeedbackView:
    """The feedback endpoints of one worker."""

    def __init__(
        self, worker: Worker, owners: Owners, everywhere: Everywhere, *, requests: RequestRows, rows: FeedbackRows
    ) -> None:
        self._worker = worker
        self._requests, self._rows = requests, rows
        self._owners = owners
        self._everywhere = everywhere

    # -- in

    async def create(self, http: web.Request) -> web.Response:
        """Accept feedback of any kind."""
        return await self._take(http)

    async def correct(self, http: web.Request) -> web.Response:
        """Accept a correction."""
        return await self._take(http, FeedbackType.CORRECTION)

    async def rate(self, http: web.Request) -> web.Response:
        """Accept a rating."""
        return await self._take(http, FeedbackType.RATING)

    async def _take(self, http: web.Request, kind: FeedbackType | None = None) -> web.Response:
        if http.content_type not in JSON_TYPES:
            raise InvalidRequestError(
                f"Content-Type must be application/json, not {http.content_type}.",
                code="unsupported_media_type",
                status=415,
            )
        tenant = http.headers.get("X-Tenant-ID")
        settings = self._worker.settings
        body = parse(await body_of(http, within_s=settings.http_body_timeout_s))
        given = rules.from_body(body, settings=settings, tenant=tenant, kind=kind)
        await self._record(given)
        accepted = {
            "object": "feedback",
            "id": given.event_id,
            "feedback_id": given.feedback_id,
            "response_id": f"chatcmpl-{given.data.uid}",
            "status": "recorded",
        }
        return json_response(accepted, status=ACCEPTED)

    async def _record(self, given: Given) -> None:
        """Wait until the feedback is in the log: then it will become a signal, whichever worker dies."""
        try:
            async with asyncio.timeout(self._worker.settings.accept_timeout_s):
                await self._worker.events.publish(given.data, given.tenant, event_id=given.event_id)
        except LogRefusedError as error:
            raise ApiError(
                f"The log refuses the feedback: {error}", status=500, kind="server_error", code="log_refused"
            ) from error
        except (LogError, TimeoutError) as error:
            reason = "not in time" if isinstance(error, TimeoutError) else str(error)
            raise UnavailableError(
                f"The log did not confirm the feedback ({reason}). Send it again with the feedback_id "
                f"{given.feedback_id}.",
                code="log_unavailable",
            ) from error

    # -- one request

    async def show(self, http: web.Request) -> web.Response:
        """Answer with feedback and signals about one request, known or not."""
        uid = rules.uid_of(http.match_info["id"])
        tenant = tenant_of(named_tenant(http), self._worker.settings)
        owner = self._owners.of("feedback", uid.encode())
        if owner is None:
            if self._worker.rebalancing:
                raise _sharing_out()
            return json_response(self._shown(uid, tenant))
        if FORWARDED in http.headers:
            raise _sharing_out()
        status, body = await self._owners.ask(owner, f"/v1/feedback/{uid}", [("tenant", tenant)])
        if status not in {web.HTTPOk.status_code, web.HTTPNotFound.status_code}:
            raise UnavailableError("The worker that owns this request does not answer; ask again.", code="owner_away")
        return json_response(body, status=status)

    # -- many

    async def summary(self, http: web.Request) -> web.Response:
        """Answer with the sums of a tenant's feedback, or of one of its sessions; over all workers."""
        tenant, session = tenant_of(named_tenant(http), self._worker.settings), _session(http)
        found = await self._own_summary(tenant, session)
        params = [("tenant", tenant), *([("session_id", session)] if session is not None else [])]
        bodies, asked = await self._everywhere.others(http, params)
        for body in bodies:
            found.merge(body)
        return json_response(
            {"object": "feedback.summary", "tenant": tenant, "session_id": session, **asked, **found.body}
        )

    async def _own_summary(self, tenant: str, session: str | None) -> Summary:
        own, found = self._worker.own_partitions(topics.AI_FEEDBACK), Summary()
        async for uid, row in in_turns(self._rows.items()):
            home = partition_of(self._worker.log, topics.AI_FEEDBACK.name, uid.encode())
            if home.partition in own:
                for piece in pieces.pieces(row):
                    if piece.tenant == tenant and session in {None, piece.session_id}:
                        found.add(piece)
        return found

    def _shown(self, uid: str, asker: str) -> Json:
        """Return this worker's feedback on a request: of the request's tenant, or of the asker's while it is not known.

        Raises:
            NotFoundError: neither the request nor feedback on it is known.
        """
        request, row = self._requests.get(uid), self._rows.get(uid)
        tenant = asker if request is None else request["tenant"]
        found = [piece for piece in pieces.pieces(row) if piece.tenant == tenant]
        if request is None and not found:
            raise NotFoundError(f"No request '{uid}' is known, nor feedback on one.", code="request_not_found")
        return {
            "object": "feedback.list",
            "uid": uid,
            "response_id": f"chatcmpl-{uid}",
            "request_state": None if request is None else request["state"],
            "feedback": [_piece(piece) for piece in found],
            "signals": [_signal(piece) for piece in found if piece.signal is not None],
        }


def _session(http: web.Request) -> str | None:
    session = http.query.get("session_id") or None
    if session is not None and len(session) > NAME_MAX:
        raise InvalidRequestError(f"'session_id' is longer than {NAME_MAX} characters.", param="session_id")
    return session


def _piece(piece: Piece) -> Json:
    shown: dict[str, Any] = {
        "id": piece.feedback_id,
        "feedback_type": piece.feedback_type,
        "feedback_source": piece.feedback_source,
        "state": piece.state,
        "severity": piece.severity,
        "category": piece.category,
        "user_id": piece.user_id,
        "session_id": piece.session_id,
        "rating": piece.rating,
        "edit_distance": piece.edit_distance,
        "given_at": piece.given_at,
    }
    return {name: value for name, value in shown.items() if value is not None}


def _signal(piece: Piece) -> Json:
    return {**(piece.signal or {}), "feedback_id": piece.feedback_id, "feedback_type": piece.feedback_type}


def _sharing_out() -> UnavailableError:
    return UnavailableError("The workers are sharing out their partitions; ask again.", code="rebalancing")
