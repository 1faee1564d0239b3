"""A trace is made from a long answer without blocking other answers."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from weir import topics
from weir.chat import frames
from weir.chat.frames import Frame, FrameKind
from weir.chat.notes import Notes
from weir.chat.reading.stored import noted
from weir.log.embedded.client import EmbeddedLog
from weir.log.log import Partition
from weir.log.tails import Tails
from weir.settings import load_settings

AT = Partition(topics.CHAT_CHUNKS.name, 0)
CHUNKS = 24_000
HELD_S = 0.05  # of processor time: what one turn may take on a slow machine


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    log = EmbeddedLog(tmp_path / "weir.db", synchronous="NORMAL")
    await log.start()
    await log.create_topics(topics.specs(load_settings({})), replication=1)
    yield log
    await log.stop()


async def longest_turn(work: Callable[[], Awaitable[object]]) -> float:
    """Return the longest time, in seconds of the processor, in which no other task of this event loop had a turn."""
    longest, done = 0.0, False
    gc.collect()
    gc.disable()  # a worker looks for garbage seldom (app/core.py)

    async def watch() -> None:
        nonlocal longest
        while not done:
            began = time.process_time()
            await asyncio.sleep(0)
            longest = max(longest, time.process_time() - began)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    try:
        await work()
    finally:
        done = True
        gc.enable()
    await watching
    return longest


@pytest.mark.parametrize("in_a_frame", [1, 16, 200])
async def test_a_long_answer_is_read_in_turns(log: EmbeddedLog, in_a_frame: int) -> None:
    begin = Frame(uid="u", rid="r", kind=FrameKind.BEGIN, attempt="a", after=-1, fingerprint="f")
    appends = [log.append(AT.topic, AT.partition, b"u", frames.encode(begin, event_id="e", tenant="t"))]
    word = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "some words "}}]}
    for seq in range(0, CHUNKS, in_a_frame):
        spoken = Frame(uid="u", rid="r", kind=FrameKind.CHUNKS, attempt="a", seq=seq, chunks=[word] * in_a_frame)
        appends.append(log.append(AT.topic, AT.partition, b"u", frames.encode(spoken, event_id="e", tenant="t")))
    await asyncio.gather(*appends)
    tails = Tails(log)
    await tails.start()
    notes = Notes()

    async def read() -> None:
        nonlocal notes
        notes = await noted(tails, AT, "u", position=0, rid="r")

    held_s = await longest_turn(read)
    await tails.stop()
    assert notes.passages[0].chars == CHUNKS * len("some words ")
    assert held_s < HELD_S


async def test_pages_of_the_log_are_read_in_turns(log: EmbeddedLog) -> None:
    """Pages are read in turns, as for the events of a trace, among those of all others."""
    at = Partition(topics.AGENT_THINKING.name, 0)
    await asyncio.gather(*(log.append(at.topic, at.partition, b"other", b"x" * 300) for _ in range(CHUNKS)))
    found = 0

    async def read() -> None:
        nonlocal found
        while records := await log.read(at, found, limit=1000):
            found += len(records)

    assert await longest_turn(read) < HELD_S
    assert found == CHUNKS
