"""Workers that scored by a wrong formula: afterwards the windows are as if the right one had been there always."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

from tests.defaults import CHAT_PARTITIONS
from tests.e2e.commands import faust, killed, launched, run_of
from tests.e2e.conftest import Start
from tests.e2e.formula_b import SCORES, WEIGHT
from tests.e2e.test_feedback import shown, states
from tests.e2e.test_streams import log_of
from tests.e2e.workers import Worker
from weir import envelope, topics
from weir.envelope import Event
from weir.events.feedback import FeedbackType
from weir.events.signals import SignalRecorded
from weir.insights.closing import Closing, Insight
from weir.insights.configured import limits, spans
from weir.insights.folding import Folding, Judging
from weir.insights.reading import Measured
from weir.insights.rows import QualityRows
from weir.insights.values import WindowKey
from weir.log.log import LogClient, Partition
from weir.ranges.changelog import Changes
from weir.ranges.merged import merged
from weir.ranges.offset_ranges import OffsetRange
from weir.settings import load_settings

ENV = {
    "INSIGHT_WINDOW_S": "2",
    "INSIGHT_LATENESS_S": "20",  # a worker is away for as long while it is started again
    "INSIGHT_WINDOWS_KEPT": "500",
    "INSIGHT_SIGNALS_MIN": "3",
    "RETRY_WINDOW_S": "0",
}
MODELS = [f"demo:tokens={count}" for count in (2, 3, 4)]
KINDS: dict[FeedbackType, tuple[float, float]] = {  # score and weight by today's formula
    FeedbackType.THUMBS_UP: (SCORES[FeedbackType.THUMBS_UP], 1.0),
    FeedbackType.THUMBS_DOWN: (SCORES[FeedbackType.THUMBS_DOWN], 1.0),
    FeedbackType.IMPLICIT_ACCEPT: (SCORES[FeedbackType.IMPLICIT_ACCEPT], WEIGHT),
    FeedbackType.ESCALATION: (-1.0, 1.0),
}
OTHER = "tests.e2e.other_formula"
INPUTS = topics.AGENT_METRICS.name, topics.AI_LEARNING_SIGNALS.name
PARTITIONS = range(topics.AGENT_METRICS.partitions)
QUALITY = "weir-quality-changelog"
SETTLED_S = 60.0


class Load:
    """Users who ask and give feedback, for as long as it lasts, whatever the worker does."""

    def __init__(self, worker: Worker, seed: int, *, users: bool = False) -> None:
        self.given: dict[str, FeedbackType] = {}  # by uid
        self._worker, self._dice, self._seed = worker, random.Random(seed), seed
        self._over, self._users = False, users

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        async with aiohttp.ClientSession() as session:
            users = [asyncio.create_task(self._user(session, number)) for number in range(3)]
            try:
                yield
            finally:
                self._over = True
                await asyncio.gather(*users)

    async def until(self, count: int) -> None:
        async with asyncio.timeout(SETTLED_S):
            while len(self.given) < count:
                await asyncio.sleep(0.05)

    async def _user(self, session: aiohttp.ClientSession, user: int) -> None:
        number = 0
        while not self._over:
            number += 1
            uid, kind = f"rebuild-{self._seed}-{user}-{number}", self._dice.choice(list(KINDS))
            model = self._dice.choice(MODELS)
            ask: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": uid}], "uid": uid}
            if self._users:
                ask["username"] = f"user-{user}"
            await self._post(session, "/v1/chat/completions", ask)
            body = {"response_id": f"chatcmpl-{uid}", "feedback_id": uid, "feedback_type": kind}
            if await self._post(session, "/v1/feedback", body):
                self.given[uid] = kind

    async def _post(self, session: aiohttp.ClientSession, path: str, body: Any) -> bool:
        while not self._over:
            try:
                async with asyncio.timeout(20), session.post(self._worker.url + path, json=body) as answer:
                    await answer.read()
                    if answer.status < 300:
                        return True
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.2)
        return False


async def events(log: LogClient, topic: str) -> list[Event]:
    found = []
    for number in range(log.partitions(topic)):
        at, position = Partition(topic, number), 0
        while records := await log.read(at, position):
            found += [envelope.decode(record.value) for record in records]
            position = records[-1].offset + 1
    return found


async def scratch(log: LogClient, kinds: dict[str, FeedbackType]) -> dict[WindowKey, Any]:
    """Closed windows of a run over both topics from their starts, with today's numbers."""
    settings, found = load_settings(ENV), dict[WindowKey, Any]()

    async def tell(closing: Closing) -> tuple[Insight, ...]:
        return closing.insights

    def change(measured: Measured) -> Measured:
        if not isinstance(measured.data, SignalRecorded):
            return measured
        score, weight = KINDS[kinds[measured.data.uid]]
        return Measured(
            name=measured.name,
            event_id=measured.event_id,
            at_ms=measured.at_ms,
            data=measured.data.model_copy(update={"score": score, "weight": weight}),
        )

    for number in PARTITIONS:
        table: dict[bytes, bytes] = {}
        judging = Judging(spans=spans(settings), limits=limits(settings))
        windows = await Folding.of(table, number, judging, tell=tell)
        ends = [OffsetRange(at, 0, (await log.bounds(at)).end) for at in (Partition(topic, number) for topic in INPUTS)]
        async for record in merged(log, ends):
            await windows.take(record, change)
        found |= figures(table)
    return found


