"""Ask an OpenAI-compatible server, and read its chunks as plain dicts.

The ``openai`` package makes the call (proxies, authentication, retries with backoff before the first byte); the
stream's bytes are parsed here with orjson, because one pydantic object per token costs more than all the rest.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import closing, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

import httpx2
import openai
import orjson
from openai import AsyncAPIResponse, AsyncOpenAI, DefaultAioHttpClient

from answers.envelope import Json
from answers.shape import Shape
from llm.errors import UpstreamError, UpstreamRefusedError, UpstreamUnavailableError
from llm.sse import MAX_EVENT_BYTES, EventTooLongError, SseDecoder
from llm.thinking import ThinkingSplitter
from timing import Patience

TRACEPARENT: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""W3C Trace Context of the call that is being made, which the LLM is told as well; None tells nothing."""

_KEEPALIVE_S = 30.0  # of an idle connection: shorter than the 60 s after which common servers drop theirs
_ERROR_MESSAGE_CHARS = 2000  # of an upstream's error body: enough to act on, too little to flood a log


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long an upstream may be silent, in seconds."""

    connect_s: float
    first_token_s: float
    idle_s: float


class Upstream:
    """One LLM server. ``close()`` it when done."""

    def __init__(
        self,
        *,
        url: str,
        api_key: str,
        timeouts: Timeouts,
        retries: int,
        connections: int = 1000,
        on_retry: Callable[[], None] = lambda: None,
    ) -> None:
        """Connects with the first call.

        Args:
            url: the base URL, with /v1.
            api_key: for it.
            timeouts: limits of silence.
            retries: repetitions of a call that failed before its first byte.
            connections: the most at once.
            on_retry: told of each repetition. Must not raise.
        """
        self._timeouts = timeouts
        self._on_retry = on_retry
        limits = httpx2.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=_KEEPALIVE_S
        )
        self._client = AsyncOpenAI(
            base_url=url,
            api_key=api_key,
            max_retries=retries,
            # Reads are timed here, per phase; this one only stops what would otherwise wait for ever, and must not
            # be the shorter one: a short wait for the first token says nothing of the pauses between two.
            timeout=openai.Timeout(max(timeouts.first_token_s, timeouts.idle_s), connect=timeouts.connect_s),
            http_client=DefaultAioHttpClient(limits=limits, event_hooks={"request": [self._on_request]}),
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _on_request(self, request: httpx2.Request) -> None:
        """The openai client says in a header of its own how often it has tried, and nowhere else."""
        if request.headers.get("x-stainless-retry-count", "0") != "0":
            self._on_retry()

    async def models(self) -> Json:
        """The upstream's own GET /models body.

        Raises:
            UpstreamError: it cannot be had.
        """
        try:
            response = await self._client.models.with_raw_response.list(timeout=self._timeouts.connect_s)
            return cast("Json", orjson.loads(await response.http_response.aread()))
        except openai.OpenAIError as error:
            raise _translate(error) from error
        except ValueError as error:
            raise _not_understood("a list of models that is not JSON") from error

    async def stream(self, body: Json) -> AsyncGenerator[Json, None]:
        """Chunk objects of one answer, as the upstream sent them but for their shape, thinking split from content.

        Closing the iterator closes the call. A stream that ends without a finish reason raises after its last chunk.

        Args:
            body: the client's request, passed on as it is but for streaming with usage.

        Raises:
            UpstreamError: the call failed, before or after chunks were said.
        """
        options = {**(body.get("stream_options") or {}), "include_usage": True}
        request = {**body, "stream": True, "stream_options": options}
        began = asyncio.get_running_loop().time()
        response = await self._open(request)
        try:
            async for chunk in self._chunks(response, began, _shape_for(body)):
                yield chunk
        finally:
            # Closing must not hang on a peer that no longer reads.
            with suppress(Exception):
                async with asyncio.timeout(self._timeouts.connect_s):
                    await response.close()

    async def _open(self, request: Json) -> "AsyncAPIResponse[Any]":
        traceparent = TRACEPARENT.get()
        call = self._client.chat.completions.with_streaming_response.create(
            # The real values travel in extra_body, which replaces these: the typed ones would be copied and
            # checked against the schema of this release, and what it does not know must get through as well.
            model="",
            messages=[],
            stream=True,
            extra_body=request,
            extra_headers=None if traceparent is None else {"traceparent": traceparent},
        )
        try:
            # The upper bound over all retries; each try has the client's own timeout.
            async with asyncio.timeout(self._timeouts.first_token_s):
                return await call.__aenter__()
        except openai.OpenAIError as error:
            raise _translate(error) from error
        except TimeoutError:
            raise _timed_out("gave no answer", self._timeouts.first_token_s) from None

    async def _chunks(self, response: "AsyncAPIResponse[Any]", began: float, shape: Shape) -> AsyncIterator[Json]:
        if "json" in response.headers.get("content-type", ""):
            yield _as_chunk(_loads(await self._whole(response)), shape)
            return
        splitter, begun, ended = ThinkingSplitter(), set[int](), set[int]()
        async for data in self._events(response, began):
            if data == b"[DONE]":
                break
            chunk = _loads(data)
            if chunk.get("error"):
                raise _refused(chunk["error"], status=502)
            chunk = shape.chunk(chunk)
            for choice in chunk.get("choices") or ():
                (ended if choice.get("finish_reason") else begun).add(choice.get("index", 0))
            yield splitter.split(chunk)
        if ended and begun <= ended:
            return
        held = splitter.close()
        if held:
            yield {"object": "chat.completion.chunk", "choices": held}
        raise UpstreamUnavailableError(
            "the model's stream ended in the middle of the answer",
            status=502,
            kind="upstream_error",
            code="upstream_disconnected",
        )

    async def _events(self, response: "AsyncAPIResponse[Any]", began: float) -> AsyncIterator[bytes]:
        """The data of each event, with a time limit on the wait for it: comments do not count as a sign of life."""
        decoder = SseDecoder()
        blocks = response.iter_bytes()
        clock = asyncio.get_running_loop().time
        limit, waiting_since = self._timeouts.first_token_s, began
        with closing(Patience()) as patience:
            while True:
                block = await _next_block(blocks, patience, waiting_since, limit)
                for event in _decoded(decoder, block):
                    limit = self._timeouts.idle_s
                    yield event
                    waiting_since = clock()  # whoever reads us may be slow; that is not the model's silence
                if block is None:
                    return

    async def _whole(self, response: "AsyncAPIResponse[Any]") -> bytes:
        """The body of a server that does not stream, with the same limits as an event."""
        body, blocks = bytearray(), response.iter_bytes()
        clock = asyncio.get_running_loop().time
        with closing(Patience()) as patience:
            while (block := await _next_block(blocks, patience, clock(), self._timeouts.idle_s)) is not None:
                body += block
                if len(body) > MAX_EVENT_BYTES:
                    raise _not_understood(f"an answer of more than {MAX_EVENT_BYTES} bytes")
        return bytes(body)


async def _next_block(
    blocks: AsyncIterator[bytes], patience: Patience, waiting_since: float, limit: float
) -> bytes | None:
    """The next bytes, None at the end; ``limit`` seconds after ``waiting_since`` at the latest (loop time)."""
    try:
        with patience.until(waiting_since + limit):
            return await anext(blocks, None)
    except TimeoutError:
        raise _timed_out("fell silent", limit) from None
    except (openai.OpenAIError, httpx2.HTTPError, OSError) as error:
        raise _broke_off(error) from error


def _decoded(decoder: SseDecoder, block: bytes | None) -> Iterator[bytes]:
    try:
        yield from decoder.close() if block is None else decoder.feed(block)
    except EventTooLongError as error:
        raise _not_understood(str(error)) from None


def _loads(data: bytes) -> Json:
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        chunk = None
    if not isinstance(chunk, dict):
        raise _not_understood("something that is not a JSON object")
    choices = chunk.get("choices") or []
    if not isinstance(choices, list) or not all(_is_choice(choice) for choice in choices):
        raise _not_understood("something that is not a chat completion")
    return chunk


def _is_choice(choice: object) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("delta") or choice.get("message") or {}, dict)


def _as_chunk(completion: Json, shape: Shape) -> Json:
    """A whole chat.completion, from a server that does not stream, as one chunk."""
    if completion.get("error"):
        raise _refused(completion["error"], status=502)
    if not completion.get("choices"):
        raise _not_understood("something that is not a chat completion")
    choices = [
        {**{k: v for k, v in choice.items() if k != "message"}, "delta": _numbered(choice.get("message") or {})}
        for choice in completion.get("choices") or ()
    ]
    chunk = shape.chunk({**completion, "object": "chat.completion.chunk", "choices": choices})
    return ThinkingSplitter().split(chunk)


def _numbered(message: Json) -> Json:
    """A whole message, whose tool calls are told apart by their places."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    numbered = [{**call, "index": at} for at, call in enumerate(calls) if isinstance(call, dict)]
    return {**message, "tool_calls": numbered}


