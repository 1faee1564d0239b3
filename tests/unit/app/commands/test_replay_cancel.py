"""``faust -A app replay cancel``: of every kind of run that looks whether it is still wanted."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from app.commands import replay_requests
from app.commands.replay import replay
from tests.unit.weir.log.memory_log import MemoryLog
from weir.chat.audit import Audit
from weir.events.publishing import Events
from weir.replay.runs import Kind, Run, Runs


class World:
    """An application whose log is in memory."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.log.now = time.time()

    def app(self) -> Any:
        events = Events(self.log)
        settings = SimpleNamespace(default_tenant="default")
        return SimpleNamespace(log_client=self.log, events=events, settings=settings, audit=Audit(events))

    def runs(self) -> Runs:
        return Runs(self.log, Events(self.log), tenant="default")

    async def begun(self, kind: Kind) -> Run:
        return await self.runs().begin(kind, {"where": {"tenant": "acme"}}, [], by="cli")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()

    @asynccontextmanager
    async def connected(app: Any) -> AsyncIterator[Any]:
        yield app
        await app.events.drain(5)

    monkeypatch.setattr(replay_requests, "connected", connected)
    return made


@pytest.mark.parametrize("kind", list(Kind))
def test_a_run_is_cancelled_by_its_id(world: World, monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    run = asyncio.run(world.begun(kind))
    monkeypatch.setattr(replay_requests, "app", world.app())
    done = CliRunner().invoke(replay, ["cancel", run.id])
    assert done.exit_code == 0
    ended = asyncio.run(world.runs().find(run.id)).ended
    assert ended is not None
    assert ended.status == "cancelled"
