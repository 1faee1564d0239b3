"""``faust -A app replay cancel``, for every kind of run that checks whether it was cancelled."""

import asyncio
import time

import pytest
from click.testing import CliRunner

from app.commands import replay_requests
from app.commands.replay import replay
from tests.unit.app.commands.helpers import parts_of, worker_with
from tests.unit.weir.log.memory_log import MemoryLog
from weir.events.publishing import Events
from weir.replay.runs import Run, RunKind, Runs


class World:
    """A worker whose log is in memory."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.log.now = time.time()

    def runs(self) -> Runs:
        return Runs(self.log, Events(self.log), tenant="default")

    async def begun(self, kind: RunKind) -> Run:
        return await self.runs().begin(kind, {"where": {"tenant": "acme"}}, [], by="cli")


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("kind", list(RunKind))
def test_a_run_is_cancelled_by_its_id(world: World, monkeypatch: pytest.MonkeyPatch, kind: RunKind) -> None:
    run = asyncio.run(world.begun(kind))
    monkeypatch.setattr(replay_requests, "parts", parts_of(worker_with(world.log, KAFKA_BOOTSTRAP_SERVERS="here:9092")))
    done = CliRunner().invoke(replay, ["cancel", run.id])
    assert done.exit_code == 0
    ended = asyncio.run(world.runs().find(run.id)).ended
    assert ended is not None
    assert ended.status == "cancelled"
