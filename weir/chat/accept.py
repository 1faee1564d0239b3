"""The common entry of the HTTP and RabbitMQ doors: a request that `Door.accept` returns is in the log.

What Kafka's clients write to chat-requests themselves is checked by the same function (`weir.chat.checking`) before its
answer is begun, see `weir.chat.kafka_door`.

`Door.accept` checks a request, gives it a uid, a tenant and a time, and publishes it to chat-requests. When it returns,
the request is durable and will end in exactly one terminal state.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import orjson

from weir.chat import requests
from weir.chat.audit import SUBMIT, Audit, Caller
from weir.chat.checking import Checked, check
from weir.chat.lifecycle import Happening
from weir.chat.prompts import PromptEvents
from weir.chat.request_writer import RequestWriter, too_large
from weir.chat.requests import ChatRequest, chunks_of
from weir.chat.thinking import prompt_chars
from weir.chat.traces import Traces
from weir.envelope import new_id, utc_iso
from weir.errors import ApiError, InDoubtError, InvalidRequestError
from weir.events.ingress import Ingress
from weir.log.log import (
    LogClient,
    LogError,
    LogOffset,
    LogRefusedError,
    RecordTooLargeError,
)
from weir.log.tails import Tails
from weir.settings import Settings
from weir.telemetry.traceparent import mint
from weir.telemetry.worker_metrics import Metrics

# uuids drawn to hit a partition of this worker; with one partition of six, 64 misses happen once in 100,000 requests
_MINT_TRIES = 64


def parse(raw: bytes) -> Any:
    """Parse the JSON of a request body.

    Raises:
        InvalidRequestError: the body is not JSON; the message says where it breaks.
    """
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"The body is not valid JSON: {error}", code="invalid_json") from None


class Door:
    """Accepts requests for one worker."""

    def __init__(
        self,
        *,
        log: LogClient,
        tails: Tails,
        writer: RequestWriter,
        traces: Traces,
        audit: Audit,
        settings: Settings,
        metrics: Metrics,
        own_partitions: Callable[[], Collection[int]],
        begin: Callable[[ChatRequest, int, "asyncio.Future[int]"], None],
        prompts: PromptEvents | None = None,
    ) -> None:
        """Make the door.

        Args:
            log: the log client; it knows the partition of a request.
            tails: the tails; they know where an answer will begin.
            writer: writes accepted requests to chat-requests.
            traces: gets the trace events of accepted requests.
            audit: gets the audit events of accepted requests.
            settings: the settings by which requests are checked.
            metrics: counts accepted requests.
            own_partitions: returns the partitions of this worker, where new requests should go; empty: any partition.
            begin: called with a request that cannot have been sent before, while it is still being written to the log.
            prompts: gets what each user asked; None: retries of users are not detected.
        """
        self._log = log
        self._tails = tails
        self._writer = writer
        self._traces = traces
        self._audit = audit
        self._settings = settings
        self._metrics = metrics
        self._own_partitions = own_partitions
        self._begin = begin
        self._prompts = prompts

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
        """Check one request, give it a uid and publish it.

        Args:
            body: the client's parsed JSON.
            ingress: the door that the request came through.
            tenant: the tenant of the request; the default tenant if None.
            priority: the priority; a higher number is more urgent.
            deadline: the time (ISO 8601, UTC) after which the client does not want the answer; if None, the body's
                ``deadline_s`` counts from now.
            idempotency_key: names the request within its tenant, instead of a ``uid``.
            caller: the client, as far as the door knows it.
            traceparent: the door's position in a trace (W3C); None begins a trace that is not recorded.
            think_tags: how ``<think>`` tags in the answer are handled; THINK_TAGS if None.

        Raises:
            InvalidRequestError: the request is wrong; nothing was published.
            ApiError: the log refuses the request for good.
            InDoubtError: the log did not confirm the request in time. It may have been written all the same, so a
                client that sends it again should send the same uid.
        """
        asked = check(
            body,
            self._settings,
            ingress=ingress,
            asked_at_s=time.time(),
            tenant=tenant,
            idempotency_key=idempotency_key,
            deadline=deadline,
            think_tags=think_tags,
        )
        uid = asked.named or self.mint_uid()
        at = chunks_of(self._log, uid)
        try:
            async with asyncio.timeout(self._settings.accept_timeout_s):
                end = await self._tails.end(at)
                request = replace(
                    _request(asked, uid, ingress, end), priority=priority, traceparent=traceparent or str(mint())
                )
                published = self._writer.begin(request, at.partition)
                if asked.named is None:
                    self._begin(request, at.partition, published)
                await published
        except RecordTooLargeError as error:
            raise too_large(error) from error
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
            tenant=request.tenant,
            actor=request.username,
            resource_id=uid,
            traceparent=request.traceparent,
        )
        if self._prompts is not None:
            self._prompts.emit(request)
        self._metrics.accepted(ingress)
        return request

    def identity(self, body: Any, *, tenant: str | None, think_tags: str | None) -> tuple[str, str, str]:
        """Return the tenant, the fingerprint and the ``think_tags`` that `accept` would give to a request.

        Raises:
            InvalidRequestError: the request is wrong.
        """
        asked = check(
            body,
            self._settings,
            ingress=Ingress.HTTP,
            asked_at_s=time.time(),
            tenant=tenant,
            think_tags=think_tags,
        )
        return asked.tenant, asked.fingerprint, asked.think_tags

    def mint_uid(self) -> str:
        """Make a uid whose partition this worker owns, so accepting, generating and serving stay in one process."""
        own = self._own_partitions()
        uid = requests.mint_uid()
        for _ in range(_MINT_TRIES):
            if not own or chunks_of(self._log, uid).partition in own:
                break
            uid = requests.mint_uid()
        return uid


def _request(asked: Checked, uid: str, ingress: Ingress, end: LogOffset) -> ChatRequest:
    return ChatRequest(
        uid=uid,
        event_id=new_id("evt"),
        tenant=asked.tenant,
        ingress=ingress,
        accepted_at=utc_iso(),
        body=asked.body,
        fingerprint=asked.fingerprint,
        stream=asked.stream,
        username=asked.username,
        chunks_from=end.offset,
        chunks_topic_id=end.topic_id,
        deadline=asked.deadline,
        on_disconnect=asked.on_disconnect,
        think_tags=asked.think_tags,
    )