def _shape_for(body: Json) -> Shape:
    """For the chunks of the answer to a request; ids of tool calls that have none are made up."""
    without: Json = {"model": body.get("model"), "created": int(time.time())}
    return Shape(lambda *_: f"call_{secrets.token_hex(12)}", without)


def _timed_out(what: str, seconds: float) -> UpstreamError:
    return UpstreamUnavailableError(
        f"the model {what} for {seconds:g} s", status=504, kind="upstream_error", code="upstream_timeout"
    )


def _not_understood(what: str) -> UpstreamError:
    return UpstreamUnavailableError(
        f"the model sent {what}", status=502, kind="upstream_error", code="upstream_invalid_response"
    )


def _broke_off(error: BaseException) -> UpstreamError:
    return UpstreamUnavailableError(
        f"the connection to the model broke ({type(error).__name__})",
        status=502,
        kind="upstream_error",
        code="upstream_disconnected",
    )


def _refused(error: object, *, status: int) -> UpstreamError:
    """An error object of the upstream, kept as it is where it has OpenAI's shape."""
    fields = error if isinstance(error, dict) else {"message": str(error)}
    return UpstreamRefusedError(
        str(fields.get("message") or "the model refused the request")[:_ERROR_MESSAGE_CHARS],
        status=status,
        kind=str(fields.get("type") or "upstream_error"),
        code=None if fields.get("code") is None else str(fields["code"]),
        param=None if fields.get("param") is None else str(fields["param"]),
    )


def _translate(error: openai.OpenAIError) -> UpstreamError:
    if isinstance(error, openai.APIStatusError):
        body = error.body if isinstance(error.body, dict) else {"message": error.message}
        return _refused(body, status=error.status_code)
    if isinstance(error, openai.APITimeoutError) and not _refused_connection(error):
        return UpstreamUnavailableError(
            "the model could not be reached in time", status=504, kind="upstream_error", code="upstream_timeout"
        )
    return UpstreamUnavailableError(
        "the model cannot be reached: is OPENAI_URL right, and is a server running there?",
        status=502,
        kind="upstream_error",
        code="upstream_unreachable",
    )


def _refused_connection(error: BaseException) -> bool:
    """Whether a "timeout" was none: the aiohttp transport calls every failure to connect a ConnectTimeout."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and not isinstance(cause, TimeoutError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False
