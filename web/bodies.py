"""Sends large bodies piece by piece: a client that does not read is disconnected, and all bodies have one bound.

aiohttp hands a whole body to its connection, and waits for as long as the client likes.
"""

import asyncio
import logging
from collections import Counter
from functools import partial

from aiohttp import hdrs, web

from web import sse
from web.errors import REQUEST_ID, Handler, error_response
from weir.envelope import new_id
from weir.errors import UnavailableError
from weir.log.memory import Memory

logger = logging.getLogger(__name__)


UNSENT = web.RequestKey("unsent", partial)
"""Called if the large body of an answer does not reach the client of this request."""


class Bodies:
    """Sends the large bodies of one worker.

    Args:
        memory: the memory of all readers.
        write_timeout_s: how long a client may leave the socket full.
    """

    def __init__(self, memory: Memory, write_timeout_s: float) -> None:
        self._memory = memory
        self._write_timeout_s = write_timeout_s
        # clients that a body is sent to, by its id: a stored answer is one body for all
        self._clients: Counter[int] = Counter()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Send a handler's response, if its body is large."""
        response = await handler(request)
        body = response.body if isinstance(response, web.Response) else None
        if not isinstance(body, bytes) or len(body) <= sse.PIECE_BYTES or request.method == hdrs.METH_HEAD:
            return response
        if not self._take(body):
            _tell_unsent(request)
            return error_response(_no_room(), request.get(REQUEST_ID) or new_id("err"))
        try:
            return await self._send(request, response, body)
        except (ConnectionError, asyncio.CancelledError) as error:
            _tell_unsent(request)
            # As in web.errors: there is no client to answer.
            raise asyncio.CancelledError from error
        finally:
            self._give_back(body)

    def _take(self, body: bytes) -> bool:
        """Count a body, once for all clients that it is sent to."""
        if not self._clients[id(body)] and not self._memory.take(len(body)):
            return False
        self._clients[id(body)] += 1
        return True

    def _give_back(self, body: bytes) -> None:
        self._clients[id(body)] -= 1
        if not self._clients[id(body)]:
            del self._clients[id(body)]
            self._memory.give_back(len(body))

    async def _send(self, request: web.Request, whole: web.StreamResponse, body: bytes) -> web.StreamResponse:
        response = web.StreamResponse(status=whole.status, headers=whole.headers)
        response.content_length = len(body)
        stream = sse.Paced(request, response, self._write_timeout_s)
        try:
            await stream.write(body)
        except sse.SlowClientError as error:
            logger.warning("%s %s let go: %s", request.method, request.path, error)
            raise
        finally:
            stream.close()
        return response


def _tell_unsent(request: web.Request) -> None:
    if (tell := request.get(UNSENT)) is not None:
        tell()


def _no_room() -> UnavailableError:
    """Return the error for a client whose answer cannot be held now."""
    return UnavailableError(
        "Too much is being sent to other clients to hold this answer as well; ask again, or read its stream.",
        code="readers_memory",
    )
