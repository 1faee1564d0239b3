"""``--format openai-batch``: requests as OpenAI's Batch API reads them, to be asked again for half the price."""

from typing import Final

import orjson

from weir.chat.requests import OWN_FIELDS, READING_FIELDS, ChatRequest
from weir.envelope import Json
from weir.export.output import Output, Sink
from weir.ranges.errors import UsageError

# Limits of one file, from OpenAI's API reference.
REQUESTS_MAX: Final = 50_000
BYTES_MAX: Final = 200_000_000

_NOT_ASKED: Final = OWN_FIELDS | READING_FIELDS


class BatchWriter:
    """Writes requests, and begins the next file when one is full.

    Args:
        output: the files to write to.
        model: the model to write instead of the model of each request.
        requests_max: the most requests of one file.
        bytes_max: the most bytes of one file.
    """

    def __init__(
        self,
        output: Output,
        *,
        model: str | None = None,
        requests_max: int = REQUESTS_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._output, self._model = output, model
        self._requests_max, self._bytes_max = requests_max, bytes_max
        self._sink: Sink = output.open()
        self._count = 0  # requests in this file
        self._asked: str | None = model

    def add(self, request: ChatRequest) -> bool:
        """Write one request; False if it is nested too deeply, as a client of the Kafka door may send it.

        Raises:
            UsageError: it is for another model than the request before, which a batch cannot be; or the requests are
                too many for standard output.
            ReplayError: the file cannot be written.
        """
        body = self._body(request)
        asked = {"custom_id": request.uid, "method": "POST", "url": "/v1/chat/completions", "body": body}
        try:
            line = orjson.dumps(asked, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:
            return False
        self._same_model(str(body.get("model")))
        if self._count and (self._count >= self._requests_max or self._sink.size + len(line) > self._bytes_max):
            self._next()
        self._sink.write(line)
        self._count += 1
        return True

    def _body(self, request: ChatRequest) -> Json:
        body = {name: value for name, value in request.body.items() if name not in _NOT_ASKED}
        return body if self._model is None else {**body, "model": self._model}

    def _same_model(self, model: str) -> None:
        self._asked = self._asked or model
        if model != self._asked:
            raise UsageError(
                f"the requests ask for several models ({self._asked}, {model}), and a batch has one: choose with "
                f"--where model={self._asked}, or replace them with --model"
            )

    def _next(self) -> None:
        if self._output.one_stream:
            raise UsageError(
                f"a batch has at most {self._requests_max} requests and {self._bytes_max} bytes, and these are more: "
                "give a file with --output, and they become several"
            )
        self._sink, self._count = self._output.open(), 0
