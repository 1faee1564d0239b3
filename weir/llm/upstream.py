"""Calls an OpenAI-compatible server, and reads its chunks as plain dicts.

One answer may take several calls: calls that failed before the first token (`weir.llm.retrying` says which are made
again), and calls that a server refused because it cannot stream (`weir.llm.plainer`). From the first token on there is
one call.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import ContextVar

import aiohttp

from weir.envelope import Json
from weir.llm.calls import PLAIN_CALL, Call, Timeouts
from weir.llm.errors import AnswerTooLongError, UpstreamError, UpstreamUnavailableError, not_understood
from weir.llm.lenient import loads
from weir.llm.opening import Connections
from weir.llm.plainer import Plainer
from weir.llm.reading import ChunkReading
from weir.llm.retrying import Retries
from weir.llm.sse import MAX_EVENT_BYTES

TRACEPARENT: ContextVar[str | None] = ContextVar("traceparent", default=None)
"""W3C Trace Context of the current call, which is sent to the LLM; None sends none."""


class Upstream:
    """One LLM server. ``close()`` it when done."""

    def __init__(
        self,
        *,
        url: str,
        api_key: str,
        timeouts: Timeouts,
        retries: int,
        organization: str | None = None,
        project: str | None = None,
        connections: int = 1000,
        on_retry: Callable[[], None] = lambda: None,
    ) -> None:
        """Connects at the first call.

        Args:
            url: the base URL, with /v1.
            api_key: the key for the server.
            timeouts: limits of silence.
            retries: how often a call that failed before its first token is repeated.
            organization: the OpenAI organization that pays for the calls.
            project: the OpenAI project that pays for the calls.
            connections: the most connections at once.
            on_retry: called at each repetition. Must not raise.
        """
        self._timeouts = timeouts
        self._retries = retries
        self._on_retry = on_retry
        self._plainer = Plainer()
        given = {
            "Authorization": f"Bearer {api_key}",
            "OpenAI-Organization": organization,
            "OpenAI-Project": project,
            "User-Agent": "weir",
        }
        headers = {name: value for name, value in given.items() if value is not None}
        self._connections = Connections(url=url, headers=headers, timeouts=timeouts, connections=connections)

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def models(self) -> Json:
        """The upstream's own GET /models body.

        Raises:
            UpstreamError: the list cannot be fetched.
        """
        until = asyncio.get_running_loop().time() + self._timeouts.connect_s
        try:
            async with self._connections.answer("GET", "models", until=until) as response, asyncio.timeout_at(until):
                body = await response.content.read(MAX_EVENT_BYTES)
                while block := await response.content.readany():
                    body += block
                    if len(body) > MAX_EVENT_BYTES:
                        break
                models = loads(body)
        except (ValueError, TimeoutError, OSError, aiohttp.ClientError):
            models = None
        if not isinstance(models, dict):
            raise not_understood("a list of models that is not JSON")
        return models

    async def stream(self, body: Json, call: Call = PLAIN_CALL) -> AsyncGenerator[Json, None]:
        """Chunk objects of one answer, as the upstream sent them, thinking split from content.

        Closing the iterator closes the call. A stream that ends in the middle raises after its last chunk.

        Args:
            body: the client's request, passed on unchanged except that it asks for a stream with usage.
            call: the options of the call.

        Raises:
            UpstreamError: the call failed, before or after its first chunks.
        """
        began = asyncio.get_running_loop().time()
        until = began + min(self._timeouts.first_token_s, call.allowance.max_s)
        within_s = self._timeouts.first_token_s if call.retry_within_s is None else call.retry_within_s
        learned = False  # whether this call has learned that it must ask for less
        retries = Retries(left=self._retries, until=min(until, began + within_s))
        while True:
            request, spoke = self._plainer.request(body, call), False
            asking = self._connections.answer("POST", "chat/completions", until=until, body=request, headers=_headers())
            try:
                async with asking as response:
                    reading = ChunkReading(response, call, self._timeouts, body, began=began)
                    async with aclosing(reading.chunks()) as chunks:
                        async for chunk in chunks:
                            spoke = True
                            yield chunk
            except UpstreamError as error:
                if spoke:
                    raise
                now = asyncio.get_running_loop().time()
                if isinstance(error, UpstreamUnavailableError) and now >= began + call.allowance.max_s:
                    too_long = AnswerTooLongError("ANSWER_MAX_S")
                    retries.tell(too_long)
                    raise too_long from error
                if self._plainer.learn(request, body, call, error):
                    learned = True
                    continue
                if learned:
                    self._plainer.unlearn(body, call, error)
                pause_s = retries.pause_s(error, now)
                if pause_s is None:
                    retries.tell(error)
                    raise
                self._on_retry()
                await asyncio.sleep(pause_s)
            else:
                return


def _headers() -> dict[str, str]:
    traceparent = TRACEPARENT.get()
    return {} if traceparent is None else {"traceparent": traceparent}
