"""2,000 requests with feedback whose true quality is known; one model turns bad in the middle, and recovers.

All parts: doors, chat agent, figures, feedback before and after the answer, signals, windows, insights.
"""

import asyncio
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import aiohttp
import pytest

from tests.e2e.conftest import Start, kafka_env
from tests.e2e.test_streams import log_of
from tests.e2e.workers import Worker
from tests.services.kafka import KafkaBroker
from weir import envelope, topics
from weir.envelope import Event, seconds_of
from weir.events.signals import SignalRecorded
from weir.log.log import Partition

REQUESTS = 2000
PER_S = 60  # at most
AT_ONCE = 60  # users; on a busy machine they come more slowly, and feedback is given in the order of the questions
MODELS = tuple(f"demo:tokens={count}" for count in (2, 3, 4, 5))
BAD = MODELS[2]
BAD_FROM, BAD_UNTIL = 600, 1500  # by the number of the request
GOOD_CHANCE, BAD_CHANCE = 0.88, 0.08  # the share of feedback that is content
WINDOW_S, LATENESS_S = 6.0, 4.0
SIGNALS_MIN = 12  # of a window that is judged
BADLY, WELL = -0.4, 0.4  # the mean score of a window
TRIES = 60  # of a client whose worker is killed, one a second
SETTLED_S = 60.0
ENV = {
    "INSIGHT_WINDOW_S": f"{WINDOW_S:g}",
    "INSIGHT_LATENESS_S": f"{LATENESS_S:g}",
    "INSIGHT_SIGNALS_MIN": f"{SIGNALS_MIN}",
    # Other insights depend on how busy this machine is, and so does the number of signals in a window.
    "INSIGHT_QUALITY_DROP": "0.8",
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
    turned: asyncio.Event = field(default_factory=asyncio.Event)  # the first feedback of the bad time is being given

    async def run(self) -> None:
        turns = asyncio.Semaphore(AT_ONCE)
        began = time.monotonic()
        async with asyncio.TaskGroup() as users:
            for number in range(REQUESTS):
                await turns.acquire()
                users.create_task(self._user(number)).add_done_callback(lambda _: turns.release())
                await asyncio.sleep(began + number / PER_S - time.monotonic())

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
                self.turned.set()
            await self._post(path, body)
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


def check(found: list[Event], signals: list[SignalRecorded]) -> None:
    """Check for one insight, about that model, as soon as a window shows it; and its end."""
    told = [(event.event_type, event.data["insight_type"], event.data["model"]) for event in found]
    assert told == [("insight.raised", "quality_drop", BAD), ("insight.cleared", "quality_drop", BAD)]
    raised, end = found[0].data, found[1].data
    assert raised["insight_id"] == end["insight_id"]
    scores = windows(signals)
    bad = [at for at, score in scores.items() if score < BADLY]
    before, after = (
        [at for at, score in scores.items() if score > WELL and (at > bad[-1]) is is_after]
        for is_after in (False, True)
    )
    assert max(before) < bad[0], scores
    # An insight comes for the first window that is bad; one that is bad in part may have it. So it is with the end.
    assert max(before) < (seconds_of(raised["window_end"]) or 0) <= bad[0], scores
    assert bad[-1] < (seconds_of(end["window_end"]) or 0) <= after[:2][-1], scores
    assert raised["value"] < end["value"]


def windows(signals: list[SignalRecorded]) -> dict[float, float]:
    """The mean score of that model in each window with enough signals, by the window's end."""
    scores: defaultdict[float, list[float]] = defaultdict(list)
    for signal in signals:
        if signal.model == BAD:
            scores[((seconds_of(signal.given_at) or 0) // WINDOW_S + 1) * WINDOW_S].append(signal.score)
    return {at: fmean(some) for at, some in sorted(scores.items()) if len(some) >= SIGNALS_MIN}


async def signals_of(worker: Worker) -> list[SignalRecorded]:
    """Each event once."""
    found: dict[str, SignalRecorded] = {}
    async with log_of(worker) as log:
        for number in range(topics.AI_LEARNING_SIGNALS.partitions):
            at, position = Partition(topics.AI_LEARNING_SIGNALS.name, number), 0
            while records := await log.read(at, position):
                for record in records:
                    event = envelope.decode(record.value)
                    if event.event_type == "signal.recorded":
                        found[event.event_id] = SignalRecorded.model_validate(event.data)
                position = records[-1].offset + 1
    return list(found.values())


async def all_signals(worker: Worker, play: Play) -> list[SignalRecorded]:
    """One signal for each piece of feedback, in the end."""
    deadline = time.monotonic() + SETTLED_S
    while True:
        signals = await signals_of(worker)
        if (by_model := Counter(signal.model for signal in signals)) == play.given or time.monotonic() > deadline:
            assert by_model == play.given
            return signals
        await asyncio.sleep(0.5)


async def test_the_model_that_turns_bad_is_told_and_only_that(make_worker: Start) -> None:
    worker = await make_worker({}, **ENV).start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        play = Play(lambda: worker.url, session, random.Random(7))
        await play.run()
        found = await cleared(worker)
    check(found, await all_signals(worker, play))


@pytest.mark.kafka
async def test_kill_9_in_between_changes_nothing_of_it(e2e_kafka: KafkaBroker, make_worker: Start) -> None:
    env = {**kafka_env(e2e_kafka), **ENV}
    workers = [make_worker(env) for _ in range(2)]
    await asyncio.gather(*(worker.start() for worker in workers))
    chance = random.Random(8)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        play = Play(lambda: chance.choice(workers).url, session, random.Random(9))
        playing = asyncio.create_task(play.run())
        await play.turned.wait()
        await asyncio.sleep(WINDOW_S)  # where windows close and insights are told
        workers[0].kill()
        await workers[0].start()
        await playing
        workers[1].kill()
        await workers[1].start()
        found = await cleared(workers[0])
    check(found, await all_signals(workers[0], play))