async def live(log: LogClient) -> dict[WindowKey, Any]:
    found = dict[WindowKey, Any]()
    for number in PARTITIONS:
        changes = Changes(log, QUALITY, number)
        await changes.read()
        found |= figures(changes.rows)
    return found


def figures(table: dict[bytes, bytes]) -> dict[WindowKey, Any]:
    """Windows, open and closed; and which of them had breaches."""
    rows, found = QualityRows(table), dict[WindowKey, Any]()
    for span, _, closed in rows.windows():
        row = rows.window(span)
        assert row is not None
        found[span] = row.window.flat(), closed
    for name in rows.names():
        model = rows.model(name)
        for one in model.kept if model else ():
            place = WindowKey(name, one.start_ms, one.end_ms)
            found[place] = (*found[place], [kind for kind in one.breached if kind == "quality_drop"])
    return found


async def check(worker: Worker, log: LogClient, load: Load) -> None:
    """Check that every piece has today's numbers, and every window is as from scratch."""
    for uid, kind in load.given.items():
        found = await shown(worker, uid, lambda found: states(found)["joined"] >= 1)
        assert [(one["score"], one["weight"]) for one in found["signals"]] == [KINDS[kind]], uid
    deadline = time.monotonic() + SETTLED_S
    while (now := await live(log)) != (wanted := await scratch(log, load.given)) and time.monotonic() < deadline:
        await asyncio.sleep(0.5)
    wrong = [place for place in now.keys() | wanted.keys() if now.get(place) != wanted.get(place)]
    assert not wrong, [(place, now.get(place), wanted.get(place)) for place in wrong[:3]]
    assert len(now) > 3


