"""The demo model's server: an OpenAI-compatible upstream on loopback, and `python -m demo.model`."""

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import orjson
from aiohttp import web

from demo.answer import HURRY, send
from demo.calls import Calls
from demo.messages import last_user_text
from demo.modes import MODES
from demo.reply import reply_to
from demo.request import ApiError, read

CALLS = web.AppKey("calls", Calls)
_MAX_BODY_BYTES = 64 * 2**20  # far above any prompt; a demo must not fall over a stray upload
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app() -> web.Application:
    """The server's routes, with counters of its own.

    Run it with handler_cancellation=True (as `serving` does): else a call whose client left goes on.
    """
    app = web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[_errors_in_openai_shape])
    app[CALLS] = Calls()
    app[HURRY] = asyncio.Event()
    app.router.add_post("/v1/chat/completions", _chat)
    app.router.add_get("/v1/models", _models)
    app.router.add_get("/v1/models/{model}", _model)
    app.router.add_get("/demo/calls", _calls)
    app.router.add_delete("/demo/calls", _forget_calls)
    app.router.add_post("/demo/hurry", _hurry)
    app.router.add_delete("/demo/hurry", _take_time)
    return app


@asynccontextmanager
async def serving(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """Serves the demo model while the context lasts.

    Args:
        host: The address to listen on.
        port: 0 takes a free one.

    Yields:
        The base URL for a client, with /v1.
    """
    runner = web.AppRunner(create_app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
        yield f"http://{host}:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def _chat(request: web.Request) -> web.StreamResponse:
    question = read(await request.read())
    mode = question.mode
    with request.app[CALLS].call(last_user_text(question.body)) as nth:
        fault = mode.fault if not mode.times or nth <= mode.times else None
        return await send(request, reply_to(question), fault)


async def _models(_: web.Request) -> web.Response:
    return _json(orjson.dumps({"object": "list", "data": [_about(name) for name in MODES]}))


async def _model(request: web.Request) -> web.Response:
    return _json(orjson.dumps(_about(request.match_info["model"])))


def _about(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "demo"}


async def _calls(request: web.Request) -> web.Response:
    return _json(request.app[CALLS].as_json())


async def _forget_calls(request: web.Request) -> web.Response:
    request.app[CALLS].reset()
    return _json(request.app[CALLS].as_json())


async def _hurry(request: web.Request) -> web.Response:
    request.app[HURRY].set()
    return web.Response(status=204)


async def _take_time(request: web.Request) -> web.Response:
    request.app[HURRY].clear()
    return web.Response(status=204)


@web.middleware
async def _errors_in_openai_shape(request: web.Request, handler: _Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        response = _json(error.body, error.status)
        if error.retry_after is not None:
            response.headers["Retry-After"] = str(error.retry_after)
        return response
    except web.HTTPException as error:
        message = f"{error.reason} ({request.method} {request.path})"
        return _json(ApiError(message).body, error.status)


def _json(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


async def _run(host: str, port: int, *, exit_with_stdin: bool) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if exit_with_stdin:
        loop.add_reader(sys.stdin.fileno(), _stop_at_end_of_stdin, stop)
    async with serving(host, port) as url:
        print(f"demo model on {url}", flush=True)
        await stop.wait()


def _stop_at_end_of_stdin(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        stop.set()


def main() -> None:
    """Serves until a signal, or with ``--exit-with-stdin`` until stdin ends."""
    parser = argparse.ArgumentParser(prog="python -m demo.model", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 (default): a free port")
    help_text = "end when stdin ends; stdin must be a pipe that the parent holds open"
    parser.add_argument("--exit-with-stdin", action="store_true", help=help_text)
    options = parser.parse_args()
    asyncio.run(_run(options.host, options.port, exit_with_stdin=options.exit_with_stdin))


if __name__ == "__main__":
    main()
