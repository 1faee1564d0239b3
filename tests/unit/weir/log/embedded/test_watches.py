"""Callbacks for partitions that grow."""

import asyncio

from weir.log.embedded.watches import GrowthWatch, Watches


async def test_a_watch_is_called_for_its_partitions_and_once_for_what_comes_together() -> None:
    watches, calls = Watches(), list[str]()
    one, other = GrowthWatch(lambda: calls.append("one")), GrowthWatch(lambda: calls.append("other"))
    watches.add([1, 2], one)
    watches.add([2], other)
    watches.call([1])
    watches.call([1, 3])
    await asyncio.sleep(0)
    assert calls == ["one"]
    watches.call([2])
    await asyncio.sleep(0)
    assert sorted(calls) == ["one", "one", "other"]


async def test_a_watch_that_was_given_up_is_not_called_though_its_call_is_on_its_way() -> None:
    watches, calls = Watches(), list[str]()
    watch = GrowthWatch(lambda: calls.append("called"))
    watches.add([1], watch)
    watches.call([1])
    watches.discard(watch)
    watches.call([1])
    await asyncio.sleep(0)
    assert calls == []
