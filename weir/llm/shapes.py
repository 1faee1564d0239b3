"""Converts errors of LLM servers, in whichever shape they come, to OpenAI's error object. Pure.

* OpenAI, OpenRouter, Groq: ``{"error": {"message", "type", "param", "code", …}}``
* Gemini: ``[{"error": {"code": 429, "message", "status", "details"}}]``
* TGI, Ollama: ``{"error": "text", "error_type": "overloaded"}``
* old vLLM, SGLang: ``{"object": "error", "message", "type", "param", "code": 400}``
* FastChat: ``{"error_code": 50002, "text": "…"}``
* FastAPI: ``{"detail": "text"}`` or ``{"detail": [{"loc", "msg", "type"}]}``
* Cloudflare: ``{"errors": [{"code", "message"}]}``
* proxies: plain text, or a page of HTML
"""

import html
import re
from collections.abc import Mapping
from typing import Any, Final

from weir.envelope import Json
from weir.llm.errors import UpstreamRefusedError
from weir.llm.lenient import loads

PAGE_CHARS = 300  # of an HTML page, which is made for people
_OWN = frozenset({"message", "type", "param", "code"})  # the members of OpenAI's error object
_TRANSIENT = frozenset({408, 409, 425, 429})  # statuses that OpenAI's clients retry, besides 500 and above
_FOR_GOOD = frozenset({501, 505})
_NO_TEXT = "the model refused the request"

# The HTTP statuses for error names, for servers that send no number.
_STATUS_OF: Final[dict[str, int]] = {
    "invalid_request_error": 400,
    "badrequesterror": 400,
    "bad_request": 400,
    "invalid_argument": 400,
    "context_length_exceeded": 400,
    "validation": 422,  # TGI
    "authentication_error": 401,
    "invalid_api_key": 401,
    "unauthenticated": 401,
    "insufficient_quota": 429,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "notfounderror": 404,
    "model_not_found": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "resource_exhausted": 429,
    "ratelimiterror": 429,
    "overloaded": 503,
    "overloaded_error": 503,
    "unavailable": 503,
}


def error_in(value: Any) -> Json | None:
    """The error object in a server's JSON, with all its members; None if there is none."""
    if isinstance(value, list) and value:
        return error_in(value[0])
    if not isinstance(value, dict):
        return None
    if value.get("error"):
        return _of_error(value, value["error"])
    if value.get("object") == "error" or (value.get("error_code") and "choices" not in value):
        return _of_flat(value)
    return None if "choices" in value else _of_proxy(value)


def refusal(
    error: Json,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> UpstreamRefusedError:
    """The exception for an upstream's error object: every error that an upstream sends becomes one here.

    Args:
        error: the error object; its members may have any type.
        status: the HTTP status; None for an error in the middle of a 200, whose object names a status, or is a 502.
        headers: the HTTP headers that belong to the error.
    """
    named, google = _named_status(error), error.get("status")
    return UpstreamRefusedError(
        _text(error.get("message")) or _NO_TEXT,
        status=status or named or 502,
        kind=_text(error.get("type")) or (google if isinstance(google, str) and google else "upstream_error"),
        code=_text(error.get("code")),
        param=_text(error.get("param")),
        members={name: member for name, member in error.items() if name not in _OWN},
        headers=headers,
        transient=_is_transient(status or named) and not is_quota(error),
    )


def error_of_body(body: bytes, content_type: str) -> Json:
    """The error object of an HTTP error's body, whatever its format."""
    try:
        value = loads(body)
    except ValueError:
        text = body.decode("utf-8", "replace").strip()
        return {"message": _page(text) if "html" in content_type or text[:1] == "<" else text}
    found = error_in(value)
    if found is not None:
        return found
    if isinstance(value, dict):
        message = next((value[name] for name in ("message", "msg", "text", "title") if value.get(name)), None)
        return {**value, "message": message or body.decode("utf-8", "replace")}
    return {"message": value if isinstance(value, str) else body.decode("utf-8", "replace")}


def is_quota(error: Json) -> bool:
    """Whether the error means that an account has run out of money: no pause helps."""
    return any(error.get(name) == "insufficient_quota" for name in ("code", "type"))


def _is_transient(status: int | None) -> bool:
    return status is not None and (status in _TRANSIENT or (status >= 500 and status not in _FOR_GOOD))


def _named_status(error: Json) -> int | None:
    """The HTTP status that an error object names, by number or by name."""
    for name in ("code", "status", "status_code", "http_status"):
        value = error.get(name)
        number = int(value) if isinstance(value, str) and value.isdecimal() and len(value) == 3 else value
        if isinstance(number, int) and not isinstance(number, bool) and 400 <= number <= 599:
            return number
    names = (error.get(name) for name in ("code", "type", "status"))
    return next(
        (_STATUS_OF[name.lower()] for name in names if isinstance(name, str) and name.lower() in _STATUS_OF), None
    )


def _of_flat(value: Json) -> Json:
    """The error object of a JSON object that is an error itself."""
    renamed = {"object", "error_code", "text", "error"}
    return {
        **{name: member for name, member in value.items() if name not in renamed},
        "message": value.get("message") or value.get("text"),
        "code": value.get("code", value.get("error_code")),
    }


def _of_proxy(value: Json) -> Json | None:
    if value.get("detail"):
        return _of_detail(value["detail"])
    errors = value.get("errors")
    return error_in({"error": errors[0]}) if isinstance(errors, list) and errors else None


def _of_error(value: Json, error: Any) -> Json:
    if isinstance(error, dict):
        return error
    return {
        **{name: member for name, member in value.items() if name not in {"error", "error_type", "choices"}},
        "message": error if isinstance(error, str) else _text(error),
        "type": value.get("error_type") or value.get("type"),
    }


def _of_detail(detail: Any) -> Json:
    if isinstance(detail, dict):
        return error_in(detail) or {**detail, "message": detail.get("message") or detail.get("msg") or _text(detail)}
    if not isinstance(detail, list):
        return {"message": detail if isinstance(detail, str) else _text(detail)}
    faults = [fault for fault in detail if isinstance(fault, dict)]
    lines = [": ".join(filter(None, (_path(fault.get("loc")), _text(fault.get("msg"))))) for fault in faults]
    param = _path(faults[0].get("loc")) if faults else None
    return {"message": "; ".join(filter(None, lines)) or _text(detail), "param": param, "detail": detail}


def _path(loc: Any) -> str | None:
    """FastAPI's ``["body", "messages", 0, "role"]`` as ``messages[0].role``."""
    if not isinstance(loc, list):
        return None
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc if part != "body")
    return path.removeprefix(".") or None


def _page(text: str) -> str:
    """The text that a person would read on an HTML page, cut."""
    bare = re.sub(r"(?is)<(script|style)\b.*?(</\1>|\Z)|<!--.*?-->|<[^>]*>", " ", text[:16_384])
    return " ".join(html.unescape(bare).split())[:PAGE_CHARS]


def _text(value: Any) -> str | None:
    return None if value is None else value if isinstance(value, str) else str(value)