async def test_a_wrong_formula_is_undone_beside_the_load_as_if_it_had_never_been(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker = await make_worker(broker, **ENV).start()
    load = Load(worker, 1)
    async with load.going_on(), log_of(worker) as log:
        await load.until(40)
        assert await worker.stop() == 0, worker.log_end()
        worker.app = OTHER
        await worker.start()
        await load.until(60)
        before = await events(log, topics.AI_INSIGHTS.name)
        command = launched(worker, "replay", "feedback", "--from", "earliest")
        run = await run_of(command)
        await asyncio.sleep(0.5)
        killed(command)
        report = (await faust(worker, "replay", "feedback", "--resume", run, "--json")).json
        await load.until(80)
    assert report["run"] == run
    assert report["feedback_rows"] <= 40
    async with log_of(worker) as log:
        await check(worker, log, load)
        told, signals = await events(log, topics.AI_INSIGHTS.name), await events(log, topics.AI_LEARNING_SIGNALS.name)
        assert not [one for one in (*told, *signals) if one.data.get("rebuilt")]
        assert {one.event_id for one in before} <= {one.event_id for one in told}

        look = (await faust(worker, "replay", "feedback", "--from", "earliest", "--dry-run", "--json")).json
        assert (look["run"], look["windows"]["changed"], look["feedback_rows"]) == (None, 0, 0)
        assert look["signals"]["changed"] > 0
        emitted = (await faust(worker, "replay", "feedback", "--from", "earliest", "--emit", "--json")).json
        again = (await faust(worker, "replay", "feedback", "--resume", emitted["run"], "--json")).json
        assert (again["emitted"], again["partitions_done_before"]) == ({"signals": 0, "insights": 0}, [0, 1, 2])
        await check(worker, log, load)
        signals = [one for one in await events(log, topics.AI_LEARNING_SIGNALS.name) if one.data.get("rebuilt")]
        assert len(signals) == emitted["emitted"]["signals"] == len({one.data["uid"] for one in signals}) > 0
        assert all(one.data["score"] == KINDS[load.given[one.data["uid"]]][0] for one in signals)
        told = await events(log, topics.AI_INSIGHTS.name)
        assert set(Counter(one.event_id for one in told).values()) <= {1}


TABLES = ("terminals", "requests", "feedback", "prompts", "quality")
# the fields that the tamperer changes
CHANGED = {"terminals": "last", "requests": "model", "feedback": "pieces", "prompts": "prompts"}


async def test_tables_are_what_their_topics_say_and_what_is_not_is_found(
    broker: dict[str, str], make_worker: Start
) -> None:
    worker = make_worker(broker, **{**ENV, "RETRY_WINDOW_S": "120"})
    worker.app = OTHER  # the earlier test's records on this Kafka are scored by it
    await worker.start()
    load = Load(worker, 2, users=True)
    async with load.going_on():
        await load.until(30)
        for name in TABLES:
            done = await faust(worker, "replay", "table", name, "--verify")
            assert (done.code, "no difference" in done.out) == (0, True), done.out + done.err
        worker.kill()
        await worker.start()
        await load.until(50)
    for name in TABLES:
        told = (await faust(worker, "replay", "table", name, "--verify", "--json")).json
        assert (told["differences"], told["moving"], told["cannot_be_verified"]) == ([], 0, 0)
        assert told["rows"] >= len(MODELS)
    assert await worker.stop() == 0, worker.log_end()
    async with log_of(worker) as log:
        keys = {name: await tamper(log, name) for name in CHANGED}
    for name, key in keys.items():
        done = await faust(worker, "replay", "table", name, "--verify", "--json", "--limit-shown", "1")
        assert done.code == 6, done.err
        (one,) = done.json["differences"]
        assert (one["key"], one["field"].partition("[")[0], done.json["count"]) == (key, CHANGED[name], 1)


async def tamper(log: LogClient, name: str) -> str:
    """Write a wrong value into a row; returns its key."""
    for number in range(CHAT_PARTITIONS):
        changelog = f"weir-{name}-changelog"
        changes = Changes(log, changelog, number)
        await changes.read()
        for key, value in sorted(changes.rows.items()):
            row = orjson.loads(value)
            if isinstance(row[CHANGED[name]], list):
                row[CHANGED[name]][0]["uid" if name == "prompts" else "severity"] = "WRONG"
            else:
                row[CHANGED[name]] = "wrong"
            await log.append(changelog, number, key, orjson.dumps(row))
            return key.decode()
    raise AssertionError(f"{name} has no rows")
