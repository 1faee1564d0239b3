"""Insights from real workers on both brokers: exactly one for the model that turns bad, whichever process is killed.

Records are written beside the workers, with event times ten minutes and more ahead of the clock: so the clock closes no
window, and how fast this machine is makes no difference.
"""

import asyncio
import itertools
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp

from tests.e2e.conftest import Start, kafka_env
from tests.e2e.test_streams import log_of
from tests.e2e.workers import Worker, get_json
from tests.services.kafka import KafkaBroker
from weir import envelope, topics
from weir.envelope import utc_iso
from weir.events import publishing
from weir.events.base import EventData, derived_id
from weir.events.feedback import FeedbackSource, FeedbackType
from weir.events.metrics import MetricsRecorded, MetricsTick
from weir.events.publishing import Outgoing
from weir.events.signals import SignalRecorded, SignalsTick
from weir.log.log import LogClient, Partition, Record
from weir.log.partitioner import partition_for
from weir.peers import FORWARDED

SETTINGS = {"INSIGHT_WINDOW_S": "2", "INSIGHT_LATENESS_S": "1", "INSIGHT_AHEAD_S": "86400"}
KILLED = {"KAFKA_SESSION_TIMEOUT_S": "1.5"}  # a restarted worker waits for the killed one's session for so long
SIZE_S, LATENESS_S = 2.0, 1.0
MODELS = ("fine", "turns", "steady", "calm:7b", "org/quiet")
WINDOWS, EACH = 10, 40  # of each model 40 requests in each of 10 windows: 2,000
BAD = range(4, 7)  # windows in which `turns` is bad
WITHIN_S = 60.0
PARTITIONS = range(topics.AGENT_METRICS.partitions)

_stories = itertools.count(1)

Figures = dict[tuple[str, int], tuple[int, int, float]]
"""Completed requests, signals and mean score, by model and number of the window."""


class Written(NamedTuple):
    """An event that is to be written, with its time."""

    at_s: float
    event: Outgoing


