"""accept(): the one door. HTTP and RabbitMQ call it; what it returns is in the log.

It checks a request, gives it a uid, a tenant and a time, and publishes it to chat-requests. When it returns, the
request is durable and will end in exactly one terminal state.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import orjson

from answers.envelope import Json, utc_iso
from app import requests, topics
from app.audit import SUBMIT, Audit, Caller
from app.checking import TENANT, brought_uid, fingerprint_of, is_findable, tenant_of, think_tags_of
from app.errors import ApiError, InDoubtError, InvalidRequestError
from app.lifecycle import Happening
from app.metrics import Metrics
from app.prompts import Prompts
from app.requests import ChatRequest, Ingress, OnDisconnect
from app.settings import Settings
from app.thinking import prompt_chars
from app.traceparent import mint
from app.traces import Traces
from app.validation import check_body
from transports.log import (
    LogClient,
    LogError,
    LogRefusedError,
    Partition,
    Place,
    RecordTooLargeError,
    value_max_bytes,
)
from transports.partitioner import partition_for
from transports.tails import Tails

_MINT_TRIES = 64  # uuids drawn to hit a partition of ours; with one of six, missing 64 times is one in 100,000


def parse(raw: bytes) -> Any:
    """A request body's JSON.

    Raises:
        InvalidRequestError: it is not JSON; the message says where it breaks.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"The body is not valid JSON: {error}", code="invalid_json") from None


