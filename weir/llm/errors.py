"""Upstream failures as OpenAI-shaped errors. The type of an error tells whether the call may be tried again."""

from collections.abc import Mapping

from weir.envelope import Json
from weir.limits import MESSAGE_CHARS, cut, error_object


class UpstreamError(Exception):
    """The LLM call failed.

    ``error`` is OpenAI's error object with all members that the LLM sent, ``status`` the HTTP status for the client,
    ``headers`` the HTTP headers that belong to the error: when and whether to retry. ``transient``: the same call may
    succeed a moment later.

    An error object of the LLM is cut to size here, before it gets into a terminal, an event, a row or a dead letter.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        kind: str,
        code: str | None = None,
        param: str | None = None,
        members: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        transient: bool = False,
    ) -> None:
        super().__init__(cut(message, MESSAGE_CHARS))
        self.status = status
        self.headers = dict(headers or {})
        self.transient = transient
        own = {"message": message, "type": kind, "param": param, "code": code}
        self.error: Json = error_object({**(members or {}), **own})

    @property
    def terminal_error(self) -> Json:
        """The error as a terminal frame holds it: `weir.errors.from_terminal` reads it."""
        error = dict(self.error)
        for name in ("status", "headers"):  # a terminal has fields of its own for these
            if name in error:
                error[f"upstream_{name}"] = error.pop(name)
        own: Json = {"status": self.status}
        if self.headers:
            own["headers"] = dict(self.headers)
        return own | error  # in this order, so that a cut removes the LLM's members first


class UpstreamRefusedError(UpstreamError):
    """The upstream answered with an error of its own; its status and error object are passed on."""


class UpstreamUnavailableError(UpstreamError):
    """The upstream could not be reached, or did not answer in time, or broke off in the middle."""


class AnswerTooLongError(UpstreamError):
    """The upstream reached a limit of one answer before it had sent content that could be cut there.

    ``limit`` is the name of its setting.
    """

    def __init__(self, limit: str) -> None:
        self.limit = limit
        super().__init__(
            f"the model reached {limit} before it gave any answer",
            status=502,
            kind="upstream_error",
            code="answer_too_long",
            param=limit,
        )


def timed_out(what: str, seconds: float) -> UpstreamUnavailableError:
    """The error for an upstream that was silent for too long."""
    message = f"the model {what} for {seconds:g} s"
    return UpstreamUnavailableError(message, status=504, kind="upstream_error", code="upstream_timeout")


def not_understood(what: str) -> UpstreamUnavailableError:
    """The error for an upstream that sent neither an answer nor an error."""
    message = f"the model sent {what}"
    return UpstreamUnavailableError(message, status=502, kind="upstream_error", code="upstream_invalid_response")


def broke_off(message: str) -> UpstreamUnavailableError:
    """The error for a broken connection to the upstream."""
    return UpstreamUnavailableError(
        message, status=502, kind="upstream_error", code="upstream_disconnected", transient=True
    )
