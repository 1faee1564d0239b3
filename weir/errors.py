"""The errors of Weir.

Errors for clients have OpenAI's shape, ``{"error": {message, type, param, code}}``, and an HTTP status.
"""

from collections.abc import Mapping
from http import HTTPStatus

from weir.envelope import Json
from weir.limits import MESSAGE_CHARS, cut

SHOULD_RETRY = "x-should-retry"  # the header that tells OpenAI's clients whether to retry
NAMED_TIMES = ("retry-after", "retry-after-ms")  # headers that tell when to retry
RETRY_TIMES = frozenset(NAMED_TIMES)
PASSED_ON = (*NAMED_TIMES, SHOULD_RETRY)  # headers of an upstream's error that its client gets


class SettingsError(Exception):
    """The environment holds a value that is not allowed; the message is one line and holds no secret."""


class ApiError(Exception):
    """A request that cannot be served. The status says whether to try again: 4xx no, 503 and 504 yes."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        kind: str,
        param: str | None = None,
        code: str | None = None,
        members: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        message = cut(message, MESSAGE_CHARS)  # it may quote a client's text
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})  # HTTP headers: when to ask again, and whether
        self.error: Json = {"message": message, "type": kind, "param": param, "code": code, **(members or {})}

    @property
    def body(self) -> Json:
        """The JSON body of the error response."""
        return {"error": self.error}

    @property
    def late_body(self) -> Json:
        """The body of an error event: a stream has sent its HTTP headers, so the body has the time to ask again."""
        times = {name.replace("-", "_"): value for name, value in self.headers.items() if name in RETRY_TIMES}
        return {"error": self.error | times}


class InvalidRequestError(ApiError):
    """The client's input is wrong; ``param`` names the field."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message, status=status, kind="invalid_request_error", param=param, code=code)


class NotFoundError(InvalidRequestError):
    """There is no object of that name."""

    def __init__(self, message: str, *, code: str = "not_found") -> None:
        super().__init__(message, code=code, status=404)


class AnswerGoneError(InvalidRequestError):
    """The log does not keep an answer, or a part of it: it is older than its retention, or of another log."""

    def __init__(self, message: str = "The log does not keep this answer any more.") -> None:
        super().__init__(message, code="gone", status=410)


class UnavailableError(ApiError):
    """The service cannot do this now; the same call may succeed later."""

    def __init__(self, message: str, *, code: str = "service_unavailable", status: int = 503) -> None:
        headers = {"retry-after": "1"} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}
        super().__init__(message, status=status, kind="service_unavailable_error", code=code, headers=headers)


class InDoubtError(UnavailableError):
    """A request may be in the log, or not. If it is sent again under its uid, it is answered once."""

    def __init__(self, message: str, *, uid: str) -> None:
        super().__init__(message, code="log_unavailable")
        self.uid = uid


def from_terminal(error: Json) -> ApiError:
    """The error that a terminal frame carries.

    It is an OpenAI error object with all members that the LLM sent, plus the HTTP ``status`` and the HTTP ``headers``
    that belong to it. If the LLM's own object had members of these names, they have a prefix there.
    """
    fields = dict(error)
    status, headers = fields.pop("status", None), fields.pop("headers", None)
    for name in ("status", "headers"):
        if f"upstream_{name}" in fields:
            fields[name] = fields.pop(f"upstream_{name}")
    message, kind = fields.pop("message", None), fields.pop("type", None)
    return ApiError(
        str(message or "the request failed"),
        status=status if isinstance(status, int) and 400 <= status <= 599 else 500,
        kind=str(kind or "upstream_error"),
        param=fields.pop("param", None),
        code=fields.pop("code", None),
        members=fields,
        headers=_headers(headers),
    )


def _headers(given: object) -> dict[str, str]:
    """Headers from a record, which a client may have written: known ones, each on one line."""
    fields = given if isinstance(given, dict) else {}
    return {
        name: fields[name]
        for name in PASSED_ON
        if isinstance(fields.get(name), str) and fields[name].isascii() and fields[name].isprintable()
    }
