"""The picture of a stream that survives a kill: the reading of its client, and the drawing."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.processes import BenchError
from bench.survival import Client, Survived, draw


def event(number: int, data: dict[str, Any]) -> bytes:
    return b"id: 3-%d-0\ndata: %b\n\n" % (number, orjson.dumps({"id": "chatcmpl-u", **data}))


def token(number: int, text: str) -> bytes:
    return event(number, {"choices": [{"delta": {"content": text}}]})


@dataclass
class Response:
    content: AsyncIterator[bytes]


def response(*events: bytes) -> Any:
    async def lines() -> AsyncIterator[bytes]:
        for line in b"".join(events).splitlines(keepends=True):
            yield line

    return Response(lines())


async def test_the_client_has_the_text_and_the_id_of_its_last_event() -> None:
    client = Client()
    await client.read(response(token(1, "Hel"), b": heartbeat\n\n", token(4, "lo")))
    assert (client.text, client.uid, client.last_id, client.done) == ("Hello", "chatcmpl-u", "3-4-0", False)
    assert len(client.tokens_at) == 2
    await client.read(response(b"data: [DONE]\n\n"))
    assert client.done


async def test_an_error_in_the_stream_is_no_survival() -> None:
    with pytest.raises(BenchError, match="stream_restarted"):
        await Client().read(response(event(2, {"error": {"code": "stream_restarted"}})))


def test_the_picture_is_the_same_for_the_same_run(tmp_path: Path) -> None:
    survived = Survived(tokens_s=[0.0, 0.1, 5.0, 5.1], killed_s=0.2)
    for name in ("one.svg", "two.svg"):
        draw(survived, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes() != b""
