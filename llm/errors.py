"""What can go wrong with an upstream, as OpenAI-shaped errors. Whether a caller may try again is the error's type."""

from answers.envelope import Json
from answers.limits import MESSAGE_CHARS, cut, error_object


class UpstreamError(Exception):
    """The LLM call failed. ``error`` is OpenAI's error object, ``status`` the HTTP status for the client.

    What the LLM sent as its error is cut here, before it gets into a terminal, an event, a row or a dead letter.
    """

    def __init__(
        self, message: str, *, status: int, kind: str, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(cut(message, MESSAGE_CHARS))
        self.status = status
        self.error: Json = error_object({"message": message, "type": kind, "param": param, "code": code})


class UpstreamRefusedError(UpstreamError):
    """The upstream answered with an error of its own; its status and error object are handed on."""


class UpstreamUnavailableError(UpstreamError):
    """The upstream could not be reached, or did not answer in time, or broke off in the middle."""
