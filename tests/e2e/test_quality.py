"""2,000 requests with feedback whose true quality is known; one model turns bad in the middle, and recovers.

All parts: doors, chat agent, figures, feedback before and after the answer, signals, windows, insights.
"""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import Start, kafka_env
from tests.e2e.test_streams import log_of
from tests.e2e.workers import Worker
from tests.services.kafka import KafkaBroker
from weir import envelope, topics
from weir.envelope import Event, seconds_of
from weir.log.log import Partition

REQUESTS = 2000
PER_S = 60
MODELS = tuple(f"demo:tokens={count}" for count in (2, 3, 4, 5))
BAD = MODELS[2]
BAD_FROM, BAD_UNTIL = 700, 1350  # by the number of the request
GOOD_CHANCE, BAD_CHANCE = 0.88, 0.08  # the share of feedback that is content
WINDOW_S = 4.0
TRIES = 60  # of a client whose worker is killed, one a second
SETTLED_S = 60.0
ENV = {
    "INSIGHT_WINDOW_S": f"{WINDOW_S:g}",
    "INSIGHT_LATENESS_S": "2",
    "INSIGHT_SIGNALS_MIN": "12",
    # Other insights depend on how busy this machine is.
    "INSIGHT_LATENCY_P95_MAX_MS": "600000",
    "INSIGHT_LATENCY_FLOOR_MS": "600000",
    "INSIGHT_DROUGHT_EXPECTED": "100000",
    "RETRY_WINDOW_S": "0",
}


@dataclass
class Play:
    """Users who ask, and give feedback on the answers."""

    url: Callable[[], str]
    session: aiohttp.ClientSession
    chance: random.Random
    given: Counter[str] = field(default_factory=Counter)  # pieces of feedback by model
    bad_from: float = math.inf  # when the first feedback of the bad time was given, in seconds since the epoch
    bad_until: float = 0.0  # and the last one

    async def run(self) -> None:
        users: set[asyncio.Task[None]] = set()
        began = time.monotonic()
        for number in range(REQUESTS):
            users.add(asyncio.create_task(self._user(number)))
            await asyncio.sleep(began + number / PER_S - time.monotonic())
        await asyncio.gather(*users)

    async def _user(self, number: int) -> None:
        model = MODELS[number % len(MODELS)]
        uid = f"quality-{number}-{self.chance.getrandbits(48):012x}"
        feedback = self._feedback(uid, number)
        ask = {"model": model, "messages": [{"role": "user", "content": f"question {number}"}], "uid": uid}
        steps = [("/v1/chat/completions", ask), ("/v1/feedback", feedback)]
        if number % 10 == 0:  # a client may be faster than the answer
            steps.reverse()
        for path, body in steps:
            if body is feedback and is_bad(number):
                self.bad_from = min(self.bad_from, time.time())
            await self._post(path, body)
            if body is feedback and is_bad(number):
                self.bad_until = max(self.bad_until, time.time())
        self.given[model] += 1

    def _feedback(self, uid: str, number: int) -> dict[str, Any]:
        content = self.chance.random() < (BAD_CHANCE if is_bad(number) else GOOD_CHANCE)
        kinds: list[dict[str, Any]] = (
            [{"feedback_type": "thumbs_up"}, {"feedback_type": "rating", "rating": 5}]
            if content
            else [{"feedback_type": "thumbs_down"}, {"feedback_type": "rating", "rating": 1}]
        )
        return {"response_id": f"chatcmpl-{uid}", "feedback_id": f"f-{uid}", **self.chance.choice(kinds)}

    async def _post(self, path: str, body: dict[str, Any]) -> None:
        """Send until it is accepted: a repeated submission has the same name, so it counts once."""
        for _ in range(TRIES):
            try:
                async with asyncio.timeout(20), self.session.post(self.url() + path, json=body) as answer:
                    told = await answer.read()
                    if answer.status < 300:
                        return
                    assert answer.status >= 500, told
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(1)
        raise AssertionError(f"{path} was not taken")


def is_bad(number: int) -> bool:
    return MODELS[number % len(MODELS)] == BAD and BAD_FROM <= number < BAD_UNTIL


async def insights(worker: Worker) -> list[Event]:
    """The events of ai-insights."""
    found = []
    async with log_of(worker) as log:
        for number in range(topics.AI_INSIGHTS.partitions):
            records = await log.read(Partition(topics.AI_INSIGHTS.name, number), 0)
            found += [envelope.decode(record.value) for record in records]
    return found


async def cleared(worker: Worker) -> list[Event]:
    deadline = time.monotonic() + SETTLED_S
    while True:
        found = await insights(worker)
        if any(event.event_type == "insight.cleared" for event in found) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.5)


def check(found: list[Event], play: Play) -> None:
    """Check for one insight, about that model, as soon as a window shows it; and its end."""
    told = [(event.event_type, event.data["insight_type"], event.data["model"]) for event in found]
    assert told == [("insight.raised", "quality_drop", BAD), ("insight.cleared", "quality_drop", BAD)]
    raised, end = found[0].data, found[1].data
    assert raised["insight_id"] == end["insight_id"]
    # An insight comes for the first window that is bad from its start; one that is bad in part may have it.
    assert play.bad_from < (seconds_of(raised["window_end"]) or 0) <= play.bad_from + 2 * WINDOW_S
    assert play.bad_until < (seconds_of(end["window_end"]) or 0) <= play.bad_until + 3 * WINDOW_S
    assert raised["value"] < end["value"]


async def signals_of(worker: Worker) -> Counter[str]:
    """Signals by model, each event once."""
    found: dict[str, str] = {}
    async with log_of(worker) as log:
        for number in range(topics.AI_LEARNING_SIGNALS.partitions):
            at, position = Partition(topics.AI_LEARNING_SIGNALS.name, number), 0
            while records := await log.read(at, position):
                for record in records:
                    event = envelope.decode(record.value)
                    if event.event_type == "signal.recorded":
                        found[event.event_id] = event.data["model"]
                position = records[-1].offset + 1
    return Counter(found.values())


async def check_signals(worker: Worker, play: Play) -> None:
    """One signal for each piece of feedback, in the end."""
    deadline = time.monotonic() + SETTLED_S
    while (signals := await signals_of(worker)) != play.given and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
    assert signals == play.given


async def test_the_model_that_turns_bad_is_told_and_only_that(make_worker: Start) -> None:
    worker = await make_worker({}, **ENV).start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        play = Play(lambda: worker.url, session, random.Random(7))
        await play.run()
        found = await cleared(worker)
    check(found, play)
    await check_signals(worker, play)


@pytest.mark.kafka
async def test_kill_9_in_between_changes_nothing_of_it(e2e_kafka: KafkaBroker, make_worker: Start) -> None:
    env = {**kafka_env(e2e_kafka), **ENV}
    workers = [make_worker(env) for _ in range(2)]
    await asyncio.gather(*(worker.start() for worker in workers))
    chance = random.Random(8)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        play = Play(lambda: chance.choice(workers).url, session, random.Random(9))
        playing = asyncio.create_task(play.run())
        while math.isinf(play.bad_from):
            await asyncio.sleep(0.1)
        await asyncio.sleep(WINDOW_S)  # where windows close and insights are told
        workers[0].kill()
        await workers[0].start()
        await playing
        workers[1].kill()
        await workers[1].start()
        found = await cleared(workers[0])
    check(found, play)
    await check_signals(workers[0], play)
