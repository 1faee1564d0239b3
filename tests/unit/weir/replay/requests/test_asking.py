"""A run asks each request once, whatever happens to its process."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.defaults import CHAT_PARTITIONS, SETTINGS
from tests.unit.weir.log.memory_log import AWAY, MemoryLog
from tests.unit.weir.ranges.steps import HeardSteps
from tests.unit.weir.replay.requests.answering import Worker, place, recorded
from weir import envelope, topics
from weir.chat import requests
from weir.chat.frames import Status
from weir.chat.traces import Traces
from weir.events.ingress import Ingress
from weir.events.publishing import Events
from weir.events.replays import ReplayCompared
from weir.llm.prices import Prices
from weir.log.log import LogError, Partition
from weir.options import ThinkTags
from weir.ranges.errors import CancelledRunError, UnfinishedError
from weir.ranges.offset_ranges import resolve
from weir.ranges.when import Edge
from weir.replay.report.comparison import Compared, compared_from
from weir.replay.requests.asking import RequestReplay
from weir.replay.requests.plans import ReplayPlan
from weir.replay.requests.replayed import replay_uid
from weir.replay.requests.selecting import select
from weir.replay.runs import Run, RunKind, Runs

QUESTIONS = 30
WATCHED = (topics.CHAT_REQUESTS.name, topics.CHAT_CHUNKS.name)


class Desk:
    """A log with recorded requests, a worker, and a run."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.log.now = 1_800_000_000.0
        asked = [
            recorded(
                self.log,
                f"q-{n}",
                "answer of m" if n % 3 else "something else",
                model="m",
                think_tags=ThinkTags.SPLIT if n % 3 else ThinkTags.KEEP,
            )
            for n in range(QUESTIONS)
        ]
        self.first = asked[0]
        self.events = Events(self.log)
        self.runs = Runs(self.log, self.events, tenant="default")
        self.worker = Worker(self.log)
        self.worker.skip()

    async def begin(self, **plan: Any) -> Run:
        spans = await resolve(self.log, topics.CHAT_REQUESTS.name, Edge.EARLIEST, Edge.LATEST, now=self.log.now)
        parameters = ReplayPlan(since="earliest", **plan).as_json()
        return await self.runs.begin(RunKind.REQUESTS, parameters, spans, watched=WATCHED, by="cli")

    async def asking(
        self, run: Run, *, patience_s: float = 5.0, heard: Callable[[], None] = lambda: None
    ) -> RequestReplay:
        selection = await select(self.log, run, Prices({}), HeardSteps(), SETTINGS)
        return RequestReplay(
            log=self.log,
            events=self.events,
            traces=Traces(self.events, worker="test:0"),
            prices=Prices({}),
            run=run,
            originals=selection.originals,
            patience_s=patience_s,
            on_end=lambda _compared, _in_flight: heard(),
            settings=SETTINGS,
        )

    async def results(self, run: Run) -> list[Compared]:
        return [compared_from({**event.data, "tenant": event.tenant_id}) for event in await self._results(run)]

    async def _results(self, run: Run) -> list[envelope.Event]:
        # Ids of runs are of the real clock, and this log's has its own.
        found = [
            envelope.decode(record.value)
            for number in range(self.log.partitions(topics.CHAT_REPLAY_RESULTS.name))
            for record in self.log.records.get(Partition(topics.CHAT_REPLAY_RESULTS.name, number), [])
        ]
        told = [each for each in found if each.event_type == ReplayCompared.EVENT_TYPE and each.data["run"] == run.id]
        return list({each.event_id: each for each in told}.values())

    def asked(self, run: Run) -> list[requests.ChatRequest]:
        values = [
            value
            for number in range(CHAT_PARTITIONS)
            for value in self.log.values(Partition(topics.CHAT_REQUESTS.name, number))
        ]
        return [request for request in map(requests.decode, values) if request.replay == run.id]

    async def working(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.worker.work(1)


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def carried_out(desk: Desk, run: Run, known: list[Compared]) -> list[Compared]:
    asking = await desk.asking(run)
    working = asyncio.create_task(desk.working())
    try:
        return await asking.run(known)
    finally:
        working.cancel()


async def test_each_is_asked_once_and_compared_with_its_original(desk: Desk) -> None:
    run = await desk.begin()
    compared = await carried_out(desk, run, [])
    assert sorted(pair.replay_of for pair in compared) == sorted(f"q-{n}" for n in range(QUESTIONS))
    assert {pair.identical for pair in compared if int(pair.replay_of[2:]) % 3} == {True}
    assert {pair.similarity for pair in compared if int(pair.replay_of[2:]) % 3 == 0} == {0.0}
    assert {pair.replay.status for pair in compared} == {"completed"}
    assert sorted(pair.uid for pair in await desk.results(run)) == sorted(pair.uid for pair in compared)


async def test_what_is_asked_again_is_marked_and_says_the_same_but_for_the_model(desk: Desk) -> None:
    run = await desk.begin(model="other", limit=1)
    await carried_out(desk, run, [])
    (asked,) = desk.asked(run)
    assert (asked.replay, asked.replay_of, asked.ingress) == (run.id, "q-0", Ingress.REPLAY)
    assert (asked.tenant, asked.stream, asked.deadline) == ("acme", False, None)
    assert asked.think_tags is ThinkTags.KEEP
    assert asked.body == {"model": "other", "messages": [{"role": "user", "content": "about q-0"}]}
    assert asked.fingerprint == requests.fingerprint(asked.body)
    assert asked.uid == replay_uid(run.id, desk.first)


async def test_so_many_are_in_flight_and_no_more(desk: Desk) -> None:
    run = await desk.begin(concurrency=4)
    asking = await desk.asking(run)
    task = asyncio.create_task(asking.run([]))
    for _ in range(200):
        await asyncio.sleep(0)
    assert len(desk.asked(run)) == 4
    desk.worker.work(1)
    for _ in range(200):
        await asyncio.sleep(0)
    assert len(desk.asked(run)) == 5
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("seed", range(25))
async def test_a_run_may_be_killed_at_any_point(desk: Desk, seed: int) -> None:
    chance = random.Random(seed)
    run = await desk.begin(concurrency=chance.choice([1, 3, 50]))
    for _ in range(5):
        asking = await desk.asking(run)
        task = asyncio.create_task(asking.run(await desk.results(run)))
        for _ in range(chance.randrange(400)):
            await asyncio.sleep(0)
            if chance.random() < 0.2:
                desk.worker.work(1)
            if chance.random() < 0.1:
                desk.events.flush()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        desk.events = Events(desk.log)  # what lingered died with it
        desk.runs = Runs(desk.log, desk.events, tenant="default")
    compared = await carried_out(desk, run, await desk.results(run))
    assert len(compared) == QUESTIONS
    assert {pair.replay_of for pair in compared} == {f"q-{n}" for n in range(QUESTIONS)}
    assert Counter(request.event_id for request in desk.asked(run)).most_common(1)[0][1] == 1
    assert len(desk.worker.answered) == QUESTIONS
    assert {pair.uid for pair in await desk.results(run)} == {pair.uid for pair in compared}


async def test_two_processes_that_carry_out_one_run_do_it_once_between_them(desk: Desk) -> None:
    run = await desk.begin(concurrency=3)
    working = asyncio.create_task(desk.working())
    one = asyncio.create_task((await desk.asking(run)).run([]))
    for _ in range(150):
        await asyncio.sleep(0)
    other = asyncio.create_task((await desk.asking(run)).run(await desk.results(run)))
    try:
        pairs = await asyncio.gather(one, other)
    finally:
        working.cancel()
    for compared in pairs:
        assert {pair.replay_of for pair in compared} == {f"q-{n}" for n in range(QUESTIONS)}
    assert len(desk.worker.answered) == QUESTIONS
    assert len(await desk.results(run)) == QUESTIONS


async def test_a_request_that_a_worker_threw_away_is_sent_again(desk: Desk) -> None:
    run = await desk.begin(limit=3)
    asking = asyncio.create_task((await desk.asking(run, patience_s=0.4)).run([]))
    await desk.log.until(lambda: len(desk.asked(run)) == 3)
    desk.worker.skip()
    working = asyncio.create_task(desk.working())
    try:
        compared = await asking
    finally:
        working.cancel()
    assert {pair.replay.status for pair in compared} == {"completed"}
    assert len({request.event_id for request in desk.asked(run)}) == 3


async def test_a_run_that_is_cancelled_asks_no_more(desk: Desk) -> None:
    run = await desk.begin(concurrency=2)
    asking = asyncio.create_task((await desk.asking(run)).run([]))
    await desk.log.until(lambda: len(desk.asked(run)) == 2)
    await desk.runs.end(run, {}, status="cancelled")
    desk.worker.work()
    with pytest.raises(CancelledRunError):
        await asking
    assert len(desk.asked(run)) <= 3


async def test_a_run_that_was_cancelled_before_it_was_carried_out_asks_nothing(desk: Desk) -> None:
    run = await desk.begin()
    asking = await desk.asking(run)
    await desk.runs.end(run, {}, status="cancelled")
    with pytest.raises(CancelledRunError):
        await asking.run([])
    assert not desk.asked(run)


async def test_an_append_whose_fate_is_unknown_is_made_again_and_is_the_same_request(desk: Desk) -> None:
    run = await desk.begin(limit=1)
    failures = [True]
    place_ = place(topics.CHAT_REQUESTS.name, replay_uid(run.id, desk.first))

    def fail(at: Partition, value: bytes | None) -> LogError | None:
        if at == place_ and failures and failures.pop():
            desk.log.put(at, replay_uid(run.id, desk.first).encode(), value)  # it is in the log all the same
            return AWAY
        return None

    desk.log.fail_append = fail
    (pair,) = await carried_out(desk, run, [])
    assert pair.replay.status == "completed"
    assert len(desk.asked(run)) == 2
    assert len({request.event_id for request in desk.asked(run)}) == 1
    assert len(desk.worker.answered) == 1


async def test_without_an_answer_for_too_long_it_is_given_up(desk: Desk) -> None:
    run = await desk.begin()
    with pytest.raises(UnfinishedError, match=r"8 are waited for: is a worker running\?"):
        await (await desk.asking(run, patience_s=0.05)).run([])


async def test_a_request_that_has_left_the_log_meanwhile_is_told_and_holds_up_no_other(desk: Desk) -> None:
    run = await desk.begin()
    asking = await desk.asking(run)
    gone = place(topics.CHAT_REQUESTS.name, "q-0")
    desk.log.starts[gone] = desk.log.records[gone][-1].offset
    working = asyncio.create_task(desk.working())
    try:
        compared = await asking.run([])
    finally:
        working.cancel()
    assert len(compared) == QUESTIONS
    assert {pair.replay_of: pair.replay.status for pair in compared}["q-0"] == "unknown"
    assert sum(pair.replay.status == "completed" for pair in compared) >= QUESTIONS // 2


async def test_one_that_fails_is_a_result_as_any_other(desk: Desk) -> None:
    recorded(desk.log, "broken", status=Status.FAILED)
    desk.worker.skip()
    run = await desk.begin(where={"status": "failed"})
    (pair,) = await carried_out(desk, run, [])
    assert (pair.original.status, pair.original.error_code, pair.replay.status) == (
        "failed",
        "server_error",
        "completed",
    )
    assert pair.similarity is None
