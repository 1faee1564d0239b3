"""Deliveries from the log, as events for a client."""

import orjson
import pytest

from tests.unit.weir.chat.helpers import DONE, FAILED, chunk
from web.sse import PIECE_BYTES
from web.streams import SseWriter
from weir.chat.frames import Terminal
from weir.chat.reading.delivery import Delivery
from weir.envelope import Json
from weir.errors import ApiError
from weir.llm.sse import SseDecoder


class Client:
    """Collects the bytes of a stream."""

    def __init__(self) -> None:
        self.data = b""
        self.writes: list[int] = []

    async def write(self, data: bytes) -> None:
        self.data += data
        self.writes.append(len(data))

    @property
    def events(self) -> list[bytes]:
        return list(SseDecoder().feed(self.data))

    @property
    def ids(self) -> list[str]:
        return [line.removeprefix("id: ") for line in self.data.decode().splitlines() if line.startswith("id: ")]


def teller(client: Client, *, include_usage: bool = False, resumed: bool = False) -> SseWriter:
    # the part of EventStream that it needs
    return SseWriter(client, "req-1", include_usage=include_usage, resumed=resumed)  # type: ignore[arg-type]


def delivery(
    *chunks: Json,
    offset: int = 7,
    first_n: int = 0,
    restarted: bool = False,
    end: Terminal | None = None,
    more: bool = False,
) -> Delivery:
    return Delivery(3, offset, chunks, first_n, restarted, end, more=more)


async def test_each_chunk_has_the_id_of_its_place_in_the_log() -> None:
    client = Client()
    one = teller(client)
    await one.tell(delivery(chunk("a"), chunk("b"), first_n=2))
    await one.tell(delivery(chunk("c"), offset=8))
    await one.tell(delivery(offset=9, end=DONE))
    assert client.ids == ["3-7-2", "3-7-3", "3-8-0", "3-9-0"]
    assert [orjson.loads(event) for event in client.events[:-1]] == [chunk("a"), chunk("b"), chunk("c")]
    assert client.events[-1] == b"[DONE]"


@pytest.mark.parametrize(("asked", "events"), [(True, 3), (False, 2)])
async def test_the_usage_chunk_is_for_clients_that_asked_for_it_and_moves_no_id(asked: bool, events: int) -> None:
    client = Client()
    usage: Json = {"choices": [], "usage": {"total_tokens": 1}}
    await teller(client, include_usage=asked).tell(delivery(chunk("a"), usage, chunk(None, "stop")))
    assert len(client.events) == events
    assert (client.ids[0], client.ids[-1]) == ("3-7-0", "3-7-2")


async def test_a_stream_that_has_told_something_ends_when_the_answer_is_said_again() -> None:
    one = teller(Client())
    await one.tell(delivery(chunk("a")))
    with pytest.raises(ApiError) as caught:
        await one.tell(delivery(restarted=True))
    assert caught.value.error["code"] == "stream_restarted"
    assert "chatcmpl-req-1" in caught.value.error["message"]


async def test_a_stream_that_was_resumed_ends_when_the_answer_is_said_again() -> None:
    with pytest.raises(ApiError):
        await teller(Client(), resumed=True).tell(delivery(restarted=True))


async def test_a_stream_that_has_told_nothing_goes_on_when_the_answer_is_said_again() -> None:
    client = Client()
    one = teller(client)
    await one.tell(delivery(restarted=True))
    await one.tell(delivery(chunk("a"), end=DONE))
    assert [*client.events[1:]] == [b"[DONE]"]


async def test_the_error_of_an_answer_comes_after_its_words() -> None:
    client = Client()
    with pytest.raises(ApiError) as caught:
        await teller(client).tell(delivery(chunk("a"), end=FAILED))
    assert caught.value.status == 502
    assert len(client.events) == 1


async def test_the_end_has_an_id_by_which_a_client_that_comes_back_learns_that_it_was_the_end() -> None:
    one = teller(Client())
    with pytest.raises(ApiError):
        await one.tell(delivery(offset=9, end=FAILED))
    assert one.last_id == "3-9-0"


async def test_what_is_there_together_leaves_together_and_in_bounded_pieces() -> None:
    client = Client()
    one = teller(client)
    for n in range(9):
        await one.tell(delivery(chunk("a"), offset=n, more=True))
    assert client.writes == []
    await one.tell(delivery(chunk("a"), offset=9))
    assert len(client.writes) == 1
    for n in range(10, 20):
        await one.tell(delivery(chunk("b" * 10_000), offset=n, more=True))
    assert len(client.writes) == 3
    assert max(client.writes) < PIECE_BYTES + 11_000
    await one.tell(delivery(offset=20, end=DONE))
    assert client.ids == [f"3-{n}-0" for n in range(21)]


@pytest.mark.parametrize("last", [delivery(restarted=True), delivery(offset=8, end=FAILED)])
async def test_what_waits_leaves_before_an_error(last: Delivery) -> None:
    client = Client()
    one = teller(client)
    await one.tell(delivery(chunk("a"), more=True))
    with pytest.raises(ApiError):
        await one.tell(last)
    assert client.ids[0] == "3-7-0"
