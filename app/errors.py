"""Errors that a client sees, in OpenAI's shape: ``{"error": {message, type, param, code}}`` and an HTTP status."""

from answers.envelope import Json
from answers.limits import MESSAGE_CHARS, cut


class ApiError(Exception):
    """A request that cannot be served. Whether trying again helps is the status: 4xx no, 503 and 504 yes."""

    def __init__(
        self, message: str, *, status: int, kind: str, param: str | None = None, code: str | None = None
    ) -> None:
        message = cut(message, MESSAGE_CHARS)  # it may quote what a client sent
        super().__init__(message)
        self.status = status
        self.error: Json = {"message": message, "type": kind, "param": param, "code": code}

    @property
    def body(self) -> Json:
        """The JSON body of the answer."""
        return {"error": self.error}


class InvalidRequestError(ApiError):
    """The client's input is wrong; ``param`` names the field."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message, status=status, kind="invalid_request_error", param=param, code=code)


class NotFoundError(InvalidRequestError):
    """Nothing is known under that name."""

    def __init__(self, message: str, *, code: str = "not_found") -> None:
        super().__init__(message, code=code, status=404)


class UnavailableError(ApiError):
    """The service cannot do it now; the same call may succeed later."""

    def __init__(self, message: str, *, code: str = "service_unavailable", status: int = 503) -> None:
        super().__init__(message, status=status, kind="service_unavailable_error", code=code)


class InDoubtError(UnavailableError):
    """A request may be in the log, or not. Sent again under its uid, it is answered once."""

    def __init__(self, message: str, *, uid: str) -> None:
        super().__init__(message, code="log_unavailable")
        self.uid = uid


def from_terminal(error: Json) -> ApiError:
    """The error that a terminal frame carries: an OpenAI error object plus the HTTP ``status``."""
    fields = dict(error)
    status = int(fields.pop("status", 500))
    return ApiError(
        str(fields.get("message", "the request failed")),
        status=status,
        kind=str(fields.get("type") or "upstream_error"),
        param=fields.get("param"),
        code=fields.get("code"),
    )
