"""A long answer blocks nothing, and is put together once."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable

import orjson
import pytest

from tests.unit.weir.chat.helpers import DONE, FAILED, chunk
from weir.chat.assembling import BESIDE_SIZE, Assembled, assembled
from weir.chat.completion import Completion
from weir.chat.reading.delivery import Delivery
from weir.envelope import Json
from weir.errors import ApiError

PER_RECORD = 500
HOLD_MAX_S = 0.1  # of the processor, by the thread of the loop, between two turns of others; it was the whole of it


async def news(*items: Delivery) -> AsyncGenerator[Delivery, None]:
    for item in items:
        yield item


def said(chunks: list[Json]) -> AsyncGenerator[Delivery, None]:
    records = [chunks[at : at + PER_RECORD] for at in range(0, len(chunks), PER_RECORD)]
    return news(
        *(Delivery(0, at, tuple(one)) for at, one in enumerate(records)), Delivery(0, len(records), terminal=DONE)
    )


async def test_an_answer_that_failed_is_no_completion() -> None:
    with pytest.raises(ApiError) as caught:
        await assembled(news(Delivery(0, 1, (chunk("x"),)), Delivery(0, 2, terminal=FAILED)), "req-1")
    assert caught.value.status == 502


async def test_what_was_said_before_a_restart_is_no_part_of_the_answer() -> None:
    body = await assembled(
        news(
            Delivery(0, 1, (chunk("x"),)), Delivery(0, 2, (chunk("y"),), restarted=True), Delivery(0, 3, terminal=DONE)
        ),
        "req-1",
    )
    whole = orjson.loads(body)
    assert (whole["id"], whole["choices"][0]["message"]["content"]) == ("chatcmpl-req-1", "y")


def letters(count: int) -> list[Json]:
    return [chunk('aé\n"'[at % 4]) for at in range(count)]


def pieces(calls: int, each: int) -> list[Json]:
    """Tool calls in pieces."""
    found: list[Json] = []
    for call in range(calls):
        head = {
            "index": call,
            "id": f"call_{call}",
            "type": "function",
            "function": {"name": "f", "arguments": '{"a":"'},
        }
        texts = ["x" * 32] * each + ['"}']
        rest = [{"index": call, "function": {"arguments": text}} for text in texts]
        found += [{"choices": [{"index": 0, "delta": {"tool_calls": [one]}}]} for one in [head, *rest]]
    return found


def megabytes(count: int) -> list[Json]:
    return [chunk("é" + "x" * 999) for _ in range(count * 1000)]


@pytest.mark.parametrize(
    "chunks",
    [letters(100_000), pieces(2, 8_000), pieces(1_600, 8), megabytes(20)],
    ids=["100,000 letters", "16,000 pieces of 2 calls", "16,000 pieces of 1,600 calls", "20 MB"],
)
async def test_a_long_answer_costs_its_length_and_holds_no_loop(chunks: list[Json]) -> None:
    longest, stopped = 0.0, False

    async def watch() -> None:
        nonlocal longest
        while not stopped:
            before = time.thread_time()  # a machine that is busy with other things holds the loop, too
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.01)
    async with asyncio.timeout(20):  # it was minutes
        body = await assembled(said(chunks), "req-1")
    stopped = True
    await watching
    assert longest < HOLD_MAX_S
    completion = Completion("req-1")
    for one in chunks:
        completion.add(one)
    assert orjson.loads(body) == completion.result()


def test_a_text_that_is_encoded_in_slices_is_the_same_text() -> None:
    completion = Completion("req-1")
    for one in [*letters(5000), chunk("\U0001f600" * 100)]:
        completion.add(one)
    assert orjson.loads(completion.encoded()) == completion.result()


async def test_a_reader_that_leaves_cancels_an_answer_that_is_put_together() -> None:
    task = asyncio.create_task(assembled(said(letters(BESIDE_SIZE)), "req-1"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Maker:
    """Makes an answer when it is allowed to."""

    def __init__(self, body: bytes = b"{}") -> None:
        self.body, self.calls, self.cancelled = body, 0, 0
        self.allowed = asyncio.Event()

    async def __call__(self) -> bytes:
        self.calls += 1
        try:
            await self.allowed.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.body


async def readers(kept: Assembled, make: Maker, names: Iterable[str]) -> "list[asyncio.Task[bytes]]":
    tasks = [asyncio.create_task(kept.get(name, make)) for name in names]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_many_readers_of_one_answer_share_its_making_and_the_next_one_gets_it_at_once() -> None:
    kept, make = Assembled(100), Maker()
    tasks = await readers(kept, make, "aaa")
    make.allowed.set()
    assert await asyncio.gather(*tasks) == [b"{}"] * 3
    assert await kept.get("a", make) == b"{}"
    assert make.calls == 1


async def test_the_making_ends_with_its_last_reader_and_not_before() -> None:
    kept, make = Assembled(100), Maker()
    first, second = await readers(kept, make, "aa")
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert not make.cancelled
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    (third,) = await readers(kept, make, "a")
    assert (make.calls, make.cancelled) == (2, 1)
    make.allowed.set()
    assert await third == b"{}"


async def test_an_answer_that_cannot_be_made_is_tried_again() -> None:
    async def fail() -> bytes:
        raise ApiError("no", status=500, kind="server_error", code="no")

    kept, make = Assembled(100), Maker()
    with pytest.raises(ApiError):
        await kept.get("a", fail)
    make.allowed.set()
    assert await kept.get("a", make) == b"{}"


async def test_the_least_recently_read_answers_make_room() -> None:
    kept, make = Assembled(100), Maker(b"x" * 40)
    make.allowed.set()
    for name in ("a", "b", "a", "c"):
        await kept.get(name, make)
    assert make.calls == 3
    await kept.get("a", make)
    assert make.calls == 3
    await kept.get("b", make)
    assert make.calls == 4


async def test_an_answer_is_not_kept_for_ever() -> None:
    """The log's retention decides how long an answer can be read."""
    kept, make = Assembled(100, max_age_s=0), Maker()
    make.allowed.set()
    assert [await kept.get("a", make) for _ in range(3)] == [b"{}"] * 3
    assert make.calls == 3


@pytest.mark.parametrize("max_bytes", [0, 39])
async def test_an_answer_without_room_is_not_kept(max_bytes: int) -> None:
    kept, make = Assembled(max_bytes), Maker(b"x" * 40)
    make.allowed.set()
    assert [await kept.get("a", make) for _ in range(2)] == [make.body] * 2
    assert make.calls == 2
