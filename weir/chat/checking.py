"""The checks of a request at every door: HTTP, RabbitMQ, and the chat agent for Kafka's clients."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import orjson

from weir.chat import requests
from weir.chat.requests import THINK_TAGS_HEADER, OnDisconnect
from weir.chat.validation import check_body
from weir.envelope import Json, utc_iso
from weir.errors import InvalidRequestError
from weir.events.ingress import Ingress
from weir.options import ThinkTags
from weir.settings import Settings

TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")
IDEMPOTENCY_KEY_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A request that passed the checks."""

    named: str | None  # the client's own name for the request: a uid
    tenant: str
    body: Json  # the body for the LLM
    fingerprint: str
    stream: bool
    username: str | None
    deadline: str | None  # ISO 8601, UTC
    on_disconnect: OnDisconnect
    think_tags: ThinkTags


def check(
    body: Any,
    settings: Settings,
    *,
    ingress: Ingress,
    asked_at_s: float,
    tenant: str | None = None,
    idempotency_key: str | None = None,
    deadline: str | None = None,
    think_tags: str | None = None,
) -> Checked:
    """Check a request. All doors check alike, so a uid means the same request at each of them.

    Args:
        body: the client's parsed JSON.
        settings: the settings of this installation.
        ingress: the door.
        asked_at_s: the time of the request, in seconds since the epoch.
        tenant: the tenant of the request; the default tenant if None.
        idempotency_key: names the request within its tenant, instead of a ``uid``.
        deadline: ISO 8601, UTC; if None, the body's ``deadline_s`` counts from ``asked_at_s``.
        think_tags: how ``<think>`` tags in the answer are handled; THINK_TAGS if None.

    Raises:
        InvalidRequestError: the first mistake in the request; the error names its field.
    """
    checked = check_body(body)
    tenant = tenant_of(tenant, settings, param="tenant_id" if ingress is Ingress.KAFKA else "X-Tenant-ID")
    named = brought_uid(checked, tenant, idempotency_key)
    if deadline is None and checked.get("deadline_s") is not None:
        deadline = _deadline(checked["deadline_s"], settings, asked_at_s)
    upstream_body = requests.upstream_body(checked, settings.openai_model)
    on_disconnect = OnDisconnect(checked.get("on_disconnect") or settings.on_disconnect)
    return Checked(
        named=named,
        tenant=tenant,
        body=upstream_body,
        fingerprint=fingerprint_of(upstream_body),
        stream=bool(checked.get("stream")),
        username=checked.get("username"),
        deadline=deadline,
        on_disconnect=on_disconnect.resolved(findable=is_findable(named, ingress)),
        think_tags=think_tags_of(think_tags) or settings.think_tags,
    )


def tenant_of(given: str | None, settings: Settings, *, param: str = "X-Tenant-ID") -> str:
    """Return the tenant that a client names by the header or field ``param``, or else the default one.

    Raises:
        InvalidRequestError: it is not a valid name of a tenant.
    """
    if given is not None and not TENANT.fullmatch(given):
        raise InvalidRequestError(
            f"{param} must be 1 to 64 letters, digits and . _ -", param=param, code="invalid_tenant"
        )
    return given or settings.default_tenant


def _deadline(deadline_s: float, settings: Settings, asked_at_s: float) -> str:
    if deadline_s > settings.retention_requests_s:
        raise InvalidRequestError(
            f"'deadline_s' must be at most {settings.retention_requests_s:.15g}: a request is not kept for longer.",
            param="deadline_s",
        )
    return utc_iso(asked_at_s + deadline_s)


def brought_uid(body: Json, tenant: str, key: str | None) -> str | None:
    """Return the uid that a client gives, by its own name for the request or by an idempotency key."""
    uid: str | None = body.get("uid")
    if key is None:
        return uid
    if uid is not None:
        raise InvalidRequestError("Send either 'uid' or Idempotency-Key, not both.", param="uid")
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_MAX:
        raise InvalidRequestError(
            f"Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_MAX} characters.", param="Idempotency-Key"
        )
    return f"key-{hashlib.sha256(orjson.dumps([tenant, key])).hexdigest()[:40]}"


def think_tags_of(given: str | None) -> ThinkTags | None:
    """Return the choice that a client makes in the Think-Tags header."""
    if given is None:
        return None
    try:
        return ThinkTags(given.strip().lower())
    except ValueError:
        raise InvalidRequestError(
            f"'{THINK_TAGS_HEADER}' must be {' or '.join(ThinkTags)}.", param=THINK_TAGS_HEADER
        ) from None


def is_findable(named: str | None, ingress: Ingress) -> bool:
    """Whether a client that has left can find its answer: over HTTP only by a uid of its own, one that no door made."""
    return ingress is not Ingress.HTTP or (named is not None and not requests.is_minted(named))


def fingerprint_of(upstream_body: Json) -> str:
    """Return the fingerprint of the body for the LLM.

    Raises:
        InvalidRequestError: the body is nested deeper than orjson can write.
    """
    try:
        return requests.fingerprint(upstream_body)
    except TypeError:  # orjson reads deeper nesting than it writes
        raise InvalidRequestError("The body is nested too deeply.", code="invalid_json") from None
