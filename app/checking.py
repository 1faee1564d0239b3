"""What every door asks of a request before it takes it."""

import hashlib
import re

import orjson

from answers.envelope import Json
from app import requests
from app.errors import InvalidRequestError
from app.requests import THINK_TAGS_HEADER, Ingress
from app.settings import Settings
from llm.calls import ThinkTags

TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")
IDEMPOTENCY_KEY_MAX = 255


def tenant_of(given: str | None, settings: Settings) -> str:
    """The tenant that a client names, or else the default one.

    Raises:
        InvalidRequestError: it is no name for a tenant.
    """
    if given is not None and not TENANT.fullmatch(given):
        raise InvalidRequestError(
            "X-Tenant-ID must be 1 to 64 letters, digits and . _ -", param="X-Tenant-ID", code="invalid_tenant"
        )
    return given or settings.default_tenant


def brought_uid(body: Json, tenant: str, key: str | None) -> str | None:
    """The uid that a client brings, by its own name or by an idempotency key."""
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
    """The choice that a client makes in a header."""
    if given is None:
        return None
    try:
        return ThinkTags(given.strip().lower())
    except ValueError:
        raise InvalidRequestError(
            f"'{THINK_TAGS_HEADER}' must be {' or '.join(ThinkTags)}.", param=THINK_TAGS_HEADER
        ) from None


def is_findable(named: str | None, ingress: Ingress) -> bool:
    """Whether a client that has left can find its answer: by its own name for it, which is none that a door minted."""
    return ingress is not Ingress.HTTP or (named is not None and not requests.is_minted(named))


def fingerprint_of(upstream_body: Json) -> str:
    """The fingerprint of what the LLM is asked.

    Raises:
        InvalidRequestError: it is nested deeper than can be written.
    """
    try:
        return requests.fingerprint(upstream_body)
    except TypeError:  # orjson reads deeper nesting than it writes
        raise InvalidRequestError("The body is nested too deeply.", code="invalid_json") from None
