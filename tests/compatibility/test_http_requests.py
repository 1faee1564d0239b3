"""Bytes of clients, sent to a worker with short limits."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from tests.compatibility.http_requests import BODY_S, CONNECTIONS, HEADER_S, SHEET, HttpCase
from tests.e2e.workers import Worker

WITHIN_S = 30.0


class Response(NamedTuple):
    status: int
    content_type: str
    body: Any


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """The one worker for all cases; it needs no loop that outlives a test."""
    folder: Path = tmp_path_factory.mktemp("http")
    limits = {
        "HTTP_HEADER_TIMEOUT_S": f"{HEADER_S}",
        "HTTP_BODY_TIMEOUT_S": f"{BODY_S}",
        "HTTP_CONNECTIONS_MAX": f"{CONNECTIONS}",
    }
    made = Worker(env=limits, folder=folder)
    asyncio.run(made.start())
    yield made
    made.kill()


async def response(reader: asyncio.StreamReader) -> Response:
    """Return the next response of a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Response(int(head[0].split()[1]), headers.get("content-type", ""), orjson.loads(body) if body else None)


@SHEET.parametrize()
async def test_a_malformed_http_request_gets_an_error(worker: Worker, case: HttpCase) -> None:
    async with asyncio.timeout(WITHIN_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
        writer.write(case.raw)
        told = await response(reader)
        assert told.status == case.status, told
        if case.code or case.param:
            error = told.body["error"]
            assert told.content_type.startswith("application/json")
            assert {"message", "type", "param", "code"} <= error.keys()
            assert case.code in {None, error["code"]}
            assert case.param in {None, error["param"]}
            assert "Traceback" not in error["message"]
            assert "\n" not in error["message"]
        writer.write(case.then)
        if case.closes:
            rest = await reader.read()
            assert case.status != 200 or b" 408 " in rest
        writer.close()
        await writer.wait_closed()
    assert "Traceback" not in worker.log.read_text()


async def test_more_connections_than_allowed_are_told_to_come_again_and_the_others_go_on(worker: Worker) -> None:
    async with asyncio.timeout(WITHIN_S):
        first, _ = held = await asyncio.open_connection("127.0.0.1", worker.port)
        others = [await asyncio.open_connection("127.0.0.1", worker.port) for _ in range(CONNECTIONS)]
        refused = await response(others[-1][0])
        assert (refused.status, refused.body["error"]["code"]) == (503, "too_many_connections")
        held[1].write(b"GET /ping HTTP/1.1\r\nHost: w\r\n\r\n")
        assert (await response(first)).status == 200
        for _, writer in (held, *others):
            writer.close()
        for reader, _ in others[:-1]:
            await reader.read()
        while True:  # the other connections are gone, and there is room again
            reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
            writer.write(b"GET /ping HTTP/1.1\r\nHost: w\r\n\r\n")
            status = (await response(reader)).status
            writer.close()
            if status == 200:
                break
            await asyncio.sleep(0.05)
