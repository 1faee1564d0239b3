"""Many keys at once, and one piece of work after the other for each."""

import asyncio
import logging

import pytest

from tests.unit.weir.log.memory_log import WAIT_S
from weir.feedback.keyed_executor import KeyedExecutor


async def test_work_for_one_key_waits_for_what_was_begun_before_and_other_keys_do_not() -> None:
    turns, seen, gate = KeyedExecutor(8), list[str](), asyncio.Event()

    async def slow() -> None:
        await gate.wait()
        seen.append("slow")

    async def quick(name: str) -> None:
        seen.append(name)

    await turns.begin("a", slow)
    await turns.begin("a", lambda: quick("after"))
    await turns.begin("b", lambda: quick("other"))
    await asyncio.sleep(0.01)
    assert seen == ["other"]
    gate.set()
    await turns.drain(WAIT_S)
    assert seen == ["other", "slow", "after"]


async def test_there_is_room_for_so_much_and_no_more() -> None:
    turns, gate = KeyedExecutor(2), asyncio.Event()

    async def slow() -> None:
        await gate.wait()

    await turns.begin("a", slow)
    await turns.begin("b", slow)
    third = asyncio.create_task(turns.begin("c", slow))
    await asyncio.sleep(0.01)
    assert not third.done()
    gate.set()
    async with asyncio.timeout(WAIT_S):
        await third
    await turns.drain(WAIT_S)


async def test_a_defect_is_told_and_takes_no_room(caplog: pytest.LogCaptureFixture) -> None:
    turns = KeyedExecutor(1)

    async def broken() -> None:
        raise RuntimeError("no")

    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            async with asyncio.timeout(WAIT_S):
                await turns.begin("a", broken)
        await turns.drain(WAIT_S)
    assert len(caplog.records) == 3


async def test_a_drain_ends_what_does_not_end_by_itself() -> None:
    turns = KeyedExecutor(1)
    await turns.begin("a", asyncio.Event().wait)  # type: ignore[arg-type]  # never returns
    async with asyncio.timeout(WAIT_S):
        await turns.drain(0.01)
