"""Sends answers from the log as server-sent events."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from aiohttp import web

from web import sse
from web.errors import as_api_error
from weir.chat.reading.delivery import IDLE, Delivery
from weir.envelope import Json
from weir.errors import ApiError, UnavailableError, from_terminal
from weir.worker import Worker

logger = logging.getLogger(__name__)


class Streams:
    """Sends streams for one worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._settings = worker.settings

    async def send(
        self,
        http: web.Request,
        uid: str,
        news: AsyncGenerator[Delivery, None],
        *,
        headers: dict[str, str],
        include_usage: bool,
        resumed: bool = False,
    ) -> web.StreamResponse:
        """Send an answer as it comes.

        Args:
            http: the request of the client.
            uid: the uid of the answer's request.
            news: the deliveries from the log; yields ``IDLE`` at least every `idle_s` seconds.
            headers: the headers of the response.
            include_usage: whether the client asked for the chunk that only has the usage.
            resumed: whether the client has a part of the answer already.

        Raises:
            ApiError: the answer cannot be sent, and nothing is sent yet.
            ConnectionError: the client is gone.
        """
        stream = sse.EventStream(http, headers, self._settings.client_write_timeout_s)
        writer = SseWriter(stream, uid, include_usage=include_usage, resumed=resumed)
        heartbeat_s = self._settings.sse_heartbeat_s
        quiet_since = time.monotonic()
        try:
            with self.ends_are_told(uid), self._worker.metrics.streaming():
                async with asyncio.timeout(self._settings.answer_timeout_s), aclosing(news):
                    async for delivery in news:
                        if delivery is not IDLE:
                            await writer.tell(delivery)
                        elif not stream.started or time.monotonic() - quiet_since >= heartbeat_s:
                            await stream.write(sse.HEARTBEAT)
                        else:
                            continue
                        quiet_since = time.monotonic()
        except sse.SlowClientError as error:
            logger.warning("stream %s let go: %s", uid, error)
            raise
        except (ConnectionError, asyncio.CancelledError):
            raise  # there is no client to answer
        except Exception as error:
            if not stream.started:
                raise  # the error can still have a status of its own
            await stream.write(sse.error_event(as_api_error(error, uid).late_body, writer.last_id) + sse.DONE)
        finally:
            stream.close()
        return stream.response

    @property
    def idle_s(self) -> float:
        """The time after which a stream without deliveries has to be looked after."""
        return min(self._settings.sse_heartbeat_s, self._settings.sse_header_wait_s)

    @contextmanager
    def ends_are_told(self, uid: str) -> Iterator[None]:
        """Turn the end of this worker, or of the wait, into an error that tells the client where to find its answer."""
        try:
            yield
        except TimeoutError:
            raise UnavailableError(
                f"No answer within {self._settings.answer_timeout_s:g} s; fetch it later as chatcmpl-{uid}.",
                code="answer_timeout",
                status=504,
            ) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not self._worker.draining:
                raise  # the client left
            task.uncancel()
            raise UnavailableError(
                f"This worker is stopping. The answer goes on elsewhere; fetch it as chatcmpl-{uid}.",
                code="worker_stopping",
            ) from None


class SseWriter:
    """Sends deliveries to a client, as events."""

    def __init__(self, stream: sse.EventStream, uid: str, *, include_usage: bool, resumed: bool = False) -> None:
        self._stream = stream
        self._uid = uid
        self._include_usage = include_usage
        self._has_part = resumed
        self._held: list[bytes] = []  # events that go together
        self._held_bytes = 0
        self.last_id: str | None = None  # of the end: a client that comes back with it has all

    async def tell(self, delivery: Delivery) -> None:
        """Send one delivery; raises ApiError where the stream must end with an error.

        If the next delivery is there already, its events may be sent together with those of this one.
        """
        if delivery.restarted and self._has_part:
            await self._flush()
            raise ApiError(
                "The worker that generated this answer died, and the answer starts again. "
                f"Fetch it as chatcmpl-{self._uid}.",
                status=502,
                kind="server_error",
                code="stream_restarted",
            )
        ended = delivery.terminal
        for n, chunk in enumerate(delivery.chunks):
            if self._wanted(chunk):
                event_id = f"{delivery.partition}-{delivery.offset}-{delivery.first_n + n}"
                await self._add(sse.event(self._shown(chunk), event_id))
        if ended is not None:
            self.last_id = f"{delivery.partition}-{delivery.offset}-{delivery.first_n + len(delivery.chunks)}"
            if ended.error is None:
                await self._add(b"id: %b\n%b" % (self.last_id.encode(), sse.DONE))
        if not delivery.more or ended is not None:
            await self._flush()
        if ended is not None and ended.error is not None:
            raise from_terminal(ended.error)

    async def _add(self, event: bytes) -> None:
        self._has_part = True
        self._held.append(event)
        self._held_bytes += len(event)
        if self._held_bytes >= sse.PIECE_BYTES:
            await self._flush()

    async def _flush(self) -> None:
        if self._held:
            data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
            self._held.clear()
            self._held_bytes = 0
            await self._stream.write(data)

    def _wanted(self, chunk: Json) -> bool:
        """Weir always asks the LLM for usage; the chunk that only carries it is for clients that asked, too."""
        return self._include_usage or bool(chunk.get("choices")) or not chunk.get("usage")

    def _shown(self, chunk: Json) -> Json:
        """Return a chunk without the null that every chunk carries as its usage where the last one has it."""
        if not self._include_usage and chunk.get("usage", chunk) is None:
            return {name: value for name, value in chunk.items() if name != "usage"}  # others read the same object
        return chunk
