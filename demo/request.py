"""Parses bytes to a question that the demo model can answer, or to an error in OpenAI's shape."""

from dataclasses import dataclass

import orjson

from demo.messages import Body
from demo.modes import BadOptionError, Mode, mode_of


class ApiError(Exception):
    """The answer is an HTTP error with OpenAI's error body."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after  # seconds
        self.body = error_body(message, kind=kind, param=param, code=code)


def error_body(message: str, *, kind: str, param: str | None = None, code: str | None = None) -> bytes:
    """OpenAI's error object as JSON."""
    return orjson.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}})


@dataclass(frozen=True, kw_only=True)
class Question:
    """A chat completion request that can be answered."""

    body: Body
    model: str
    mode: Mode
    stream: bool
    include_usage: bool
    n: int
    logprobs: bool
    top_logprobs: int


def read(raw: bytes) -> Question:
    """Parses and checks a request.

    Raises:
        ApiError: 400, with the name of the invalid parameter.
    """
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ApiError(f"We could not parse the JSON body of your request: {error}") from None
    if not isinstance(body, dict):
        raise ApiError("The body of your request must be a JSON object.")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise ApiError("you must provide a model parameter", param="model")
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise ApiError("'messages' must be a list with at least one message", param="messages")
    try:
        mode = mode_of(model)
    except BadOptionError as error:
        raise ApiError(str(error), param="model", code="demo_option") from None
    options = body.get("stream_options")
    return Question(
        body=body,
        model=model,
        mode=mode,
        stream=body.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True and mode.usage,
        n=_int(body, "n", default=1, low=1, high=128),
        logprobs=body.get("logprobs") is True,
        top_logprobs=_int(body, "top_logprobs", default=0, low=0, high=20),
    )


def _int(body: Body, name: str, *, default: int, low: int, high: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ApiError(f"'{name}' must be an integer between {low} and {high}", param=name)
    return value
