"""Any error of a handler is sent in OpenAI's shape."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from web.errors import Handler, errors, json_response
from weir.envelope import Json
from weir.errors import ApiError, InvalidRequestError, NotFoundError, UnavailableError


@asynccontextmanager
async def failing_with(error: BaseException | None) -> AsyncIterator[str]:
    """A server whose handler reads the body and then raises."""

    async def handle(request: web.Request) -> web.StreamResponse:
        await request.read()
        if error is not None:
            raise error
        return json_response({"ok": "ü"})

    async with serving(handle) as url:
        yield url


@asynccontextmanager
async def serving(handle: Handler) -> AsyncIterator[str]:
    http = web.Application(middlewares=[errors], client_max_size=1000)
    http.router.add_post("/v1/it", handle)
    runner = web.AppRunner(http, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def asked(url: str, method: str = "POST", data: bytes = b"") -> tuple[int, Json, str | None]:
    async with (
        asyncio.timeout(10),
        aiohttp.ClientSession() as session,
        session.request(method, url, data=data) as answer,
    ):
        assert answer.content_type == "application/json"
        return answer.status, dict(await answer.json()), answer.headers.get("Retry-After")


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (InvalidRequestError("no", param="messages[0]", code="c"), 400, None),
        (NotFoundError("no"), 404, None),
        (UnavailableError("no"), 503, "1"),
        (UnavailableError("no", status=504), 504, None),
        (ApiError("no", status=429, kind="rate_limit_error"), 429, None),
        (ApiError("no", status=429, kind="rate_limit_error", headers={"retry-after": "7"}), 429, "7"),
    ],
)
async def test_an_api_error_is_sent_as_it_is(error: ApiError, status: int, retry_after: str | None) -> None:
    async with failing_with(error) as url:
        assert await asked(url + "/v1/it") == (status, error.body, retry_after)


async def test_a_defect_leaves_without_its_details_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with failing_with(ZeroDivisionError("secret of the house")) as url:
        status, body, _ = await asked(url + "/v1/it")
    assert (status, body["error"]["code"], body["error"]["message"]) == (500, "internal_error", "internal error")
    assert "secret of the house" in caplog.text


@pytest.mark.parametrize(
    ("path", "method", "size", "expected", "says"),
    [
        ("/v1/nothing", "GET", 0, (404, "unknown_url"), "GET /v1/nothing"),
        ("/v1/it", "GET", 0, (405, "method_not_allowed"), "allowed: POST"),
        ("/v1/it", "POST", 1001, (413, "request_too_large"), "1000 bytes"),
    ],
)
async def test_errors_of_http_leave_in_the_same_shape(
    path: str, method: str, size: int, expected: tuple[int, str], says: str
) -> None:
    async with failing_with(None) as url:
        status, body, _ = await asked(url + path, method, b"x" * size)
    assert (status, body["error"]["code"]) == expected
    assert body["error"]["type"] == "invalid_request_error"
    assert says in body["error"]["message"]


async def test_what_is_no_error_goes_through() -> None:
    async with failing_with(None) as url:
        assert await asked(url + "/v1/it") == (200, {"ok": "ü"}, None)


@pytest.mark.parametrize("headers_sent", [False, True])
async def test_a_client_that_is_gone_is_no_defect(caplog: pytest.LogCaptureFixture, headers_sent: bool) -> None:
    """A write may be the first to notice."""
    noticed = asyncio.Event()

    async def handle(request: web.Request) -> web.StreamResponse:
        if headers_sent:
            await web.StreamResponse().prepare(request)
        noticed.set()
        raise ConnectionResetError("Cannot write to closing transport")

    async with serving(handle) as url, asyncio.timeout(10), aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            async with session.post(url + "/v1/it") as answer:
                await answer.read()
    assert noticed.is_set()
    assert caplog.records == []
