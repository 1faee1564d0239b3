"""Sends a reply over HTTP at its pace, with the faults that its mode asks for.

The pace is a schedule, not a sleep per token: a stream that is late sends all due tokens in one write. So the rate
holds under load, and without a delay many chunks share a write. `POST /demo/hurry` ends the pauses of all answers,
until `DELETE /demo/hurry`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from demo.chunks import ERROR, Stream, stream_of
from demo.modes import Fault, Mode
from demo.reply import Reply, completion
from demo.request import ApiError

HURRY = web.AppKey("hurry", asyncio.Event)  # of a server; once it is set, no answer pauses between its tokens
_BATCH = 64  # rounds per write without a delay: some 15 kB, then other streams have their turn
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


async def send(request: web.Request, reply: Reply, fault: Fault | None) -> web.StreamResponse:
    """Answers a request with a reply.

    Raises:
        ApiError: The fault is an HTTP error.
        ConnectionError: The client is gone; so does asyncio.CancelledError, from the server.
    """
    mode = reply.question.mode
    if fault in (Fault.ERROR, Fault.REFUSE):
        raise _error(mode)
    if fault is Fault.SILENT:
        await _for_ever()
    if reply.question.stream:
        return await _stream(request, stream_of(reply), mode, fault)
    return await _whole(request, reply, fault)


async def _stream(request: web.Request, stream: Stream, mode: Mode, fault: Fault | None) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Cache-Control": "no-cache"})
    response.content_type = "text/event-stream"
    response.charset = "utf-8"
    await response.prepare(request)
    await asyncio.sleep(mode.first_ms / 1000)
    rounds = stream.rounds[: mode.after] if fault else stream.rounds
    await response.write(stream.opening)
    async for due in _paced(rounds, mode.delay_ms / 1000, request.app[HURRY]):
        await response.write(due)
    if fault:
        await _break(request, response, mode, fault)
    else:
        await response.write_eof(stream.closing)
    return response


async def _paced(rounds: list[bytes], delay_s: float, hurry: asyncio.Event) -> AsyncIterator[bytes]:
    """Joins the rounds that are due; the first at once, each further one `delay_s` after the one before."""
    clock = asyncio.get_running_loop().time
    start, said = clock(), 0
    while said < len(rounds):
        pausing = delay_s > 0 and not hurry.is_set()
        due = 1 + int((clock() - start) / delay_s) if pausing else said + _BATCH
        if due > said:
            yield b"".join(rounds[said:due])
            said = due
        await asyncio.sleep(start + said * delay_s - clock() if pausing else 0)


async def _break(request: web.Request, response: web.StreamResponse, mode: Mode, fault: Fault) -> None:
    if fault is Fault.HANG:
        await _for_ever()
    elif fault is Fault.ERROR_MIDWAY:
        await response.write_eof(ERROR)
    elif not mode.clean:
        _close(request)


async def _whole(request: web.Request, reply: Reply, fault: Fault | None) -> web.Response:
    mode = reply.question.mode
    rounds = max(said.completion_tokens for said in reply.scripts)
    with suppress(TimeoutError):
        async with asyncio.timeout((mode.first_ms + mode.delay_ms * rounds) / 1000):
            await request.app[HURRY].wait()
    if fault is Fault.HANG:
        await _for_ever()
    if fault is Fault.ERROR_MIDWAY:
        raise _error(mode)
    if fault is Fault.CUTOFF:
        _close(request)
    return web.Response(body=completion(reply), content_type="application/json")


def _close(request: web.Request) -> None:
    """Closes the connection once all written data is sent."""
    if request.transport is not None:
        request.transport.close()


async def _for_ever() -> None:
    await asyncio.Event().wait()  # ends with the client's connection: the server cancels the handler


def _error(mode: Mode) -> ApiError:
    server = mode.status >= 500
    return ApiError(
        f"[demo model] HTTP {mode.status}, on purpose",
        status=mode.status,
        kind=_TYPES.get(mode.status, "server_error" if server else "invalid_request_error"),
        code="rate_limit_exceeded" if mode.status == 429 else None,
        retry_after=mode.retry_after if mode.status in (429, 503) else None,
    )