class Door:
    """Takes requests in for one worker."""

    def __init__(
        self,
        *,
        log: LogClient,
        tails: Tails,
        traces: Traces,
        audit: Audit,
        settings: Settings,
        metrics: Metrics,
        own_partitions: Callable[[], Collection[int]],
        begin: Callable[[ChatRequest, int, "asyncio.Future[int]"], None],
        prompts: Prompts | None = None,
    ) -> None:
        self._log = log
        self._tails = tails
        self._traces = traces
        self._audit = audit
        self._settings = settings
        self._metrics = metrics
        self._own_partitions = own_partitions
        self._prompts = prompts
        self._begin = begin  # told of a request that nobody else can have sent, while it is on its way to the log

    async def accept(
        self,
        body: Any,
        *,
        ingress: Ingress,
        tenant: str | None = None,
        priority: int = 0,
        deadline: str | None = None,
        idempotency_key: str | None = None,
        caller: Caller | None = None,
        traceparent: str | None = None,
        think_tags: str | None = None,
    ) -> ChatRequest:
        """Check, name and publish one request.

        Args:
            body: the parsed JSON of the client.
            ingress: the door it came through.
            tenant: who it belongs to; the default tenant if None.
            priority: a higher one is more urgent.
            deadline: ISO 8601, UTC; after it, nobody wants the answer. Else the body's ``deadline_s`` counts from now.
            idempotency_key: names the request within its tenant, instead of a ``uid``.
            caller: who asks, as far as the door knows.
            traceparent: the door's place in a trace (W3C); None begins one that nobody records.
            think_tags: what becomes of ``<think>`` tags in the answer; THINK_TAGS if None.

        Raises:
            InvalidRequestError: the request is wrong; nothing was published.
            ApiError: the log refuses it for good.
            InDoubtError: the log did not confirm it in time. It may have been taken all the same, so a client
                that sends it again should send the same uid.
        """
        checked = check_body(body)
        tenant = self.tenant(tenant)
        named = brought_uid(checked, tenant, idempotency_key)
        wanted_tags = think_tags_of(think_tags) or self._settings.think_tags
        if deadline is None and checked.get("deadline_s") is not None:
            deadline = utc_iso(time.time() + checked["deadline_s"])
        uid = named or self.mint_uid()
        at = self.chunks_of(uid)
        try:
            async with asyncio.timeout(self._settings.accept_timeout_s):
                end = await self._tails.end(at)
                request = replace(
                    self._request(checked, uid, tenant, ingress, end),
                    on_disconnect=self._on_disconnect(checked, findable=is_findable(named, ingress)),
                    priority=priority,
                    deadline=deadline,
                    think_tags=wanted_tags,
                    traceparent=traceparent or str(mint()),
                )
                published = self._publish(request, at.partition)
                if named is None:
                    self._begin(request, at.partition, published)
                await published
        except RecordTooLargeError as error:
            raise _too_large(error) from error
        except LogRefusedError as error:
            raise ApiError(
                f"The log refuses the request: {error}", status=500, kind="server_error", code="log_refused"
            ) from error
        except (LogError, TimeoutError) as error:
            reason = "not in time" if isinstance(error, TimeoutError) else str(error)
            raise InDoubtError(
                f"The log did not confirm the request ({reason}). Send it again with the uid {uid}.", uid=uid
            ) from error
        details = {
            "chunks_from": request.chunks_from,
            "on_disconnect": request.on_disconnect,
            "prompt_chars": prompt_chars(request.body),
        }
        self._traces.emit(request, Happening.ACCEPTED, details)
        self._audit.record(
            SUBMIT,
            caller or Caller(ingress=ingress),
            tenant=tenant,
            actor=request.username,
            resource_id=uid,
            traceparent=request.traceparent,
        )
        if self._prompts is not None:
            self._prompts.emit(request)
        self._metrics.accepted(ingress)
        return request

    def identity(self, body: Any, *, tenant: str | None) -> tuple[str, str]:
        """The tenant and the fingerprint that `accept` would give to a request.

        Raises:
            InvalidRequestError: the request is wrong.
        """
        checked = check_body(body)
        return self.tenant(tenant), fingerprint_of(requests.upstream_body(checked, self._settings.openai_model))

    def refused(self, caller: Caller, error: ApiError, *, tenant: str | None) -> None:
        """Tell that a request was refused; a tenant that is none counts as not named."""
        named = tenant if tenant is not None and TENANT.fullmatch(tenant) else None
        code = str(error.error.get("code") or error.error.get("type"))
        self._audit.record(SUBMIT, caller, tenant=named or self._settings.default_tenant, error_code=code)

    def chunks_of(self, uid: str) -> Partition:
        """The partition of chat-chunks where the answer to ``uid`` stands."""
        return Partition(topics.CHAT_CHUNKS.name, partition_for(uid.encode(), topics.CHAT_PARTITIONS))

    def tenant(self, tenant: str | None) -> str:
        """The tenant that a client names, or the default one.

        Raises:
            InvalidRequestError: it is no name of a tenant.
        """
        return tenant_of(tenant, self._settings)

    def mint_uid(self) -> str:
        """A uid whose partition this worker owns, so that accepting, generating and serving stay in one process."""
        own = self._own_partitions()
        uid = requests.mint_uid()
        for _ in range(_MINT_TRIES):
            if not own or self.chunks_of(uid).partition in own:
                break
            uid = requests.mint_uid()
        return uid

    def _request(self, body: Json, uid: str, tenant: str, ingress: Ingress, end: Place) -> ChatRequest:
        upstream_body = requests.upstream_body(body, self._settings.openai_model)
        return ChatRequest(
            uid=uid,
            event_id=requests.new_id("evt"),
            tenant=tenant,
            ingress=ingress,
            accepted_at=utc_iso(),
            body=upstream_body,
            fingerprint=fingerprint_of(upstream_body),
            stream=bool(body.get("stream")),
            username=body.get("username"),
            chunks_from=end.offset,
            chunks_topic_id=end.topic_id,
        )

    def _on_disconnect(self, body: Json, *, findable: bool) -> OnDisconnect:
        wanted = OnDisconnect(body.get("on_disconnect") or self._settings.on_disconnect)
        return wanted.resolved(findable=findable)

    def _publish(self, request: ChatRequest, partition: int) -> "asyncio.Future[int]":
        value = self._encode(request)
        return asyncio.ensure_future(self._log.append(topics.CHAT_REQUESTS.name, partition, request.key, value))

    def _encode(self, request: ChatRequest) -> bytes:
        try:
            value = requests.encode(request)
        except TypeError:
            raise InvalidRequestError("The body is nested too deeply.", code="invalid_json") from None
        log_max_bytes = value_max_bytes(self._log, topics.CHAT_REQUESTS.name, request.key)
        max_bytes = min(self._settings.record_value_max_bytes, log_max_bytes)
        if len(value) > max_bytes:
            raise _too_large(f"{len(value)} bytes, and the log takes {max_bytes}")
        return value


def _too_large(reason: object) -> InvalidRequestError:
    return InvalidRequestError(
        f"The request does not fit into one record: {reason}.", code="request_too_large", status=413
    )
