"""The live feed: one long poll for each broker that leads followed partitions, shared by all of them.

A *poller* is a task for one broker. It takes all partitions which that broker leads and no other request is asking for
just now, asks for their records, delivers what comes, and starts over. The broker answers at once when there are
records, else after `POLL_S`.

A broker answers the requests of one connection in turn, so a partition that is followed while the long poll is under
way would wait for its end. Therefore there is a second, *express* poller for each broker, on another connection: it
lives from the moment a partition is newly followed until the long poll comes back, asks without waiting, and sleeps
`EXPRESS_S` in between. When the long poll comes back, the express poller ends, and the next long poll takes everything.
Neither poller delays the other.

A position moves only when records were delivered, in one step with the delivery, and every answer is checked against
the position it was asked for. So it does not matter which poller asks, nor when one fails: a broker that restarts is
asked again, with fresh metadata, from the same position. A position that retention has overtaken moves to the log's
start.

A topic may be deleted and recreated under a feed. Then positions mean nothing any more, and a feed that went on would
deliver the records of one log as those of another. So a feed ends, and notifies its reader, when the log turns out to
be shorter than the part delivered; and after any error, nothing is delivered before the topic's id is known to be the
same.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from weir.log.kafka.fetches import Asker, Page, ThrottledError
from weir.log.log import Deliver, LogError, Partition

__all__ = ["Feeds"]

logger = logging.getLogger(__name__)

POLL_S: Final = 0.5  # a longer poll saves little; a shorter one costs an idle broker requests
EXPRESS_S: Final = 0.003
BACKOFF_S: Final = 0.1


@dataclass(slots=True, eq=False)
class _Followed:
    """One followed partition, and how far its feed has come."""

    at: Partition
    first: int  # no record below it is delivered
    position: int
    deliver: Deliver
    on_replaced: Callable[[], None]
    topic_id: str  # empty if the brokers know none
    fetched: bool = False  # the log has reached the position
    doubted: bool = False  # after an error: the topic may have been recreated
    asked: bool = False  # a request for it is under way


class Feeds:
    """Follows any number of partitions.

    Args:
        long: the client that asks with long polls, and is used for nothing else.
        short: the client that asks for the records that are there now.
    """

    def __init__(self, long: Asker, short: Asker) -> None:
        self._long = long
        self._short = short
        self._followed: dict[Partition, _Followed] = {}
        self._pollers: dict[int | None, asyncio.Task[None]] = {}  # by node; None looks for leaders
        self._express: dict[int, asyncio.Task[None]] = {}
        self._long_poll_back: dict[int, asyncio.Event] = {}
        self._stopped = False

    def follow(
        self, at: Partition, position: int, deliver: Deliver, on_replaced: Callable[[], None], topic_id: str
    ) -> bool:
        """Deliver the records of ``at`` from ``position`` on. Returns False if it is followed already."""
        if at in self._followed:
            return False
        self._followed[at] = _Followed(at, position, position, deliver, on_replaced, topic_id)
        self._keep_polling()
        node = self._long.leader(at)
        if node is not None and node not in self._express:
            self._express[node] = asyncio.create_task(self._poll_express(node), name=f"kafka express {node}")
        return True

    def unfollow(self, at: Partition) -> None:
        """Deliver no more records of ``at``, from now on."""
        self._followed.pop(at, None)

    async def stop(self) -> None:
        """End all polls."""
        self._stopped = True
        self._followed.clear()
        tasks = [*self._pollers.values(), *self._express.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._pollers.clear()
        self._express.clear()

    # -- pollers

    def _keep_polling(self) -> None:
        """Make sure that every followed partition has a poller."""
        for node in {self._long.leader(at) for at in self._followed}:
            if node not in self._pollers and not self._stopped:
                poll = self._find_leaders() if node is None else self._poll(node)
                self._pollers[node] = asyncio.create_task(poll, name=f"kafka feed {node}")

    async def _find_leaders(self) -> None:
        """Wait until partitions without a leader have one."""
        try:
            while any(self._long.leader(at) is None for at in self._followed):
                await self._refresh()
                self._keep_polling()
        except Exception:
            logger.exception("looking for leaders failed and starts again")
            await asyncio.sleep(BACKOFF_S)
        finally:
            del self._pollers[None]
        self._keep_polling()

    async def _refresh(self) -> None:
        await asyncio.sleep(BACKOFF_S * random.uniform(0.5, 1.5))  # noqa: S311 - spreads the retries
        with contextlib.suppress(KafkaError, TimeoutError):
            await self._long.refresh()
        with contextlib.suppress(KafkaError, TimeoutError):
            await self._short.refresh()

    async def _poll(self, node: int) -> None:
        """Run the long poll of one broker, for as long as it leads a followed partition."""
        back = self._long_poll_back[node] = asyncio.Event()
        try:
            while self._led_by(node):
                back.clear()
                await self._ask(self._long, node, POLL_S)
                back.set()
                self._keep_polling()  # a leader may have moved to a broker that has no poller yet
                if express := self._express.get(node):
                    await asyncio.wait([express])  # it asks without waiting: this is one round trip at most
        except Exception:
            logger.exception("the feed of broker %s failed and starts again", node)
            await asyncio.sleep(BACKOFF_S)
        finally:
            back.set()
            del self._pollers[node], self._long_poll_back[node]
        self._keep_polling()

    async def _poll_express(self, node: int) -> None:
        """Ask for new partitions at once and often, until the long poll is back and can take them."""
        try:
            while (back := self._long_poll_back.get(node)) is None or not back.is_set():
                if not self._led_by(node):
                    break
                await self._ask(self._short, node, 0.0)
                if back is None:
                    await asyncio.sleep(EXPRESS_S)
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(EXPRESS_S):
                        await back.wait()
        except Exception:
            logger.exception("the express feed of broker %s failed; its partitions wait for the long poll", node)
        finally:
            del self._express[node]

    def _led_by(self, node: int) -> list[_Followed]:
        return [one for one in self._followed.values() if self._long.leader(one.at) == node]

    async def _ask(self, asker: Asker, node: int, max_wait_s: float) -> None:
        """Send one request for all free partitions that ``node`` leads, and deliver its answer."""
        asked = [one for one in self._led_by(node) if not one.asked]
        random.shuffle(asked)  # a broker fills its answer in order: no partition may be last every time
        if not asked:
            await asyncio.sleep(EXPRESS_S)
            return
        positions = {one.at: one.position for one in asked}
        for one in asked:
            one.asked = True
        try:
            answers = await asker.poll(node, positions, max_wait_s=max_wait_s)
        except ThrottledError as error:
            await asyncio.sleep(error.pause_s)
            return
        except KafkaError as error:
            logger.info("broker %s does not answer the feed: %s", node, error)
            for one in asked:
                one.doubted = True
            await self._refresh()
            return
        finally:
            for one in asked:
                one.asked = False
        failed = False
        for one in asked:
            if self._followed.get(one.at) is one:
                failed |= await self._take(one, answers.get(one.at))
        if failed:
            await self._refresh()

    async def _take(self, one: _Followed, answer: Page | KafkaError | None) -> bool:
        """Deliver an answer. Returns True for an error that fresh metadata may cure."""
        if isinstance(answer, Page):
            if one.doubted and not await self._is_same(one):
                return self._followed.get(one.at) is one
            one.fetched = True
            one.position, records = answer.position, answer.records
            if records and records[0].offset < one.first:  # followed from a position beyond the log's end
                records = [record for record in records if record.offset >= one.first]
            if records:
                try:
                    one.deliver(records)
                except Exception:
                    logger.exception("a reader of %s-%d failed", one.at.topic, one.at.partition)
            return False
        if isinstance(answer, OffsetOutOfRangeError):
            return await self._back_into_bounds(one)
        if answer is not None:
            logger.info("the feed of %s-%d: %s", one.at.topic, one.at.partition, answer)
        one.doubted = True
        return True

    async def _is_same(self, one: _Followed) -> bool:
        """Whether a topic is still the one that was followed; False as well while its id cannot be asked for."""
        try:
            # Other brokers may not know the topic yet.
            topic_id = await self._short.topic_id(one.at.topic, self._short.leader(one.at))
        except (KafkaError, LogError, TimeoutError) as error:
            logger.info("the feed of %s-%d: %s", one.at.topic, one.at.partition, error)
            return False
        if topic_id != one.topic_id:
            self._end(one, "was recreated")
            return False
        one.doubted = False
        return True

    def _end(self, one: _Followed, reason: str) -> None:
        """End a feed whose log is not the one that was followed."""
        if self._followed.get(one.at) is not one:
            return
        del self._followed[one.at]
        logger.warning("the feed of %s-%d at %d ends: the topic %s", *one.at, one.position, reason)
        try:
            one.on_replaced()
        except Exception:
            logger.exception("a reader of %s-%d failed", *one.at)

    async def _back_into_bounds(self, one: _Followed) -> bool:
        try:
            start, end = await self._short.bounds(one.at)
        except (KafkaError, LogError) as error:
            logger.info("the feed of %s-%d: %s", one.at.topic, one.at.partition, error)
            one.doubted = True
            return True
        if one.fetched and end < one.position:
            self._end(one, f"ends at {end} now")
            return False
        before, one.position = one.position, min(max(one.position, start), end)
        logger.warning(
            "the feed of %s-%d stood at %d, which is not in the log any more; it goes on at %d",
            one.at.topic, one.at.partition, before, one.position,
        )  # fmt: skip
        return False
