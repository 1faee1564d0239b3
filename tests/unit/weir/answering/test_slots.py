"""The worker's slots for answers in flight."""

import asyncio

from weir.answering.slots import Slot, Slots


async def test_places_are_given_in_turn_and_none_is_lost() -> None:
    slots = Slots(2)
    assert [slots.acquire_nowait() for _ in range(3)] == [True, True, False]
    turns: list[int] = []

    async def wait(n: int) -> None:
        await slots.acquire()
        turns.append(n)

    waiting = [asyncio.create_task(wait(n)) for n in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    slots.release()
    waiting[1].cancel()  # in the moment that it is its turn
    await asyncio.gather(*waiting, return_exceptions=True)
    assert turns == [2]
    slots.release()
    slots.release()
    assert [slots.acquire_nowait() for _ in range(3)] == [True, True, False]


async def test_a_place_is_taken_once_and_given_back_once() -> None:
    slots = Slots(1)
    slot = Slot(slots)
    slot.give_back()
    await slot.take()
    await slot.take()
    assert (slot.held, slots.acquire_nowait()) == (True, False)
    slot.give_back()
    slot.give_back()
    assert [slots.acquire_nowait(), slots.acquire_nowait()] == [True, False]
