"""The workers of one run: each is a real process, with an LLM of its own, so that its calls are known for sure."""

import asyncio
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

OWNS_WITHIN_S = 90.0


class State(StrEnum):
    """Where a worker stands."""

    STARTING = "starting"
    UP = "up"
    DIED = "died"  # by itself: a defect
    KILLED = "killed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(kw_only=True, eq=False)
class Member:
    """One worker and its LLM."""

    name: str
    worker: Worker
    llm: str
    state: State = State.STARTING
    killed_at: float | None = None  # seconds since the epoch
    exit_code: int | None = None  # of a stop
    calls: Counter[str] = field(default_factory=Counter)  # of its LLM, by prompt; known when the run is over

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.worker.process is not None and self.worker.process.poll() is None

    @property
    def gone(self) -> bool:
        """Whether a lost connection to it is no wonder."""
        return self.state in {State.KILLED, State.STOPPING, State.STOPPED}


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
        return ", ".join(f"{member.name} {member.state}" for member in self.members)

    def look(self) -> None:
        """Notice who has died."""
        for member in self.members:
            if member.state is State.UP and not member.alive:
                member.state = State.DIED

    @property
    def up(self) -> list[Member]:
        """Those that serve."""
        self.look()
        return [member for member in self.members if member.state is State.UP]

    def pick(self, chance: random.Random, *, not_again: Member | None = None) -> Member:
        """One that a client would ask; a stopping one has not told its clients yet."""
        self.look()
        able = [member for member in self.members if member.state in {State.UP, State.STOPPING}]
        return chance.choice([member for member in able if member is not not_again] or able)

    async def join(self) -> Member:
        """Start one more; returns when it serves."""
        llm = await self._stack.enter_async_context(serving())
        worker = Worker(env={**self._env, "OPENAI_URL": llm}, folder=self._folder)
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
        """LLM calls that it has under way."""
        return int((await self._calls(member))["open"])

    def kill(self, member: Member) -> None:
        """kill -9."""
        member.killed_at = time.time()
        member.worker.kill()
        member.state = State.KILLED

    async def stop(self, member: Member) -> None:
        """SIGTERM, and wait for its end."""
        member.state = State.STOPPING
        member.exit_code = await member.worker.stop()
        member.state = State.STOPPED

    async def count_calls(self) -> None:
        """Ask every LLM what it was asked."""
        for member in self.members:
            member.calls = Counter((await self._calls(member))["by_key"])

    async def _owners(self, member: Member) -> list[str]:
        """Who owns partitions, as this one knows it."""
        return list((await self._get(f"{member.worker.url}/requests?limit=1")).get("workers", ()))

    async def _calls(self, member: Member) -> dict[str, Any]:
        return await self._get(member.llm.removesuffix("/v1") + "/demo/calls")

    async def _get(self, url: str) -> dict[str, Any]:
        async with self._session.get(url) as answer:
            return dict(await answer.json())
