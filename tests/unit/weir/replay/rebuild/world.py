"""A log with requests and feedback of some tenants, an owner of the windows' tables, and the command beside it."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import orjson
import pytest

from tests.e2e.formula_b import always
from tests.unit.weir.insights.helpers import LIMITS, SPANS, T0
from tests.unit.weir.log.memory_log import MemoryLog
from tests.unit.weir.workers import worker_of
from weir import envelope, topics
from weir.envelope import Json, utc_iso
from weir.events import publishing
from weir.events.base import EventData, derived_id
from weir.events.catalogue import data_of
from weir.events.feedback import FeedbackRescored, FeedbackSource, FeedbackSubmitted, FeedbackType
from weir.events.metrics import MetricsRecorded, MetricsTick
from weir.events.publishing import Events, Outgoing
from weir.events.signals import SignalsTick
from weir.feedback import joining, pieces, scores
from weir.insights.folding import Judging
from weir.insights.partition import partition_of
from weir.insights.reading import SOURCES
from weir.insights.rows import QualityRows
from weir.insights.watching import WindowKeeper
from weir.log.log import Partition, Record
from weir.log.partitioner import partition_for
from weir.ranges.errors import UnfinishedError
from weir.ranges.progress import unseen
from weir.ranges.when import Edge, When
from weir.replay import runs
from weir.replay.rebuild import handing
from weir.replay.rebuild.feedback_run import FeedbackRun
from weir.replay.rebuild.report_rebuild import RebuildReport
from weir.replay.runs import Run
from weir.settings import Settings

METRICS, SIGNALS = topics.AGENT_METRICS.name, topics.AI_LEARNING_SIGNALS.name
QUALITY, FEEDBACK = "weir-quality-changelog", "weir-feedback-changelog"
CHANGELOGS = {"quality": QUALITY, "feedback": FEEDBACK}
PARTITIONS = range(topics.AGENT_METRICS.partitions)
JUDGING = Judging(spans=SPANS, limits=replace(LIMITS, requests_min=4, signals_min=3, errors_min=1, drought_expected=3))
MODELS = [(tenant, model) for tenant in ("acme", "beta") for model in ("m0", "m1", "org/m2", "m3:7b")]
KINDS: list[tuple[FeedbackType, FeedbackSource, dict[str, Any]]] = [
    (FeedbackType.THUMBS_UP, FeedbackSource.EXPLICIT, {}),
    (FeedbackType.THUMBS_DOWN, FeedbackSource.EXPLICIT, {}),
    (FeedbackType.RATING, FeedbackSource.EXPLICIT, {"rating": 2}),
    (FeedbackType.RATING, FeedbackSource.EXPLICIT, {"rating": 5}),
    (FeedbackType.CORRECTION, FeedbackSource.EXPLICIT, {"original": "abcd", "corrected": "abXX"}),
    (FeedbackType.IMPLICIT_ACCEPT, FeedbackSource.IMPLICIT, {}),
    (FeedbackType.IMPLICIT_REJECT, FeedbackSource.RETRY, {}),
]
Formula = Mapping[FeedbackType, float]


def use(patch: pytest.MonkeyPatch, formula: Formula) -> None:
    """Another formula, for all scores from now on."""
    for kind, score in formula.items():
        patch.setitem(scores.SCORES, kind, always(score))
    patch.setitem(scores.WEIGHTS, FeedbackSource.IMPLICIT, 0.9)


def random_formula(dice: random.Random) -> Formula:
    return {kind: round(dice.uniform(-1, 1), 2) for kind in FeedbackType if dice.random() < 0.8}


class Table(dict[bytes, bytes]):
    """A table whose changelog is in the log."""

    def __init__(self, log: MemoryLog, changelog: str) -> None:
        super().__init__()
        self._log, self._changelog = log, changelog
        self.number = 0  # of the event that it is changed under

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._log.put(Partition(self._changelog, self.number), key, value)
        super().__setitem__(key, value)

    def pop(self, key: bytes, default: Any = None) -> Any:
        if key in self:
            self._log.put(Partition(self._changelog, self.number), key, None)
        return super().pop(key, default)

    def changes(self, number: int) -> list[Record]:
        return self._log.records.setdefault(Partition(self._changelog, number), [])

    def cut(self, number: int, keep: int) -> None:
        """Lose the last changes of a partition, and read all others again."""
        del self.changes(number)[keep:]
        self.clear()
        for at, records in self._log.records.items():
            for record in records if at.topic == self._changelog else ():
                assert record.key is not None
                if record.value is None:
                    super().pop(record.key, None)
                else:
                    super().__setitem__(record.key, record.value)


class HookedRows(QualityRows):
    """Rows of the quality table that a test may have fail while rebuilt rows are put in their place."""

    def __init__(self, table: Table) -> None:
        super().__init__(table)
        self.before_put: Callable[[bytes], None] = lambda _: None

    def put_raw(self, key: bytes, value: bytes | None) -> None:
        self.before_put(key)
        super().put_raw(key, value)


class Owner:
    """The insights agent of a worker that owns all partitions."""

    def __init__(self, log: MemoryLog, *, judging: Judging = JUDGING) -> None:
        self.log, self.judging = log, judging
        self.table = Table(log, QUALITY)
        self.rows = HookedRows(self.table)
        self.owns: Callable[[], bool] = lambda: True
        self.written: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)
        self.position = {Partition(topic, number): 0 for topic in (METRICS, SIGNALS) for number in PARTITIONS}
        self.watching = self.restart()

    def restart(self) -> WindowKeeper:
        self.watching = WindowKeeper(
            log=self.log,
            events=Events(self.log),
            rows=self.rows,
            spans=self.judging.spans,
            limits=self.judging.limits,
            tenant="default",
            written=self.written,
        )
        return self.watching

    async def step(self) -> bool:
        """Take the oldest new record; return whether there was one."""
        waiting = [
            (log[position].timestamp, at.topic, at.partition, log[position])
            for at, position in self.position.items()
            if position < len(log := self.log.records.get(at, []))
        ]
        if not waiting:
            return False
        record = min(waiting)[-1]
        await self.take(record)
        self.position[Partition(record.topic, record.partition)] += 1
        return True

    async def take(self, record: Record) -> None:
        self.table.number = record.partition
        await self.watching.take(record, 1, self.owns)

    async def drain(self) -> None:
        while await self.step():
            pass

    def state(self) -> Json:
        """Return all that a view shows, except what depends on places in the log."""
        return state_of(self.table)


def state_of(table: dict[bytes, bytes]) -> Json:
    rows, found = QualityRows(table), dict[str, Any]()
    for span, newest, closed in rows.windows():
        row = rows.window(span)
        assert row is not None
        found[span.path] = (row.window.flat(), newest, closed, row.pages, len(row.ids))
    for name in rows.names():
        model = rows.model(name)
        assert model is not None
        found[name] = (model.judged_until_ms, model.kept, model.active, model.late, model.ahead, rows.over(name))
    for number in PARTITIONS:
        partition = rows.partition(number)
        found[f"partition {number}"] = (partition.newest, partition.closed_ms, rows.rebuilt(number).swapping)
    return found


class Scorer:
    """The feedback agent, as far as it changes rows."""

    def __init__(self, log: MemoryLog) -> None:
        self.log, self.table = log, Table(log, FEEDBACK)
        self.position: dict[int, int] = {}

    def keep(self, piece: pieces.Piece, uid: str, signal: Json) -> None:
        self.table.number = partition_for(uid.encode(), 6)
        joined = replace(piece, state=pieces.Standing.JOINED, signal=signal)
        self.table[uid.encode()] = orjson.dumps(pieces.row_of(uid, [*pieces.pieces(self.row(uid)), joined]))

    def row(self, uid: str) -> Json | None:
        value = self.table.get(uid.encode())
        return None if value is None else cast("Json", orjson.loads(value))

    async def drain(self) -> None:
        for number in range(6):
            records = self.log.records.get(Partition(topics.AI_FEEDBACK.name, number), [])
            while (position := self.position.get(number, 0)) < len(records):
                event = envelope.decode(records[position].value)
                if event.event_type == FeedbackRescored.EVENT_TYPE:
                    data = data_of(event, FeedbackRescored)
                    numbers = {name: one.model_dump() for name, one in data.signals.items()}
                    self.table.number = number
                    row = pieces.row_of(data.uid, pieces.rescored(self.row(data.uid), numbers))
                    self.table[data.uid.encode()] = orjson.dumps(row)
                self.position[number] = position + 1
                await asyncio.sleep(0)

    def worth(self) -> dict[str, tuple[float, float]]:
        return {
            piece.feedback_id: (piece.signal["score"], piece.signal["weight"])
            for value in self.table.values()
            for piece in pieces.pieces(orjson.loads(value))
            if piece.signal
        }


class World:
    """Users, models and a worker."""

    def __init__(self, dice: random.Random, *, judging: Judging = JUDGING) -> None:
        self.dice = dice
        self.log = MemoryLog()
        self.log.now = float(T0)
        self.owner, self.scorer = Owner(self.log, judging=judging), Scorer(self.log)
        self.judging = judging
        self._ids = itertools.count()
        self._past: list[tuple[Outgoing, int]] = []

    # -- load

    def load(self, steps: int) -> None:
        for _ in range(steps):
            self.log.now = round(self.log.now + self.dice.uniform(0.01, 0.5), 3)
            self._step()

    def _step(self) -> None:
        luck, (tenant, model) = self.dice.random(), self.dice.choice(MODELS)
        if luck < 0.05 and self._past:
            event, number = self.dice.choice(self._past[-30:])  # published again
            self.append(event, number)
        elif luck < 0.08:
            self.tick(self.dice.choice(PARTITIONS))
        elif luck < 0.5:
            self.request(tenant, model)
        else:
            self.feedback(tenant, model)

    def at_s(self) -> float:
        late = self.dice.uniform(0, 6) if self.dice.random() < 0.3 else 0.0
        return self.log.now - late + (100 if self.dice.random() < 0.01 else 0)

    def request(self, tenant: str, model: str, **more: Any) -> None:
        status = "failed" if self.dice.random() < 0.15 else "completed"
        data: dict[str, Any] = {"latency_ms": self.dice.uniform(10, 9000), "cost_usd": 0.01, "status": status, **more}
        self._tell(
            MetricsRecorded(model=model, uid=self._uid(), ended_at=utc_iso(self.at_s()), attempts=1, **data), tenant
        )

    def feedback(self, tenant: str, model: str) -> str:
        kind, source, more = self.dice.choice(KINDS)
        uid, given_at = self._uid(), utc_iso(self.at_s())
        data = FeedbackSubmitted(uid=uid, response_id=uid, feedback_type=kind, feedback_source=source, **more)
        event = publishing.encode(data, tenant, event_id=f"evt-{uid}")
        number = partition_for(event.key, 6)
        offset = self.log.put(Partition(event.topic, number), event.key, event.value, event.headers)
        piece = pieces.piece_of(
            data,
            feedback_id=f"evt-{uid}",
            tenant=tenant,
            given_at=given_at,
            received_at=given_at,
            offset=offset,
            edit_distance=joining.edit_distance(data),
        )
        signal = joining.signal_of(piece, {"uid": uid, "model": model, "state": "completed"})
        self._tell(signal, tenant, joining.signal_id(piece))
        self.scorer.keep(piece, uid, joining.kept(piece, signal, given_at))
        return uid

    def tick(self, number: int) -> None:
        for data in (MetricsTick(at=utc_iso(self.log.now)), SignalsTick(at=utc_iso(self.log.now))):
            self.append(publishing.encode(data, "default"), number)

    def end(self, seconds: float) -> None:
        """Let time pass without records."""
        self.log.now += seconds
        for number in PARTITIONS:
            self.tick(number)

    def _uid(self) -> str:
        return f"u{next(self._ids)}"

    def _tell(self, data: EventData, tenant: str, event_id: str | None = None) -> None:
        event = publishing.encode(data, tenant, event_id=event_id or derived_id(next(self._ids)))
        number = partition_of(event.key.decode())
        self._past.append((event, number))
        self.append(event, number)

    def append(self, event: Outgoing, number: int) -> None:
        self.log.put(Partition(event.topic, number), event.key, event.value, event.headers)

    # -- the command

    def command(self, patience_s: float = 5.0) -> FeedbackRun:
        worker = worker_of(self.log, settings=Settings(kafka_consumer_group="weir"))
        run = FeedbackRun(worker, CHANGELOGS, unseen, patience_s)
        run._judging = self.judging
        return run

    async def asked(self, since: When = Edge.EARLIEST) -> Run:
        """Run the command up to where it waits for the first owner, and kill it there."""
        command = self.command(patience_s=0.0)
        planned = await command.plan(since, emit=False, now=self.log.now)
        run = await command.begin(planned, by="cli")
        with pytest.raises(UnfinishedError):
            await command.do(run, planned)
        return run

    async def rebuild(self, since: When = Edge.EARLIEST, *, emit: bool = False) -> RebuildReport:
        """Run the command, while the worker goes on."""
        command = self.command()
        planned = await command.plan(since, emit=emit, now=self.log.now)
        report: RebuildReport = await self.beside(command.do(await command.begin(planned, by="cli"), planned))
        return report

    async def beside(self, work: Awaitable[Any], meanwhile: Callable[[], None] = lambda: None) -> Any:
        """Let the worker go on while the command runs."""
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                meanwhile()
                await self.owner.step()
                await self.scorer.drain()
                await asyncio.sleep(0)
            return await task
        finally:
            task.cancel()

    # -- what it should be

    async def scratch(self) -> Owner:
        """Return a worker that reads both topics from their starts, with all signals scored by today's formula."""
        log, today = MemoryLog(), self.today()
        for at, records in self.log.records.items():
            if at.topic in SOURCES:
                log.records[at] = [_scored(record, today) for record in records]
        owner = Owner(log, judging=self.judging)
        await owner.drain()
        return owner

    def today(self) -> dict[str, joining.Worth]:
        found = {}
        for value in self.scorer.table.values():
            for piece in pieces.pieces(orjson.loads(value)):
                found[piece.feedback_id] = joining.worth_of(piece)
        return found

    def insights(self) -> list[envelope.Event]:
        return self._events(topics.AI_INSIGHTS.name)

    def signals(self) -> list[envelope.Event]:
        return self._events(SIGNALS)

    def _events(self, topic: str) -> list[envelope.Event]:
        logs = [records for at, records in self.log.records.items() if at.topic == topic]
        return [envelope.decode(record.value) for records in logs for record in records]


def _scored(record: Record, today: Mapping[str, joining.Worth]) -> Record:
    event = envelope.decode(record.value)
    worth = today.get(event.data.get("feedback_id", ""))
    if event.event_type == "quality.rebuilt" or event.data.get("rebuilt"):
        return record._replace(value=envelope.encode("", "nothing", "", {}), headers=())
    if worth is None or event.event_type != "signal.recorded":
        return record
    data = {**event.data, **worth._asdict()}
    return record._replace(value=envelope.encode(event.event_id, event.event_type, event.tenant_id, data))


def hurry(patch: pytest.MonkeyPatch) -> None:
    """No waits; and runs of a test, which begin in the same second, come one after the other."""
    patch.setattr(handing, "LOOK_S", 0.0)
    numbers = itertools.count()
    patch.setattr(runs, "new_run_id", lambda: f"20261121T120000Z-{next(numbers):08x}")
