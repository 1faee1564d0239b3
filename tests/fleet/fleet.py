"""The workers of one run: each is a real process, with an LLM of its own, so that its calls are known for sure."""

import asyncio
import math
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiohttp

from demo.model import serving
from tests.e2e.workers import Worker
from tests.fleet.happenings import Span
from tests.services.process import free_ports

OWNS_WITHIN_S = 90.0
STOPS_WITHIN_S = 40.0  # twice the longest drain time, which is the cycle's
TELLS_WITHIN_S = 3.0
HEARS_S = 1.0  # until a busy worker has handled a SIGTERM: it still begins calls, and hands them off


class NoWorkerServesError(Exception):
    """There is no worker to ask."""


class State(StrEnum):
    """The state of a worker."""

    STARTING = "starting"
    UP = "up"
    PAUSED = "paused"
    DIED = "died"  # ended by itself: a defect
    KILLED = "killed"
    STOPPING = "stopping"
    STOPPED = "stopped"
    STUCK = "stuck"  # it did not stop: a defect


@dataclass(kw_only=True, eq=False)
class Member:
    """One worker and its LLM."""

    name: str
    worker: Worker
    llm: str
    state: State = State.STARTING
    killed_at: float = math.inf  # seconds since the epoch
    stopping_at: float = math.inf
    pauses: list[Span] = field(default_factory=list)
    exit_code: int | None = None  # of a stop
    # Of its LLM, by prompt; known when the run is over.
    calls: Counter[str] = field(default_factory=Counter)
    began: dict[str, list[float]] = field(default_factory=dict)  # seconds since the epoch

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.worker.process is not None and self.worker.process.poll() is None

    @property
    def gone(self) -> bool:
        """Whether a lost connection to it is expected."""
        return self.state in {State.KILLED, State.STOPPING, State.STOPPED, State.STUCK}

    def gave_up(self, began: float, before: float, *, lease_s: float) -> str | None:
        """The fault that kept a worker from ending a call before some time: killed, stopped or paused."""
        if began < self.killed_at < before:
            return "killed"
        if began < self.stopping_at + HEARS_S and self.stopping_at < before:
            return "stopped"
        hung = any(p.began < before and p.ended > began and p.ended - p.began >= lease_s for p in self.pauses)
        return "paused" if hung else None


class Fleet:
    """All workers that a run has started."""

    def __init__(
        self, env: dict[str, str], folder: Path, session: aiohttp.ClientSession, stack: AsyncExitStack
    ) -> None:
        self._env = env
        self._folder = folder
        self._session = session
        self._stack = stack
        self.members: list[Member] = []

    def __str__(self) -> str:
        here = [member for member in self.members if member.alive or member.state is State.STARTING]
        told = [f"{member.name} {member.state}" for member in here]
        return ", ".join([*told, f"{len(self.members) - len(here)} gone"])

    def look(self) -> None:
        """Notice workers that have died."""
        for member in self.members:
            if member.state is State.UP and not member.alive:
                member.state = State.DIED

    @property
    def up(self) -> list[Member]:
        """The workers that serve."""
        self.look()
        return [member for member in self.members if member.state is State.UP]

    def pick(self, chance: random.Random, *, not_again: Member | None = None) -> Member:
        """A worker that a client would ask: clients do not know yet that a worker is stopping or hangs.

        Raises:
            NoWorkerServesError: no worker serves.
        """
        self.look()
        able = [member for member in self.members if member.state in {State.UP, State.STOPPING, State.PAUSED}]
        if not able:
            raise NoWorkerServesError("no worker serves")
        return chance.choice([member for member in able if member is not not_again] or able)

    async def join(self, *, port: int | None = None) -> Member:
        """Start one more worker, or one again on its former port; returns when it serves."""
        llm = await self._stack.enter_async_context(serving())
        env = {**self._env, "OPENAI_URL": llm}
        worker = Worker(env=env, folder=self._folder, port=port or free_ports(1)[0])
        member = Member(name=f"w{len(self.members) + 1}", worker=worker, llm=llm)
        self.members.append(member)
        self._stack.push_async_callback(worker.close)
        await worker.start()
        member.state = State.UP
        return member

    async def owns(self, member: Member) -> None:
        """Wait until a worker owns partitions."""
        async with asyncio.timeout(OWNS_WITHIN_S):
            while member.worker.url not in await self._owners(member):
                await asyncio.sleep(0.2)

    async def calls_open(self, member: Member) -> int:
        """LLM calls that a worker has under way."""
        return int((await self._calls(member))["open"])

    def kill(self, member: Member) -> None:
        """kill -9."""
        member.killed_at = time.time()
        member.worker.kill()
        member.state = State.KILLED

    def pause(self, member: Member) -> None:
        """SIGSTOP."""
        member.pauses.append(Span(began=time.time()))
        member.worker.pause()
        member.state = State.PAUSED

    def go_on(self, member: Member) -> None:
        """SIGCONT."""
        member.worker.go_on()
        member.pauses[-1].ended = time.time()
        member.state = State.UP

    async def stop(self, member: Member) -> None:
        """SIGTERM, and wait for its end."""
        member.state = State.STOPPING
        member.stopping_at = time.time()
        stopping = asyncio.create_task(member.worker.stop())
        await asyncio.wait({stopping}, timeout=STOPS_WITHIN_S)
        if stopping.done():
            member.exit_code, member.state = stopping.result(), State.STOPPED
            return
        member.worker.tell_tasks()
        await asyncio.sleep(TELLS_WITHIN_S)
        member.worker.kill()
        await stopping
        member.state = State.STUCK

    async def count_calls(self) -> None:
        """Ask every LLM for its calls."""
        for member in self.members:
            told = await self._calls(member)
            member.calls, member.began = Counter(told["by_key"]), dict(told["began"])

    async def _owners(self, member: Member) -> list[str]:
        """The workers that own partitions, as this worker knows it."""
        return list((await self._get(f"{member.worker.url}/requests?limit=1")).get("workers", ()))

    async def _calls(self, member: Member) -> dict[str, Any]:
        return await self._get(member.llm.removesuffix("/v1") + "/demo/calls")

    async def _get(self, url: str) -> dict[str, Any]:
        async with self._session.get(url) as answer:
            return dict(await answer.json())