class Story:
    """Two thousand requests with feedback, for a tenant of its own, later than all stories before it."""

    def __init__(self, seed: int) -> None:
        number = next(_stories)
        # A tenant whose models are in all partitions.
        tenants = (f"story-{number}-{more}" for more in itertools.count())
        self.tenant = next(one for one in tenants if {_partition(one, model) for model in MODELS} == set(PARTITIONS))
        self.start_s = (time.time() + 600 * number) // 60 * 60.0
        self.expected: Figures = {}
        self._dice = random.Random(seed)
        events = [event for model in MODELS for window in range(WINDOWS) for event in self._window(model, window)]
        events += self._dice.sample(events, len(events) // 10)  # written again, as after a crash
        # An event may come up to a lateness after younger ones.
        events.sort(key=lambda written: written.at_s + self._dice.uniform(0, LATENESS_S * 0.9))
        self.events = [written.event for written in events]

    def _window(self, model: str, window: int) -> list[Written]:
        events, scores = [], []
        for number in range(EACH):
            uid = f"{self.tenant}-{model}-{window}-{number}"
            at_s = self.start_s + window * SIZE_S + self._dice.uniform(0, SIZE_S * 0.999)
            pleased = self._dice.random() < (0.1 if model == "turns" and window in BAD else 0.8)
            scores.append(1.0 if pleased else -1.0)
            request = MetricsRecorded(
                model=model,
                uid=uid,
                status="completed",
                ended_at=utc_iso(at_s),
                attempts=1,
                latency_ms=self._dice.uniform(100, 900),
                cost_usd=0.001,
            )
            signal = SignalRecorded(
                model=model,
                uid=uid,
                score=scores[-1],
                weight=1.0,
                feedback_id=f"evt-{uid}",
                feedback_type=FeedbackType.THUMBS_UP if pleased else FeedbackType.THUMBS_DOWN,
                feedback_source=FeedbackSource.EXPLICIT,
                given_at=utc_iso(at_s),
                status="completed",
            )
            events += [Written(at_s, self._record(data, uid)) for data in (request, signal)]
        self.expected[model, window] = (EACH, EACH, round(sum(scores) / EACH, 6))
        return events

    def _record(self, data: EventData, uid: str) -> Outgoing:
        return publishing.encode(data, self.tenant, event_id=derived_id(data.EVENT_TYPE, uid))

    async def write(self, log: LogClient, first: float, last: float) -> None:
        """Write a part of the events, from a share of all to another."""
        part = self.events[int(first * len(self.events)) : int(last * len(self.events))]
        await asyncio.gather(*(_append(log, event) for event in part))

    async def end(self, log: LogClient) -> None:
        """Write to each partition that no older event comes."""
        at = utc_iso(self.start_s + WINDOWS * SIZE_S + LATENESS_S)
        ticks = [publishing.encode(tick, self.tenant) for tick in (MetricsTick(at=at), SignalsTick(at=at))]
        await asyncio.gather(*(_append(log, tick, partition) for tick in ticks for partition in PARTITIONS))

    async def figures(self, worker: Worker, *, status: str = "closed") -> Figures:
        """The windows that a worker shows."""
        shown: Any = await get_json(f"{worker.url}/quality?tenant={self.tenant}", within_s=WITHIN_S)
        return _figures(self, shown["quality"], status)

    async def closed(self, worker: Worker) -> Any:
        """The whole view of a worker, when all windows are closed."""
        async with asyncio.timeout(WITHIN_S):
            while len(await self.figures(worker)) < len(self.expected):
                await asyncio.sleep(0.1)
        return await get_json(f"{worker.url}/quality?tenant={self.tenant}")

    async def told(self, log: LogClient) -> list[envelope.Event]:
        """The events of ai-insights about this tenant."""
        topic, key = topics.AI_INSIGHTS.name, self.tenant.encode()
        records = await _all(log, Partition(topic, partition_for(key, topics.AI_INSIGHTS.partitions)))
        return [envelope.decode(record.value) for record in records if record.key == key]


def _partition(tenant: str, model: str) -> int:
    return partition_for(f"{tenant}:{model}".encode(), len(PARTITIONS))


async def _all(log: LogClient, at: Partition) -> list[Record]:
    records: list[Record] = []
    while page := await log.read(at, records[-1].offset + 1 if records else 0):
        records += page
    return records


async def _append(log: LogClient, event: Outgoing, partition: int | None = None) -> None:
    if partition is None:
        partition = partition_for(event.key, len(PARTITIONS))
    await log.append(event.topic, partition, event.key, event.value, event.headers)


def _figures(story: Story, models: list[Any], status: str = "closed") -> Figures:
    starts = {utc_iso(story.start_s + number * SIZE_S): number for number in range(WINDOWS)}
    return {
        (model["model"], starts[window["start"]]): (
            window["requests"]["completed"],
            window["signals"],
            window["score"],
        )
        for model in models
        for window in model["windows"]
        if window["status"] == status
    }


@asynccontextmanager
async def log_beside(worker: Worker) -> AsyncIterator[LogClient]:
    """The worker's log, once the worker has made its topics."""
    async with log_of(worker) as log:
        yield log


async def check(story: Story, worker: Worker, log: LogClient) -> None:
    """Every event once, one insight for the model that turned bad, and its end."""
    shown = await story.closed(worker)
    assert _figures(story, shown["quality"]) == story.expected
    assert {model["late"] for model in shown["quality"]} == {0}
    told = await story.told(log)
    assert [(event.event_type, event.data["model"], event.data["insight_type"]) for event in told] == [
        ("insight.raised", "turns", "quality_drop"),
        ("insight.cleared", "turns", "quality_drop"),
    ]
    raised, cleared = told
    assert raised.data["insight_id"] == cleared.data["insight_id"]
    assert raised.data["window_start"] == utc_iso(story.start_s + BAD[0] * SIZE_S)
    assert cleared.data["window_start"] == utc_iso(story.start_s + BAD[-1] * SIZE_S + SIZE_S)
    listed: Any = await get_json(f"{worker.url}/insights?tenant={story.tenant}")
    (insight,) = listed["insights"]
    assert (insight["model"], insight["status"], insight["insight_id"]) == (
        "turns",
        "resolved",
        raised.data["insight_id"],
    )
    active: Any = await get_json(f"{worker.url}/insights?tenant={story.tenant}&status=active")
    assert active["insights"] == []


async def test_a_window_closes_by_the_clock_where_nothing_more_comes(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker = await make_worker(broker, **SETTINGS).start()
    now = utc_iso()
    request = MetricsRecorded(model="once", uid="u", status="failed", ended_at=now, attempts=1)
    async with log_beside(worker) as log:
        await _append(log, publishing.encode(request, "clock"))
        async with asyncio.timeout(WITHIN_S):
            while True:
                shown: Any = await get_json(f"{worker.url}/quality?tenant=clock")
                if [window["status"] for model in shown["quality"] for window in model["windows"]] == ["closed"]:
                    break
                await asyncio.sleep(0.2)
        (window,) = shown["quality"][0]["windows"]
        assert window["requests"]["failed"] == 1
        ticks = Counter[str]()
        for topic in (topics.AGENT_METRICS.name, topics.AI_LEARNING_SIGNALS.name):
            at = Partition(topic, _partition("clock", "once"))
            ticks.update(envelope.decode(record.value).event_type for record in await _all(log, at))
        assert ticks == {"metrics.recorded": 1, "metrics.tick": 1, "signals.tick": 1}


async def test_exactly_one_insight_for_the_model_that_turns_bad_and_its_end(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker, story = await make_worker(broker, **SETTINGS).start(), Story(1)
    async with log_beside(worker) as log:
        await story.write(log, 0, 1)
        await story.end(log)
        await check(story, worker, log)


async def test_kill_9_on_the_way_changes_no_figure_and_repeats_no_insight(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker, story = await make_worker({**broker, **KILLED}, **SETTINGS).start(), Story(2)
    async with log_beside(worker) as log:
        await story.write(log, 0, 0.5)
        async with asyncio.timeout(WITHIN_S):
            while not await story.figures(worker):
                await asyncio.sleep(0.01)
        worker.kill()  # with windows closed and open, and records that are not acknowledged
        await story.write(log, 0.5, 0.9)
        worker.launch()
        async with asyncio.timeout(WITHIN_S):
            while not await story.told(log):
                await asyncio.sleep(0.002)
        worker.kill()  # with an insight that may not be in the table yet
        await story.write(log, 0.9, 1)
        await story.end(log)
        await worker.start()
        await check(story, worker, log)


async def test_two_workers_share_the_models_and_what_one_leaves_the_other_goes_on_with(
    e2e_kafka: KafkaBroker, make_worker: Start
) -> None:
    env = {**kafka_env(e2e_kafka), **KILLED}
    first, second, story = make_worker(env, **SETTINGS), make_worker(env, **SETTINGS), Story(3)
    await first.start()
    async with log_beside(first) as log:
        await story.write(log, 0, 0.4)
        await second.start()
        await story.write(log, 0.4, 0.7)
        shares = await shared(first, second, story)
        assert sorted(map(len, shares)) == [1, 2]  # of three partitions
        assert sorted(partition for share in shares for partition in share) == list(PARTITIONS)
        for worker in (first, second):
            shown: Any = await get_json(f"{worker.url}/quality?tenant={story.tenant}")
            assert {model["model"] for model in shown["quality"]} == set(MODELS)
            assert "missing_workers" not in shown
        first.kill()
        await story.write(log, 0.7, 1)
        await story.end(log)
        await check(story, second, log)


async def shared(first: Worker, second: Worker, story: Story) -> list[set[int]]:
    """The partitions of which each of two workers has rows, when both have some and together all."""
    async with asyncio.timeout(WITHIN_S), aiohttp.ClientSession() as session:
        while True:
            shares: defaultdict[str, set[str]] = defaultdict(set)
            for worker in (first, second):
                url = f"{worker.url}/quality?tenant={story.tenant}"
                async with session.get(url, headers={FORWARDED: "1"}) as answer:
                    shares[worker.url] = {model["model"] for model in (await answer.json())["quality"]}
            if all(shares.values()) and set.union(*shares.values()) == set(MODELS):
                return [{_partition(story.tenant, model) for model in share} for share in shares.values()]
            await asyncio.sleep(0.2)
