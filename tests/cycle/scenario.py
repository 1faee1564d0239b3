"""The events of a run, from top to bottom."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from aiokafka import AIOKafkaProducer

from tests.cycle.clients import SILENCE_S, Clients
from tests.cycle.plan import Options, plan
from tests.fleet.fleet import Fleet, Member
from tests.fleet.happenings import Event, Span, say
from tests.services.kafka import KafkaBroker

PROGRESS_S = 2.0

# When, as shares of the load's duration. Each moves a little with the seed.
SECOND, THIRD, KILL, REPLACE, RESTART, STOP = 0.15, 0.30, 0.45, 0.52, 0.68, 0.85
JITTER = 0.03

GROUP = "cycle"
WORKER_ENV = {
    "KAFKA_CONSUMER_GROUP": GROUP,
    "KAFKA_REPLICATION_FACTOR": "1",
    # A killed worker's partitions are reassigned after this.
    "KAFKA_SESSION_TIMEOUT_S": "6",
    # The default, set here because the cycle depends on it: longer than Kafka's restart (4 to 8 s), in which every
    # attempt is silent and none is dead; and short enough to see takeovers within the run.
    "LEASE_S": "10",
    # Longer than any call: an orderly stop leaves no answer unfinished.
    "DRAIN_S": "20",
}


@dataclass(kw_only=True)
class Run:
    """One run, with its events."""

    options: Options
    broker: KafkaBroker
    fleet: Fleet
    clients: Clients
    session: aiohttp.ClientSession
    events: list[Event] = field(default_factory=list)
    outage: Span = field(default_factory=Span)  # Kafka's absence
    load_s: float = 0.0  # from the first request to the last answer
    _phase: str = "one worker"
    _start: float = 0.0

    @property
    def logs(self) -> list[Path]:
        """The log files of the brokers."""
        return [self.broker.log]

    async def go(self) -> None:
        """Run the whole scenario; returns when every client has its answer."""
        chance = random.Random(f"events of {self.options.seed}")
        asks = plan(self.options)
        say(f"seed {self.options.seed}: {len(asks)} requests within {self.options.duration_s:g} s")
        await self.fleet.owns(await self.fleet.join())
        self._start = time.monotonic()
        progress = asyncio.create_task(self._progress())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.clients.run(asks))
                await self._at(SECOND, chance)
                group.create_task(self._join("a second worker joins"))
                await self._at(THIRD, chance)
                group.create_task(self._join("a third worker joins"))
                await self._at(KILL, chance)
                await self._kill(chance)
                await self._at(REPLACE, chance)
                group.create_task(self._join("a replacement joins"))
                await self._at(RESTART, chance)
                await self._restart_kafka()
                await self._at(STOP, chance)
                await self._stop(chance.choice(self.fleet.up))
                self._phase = "the rest"
        finally:
            progress.cancel()
            await asyncio.gather(progress, return_exceptions=True)
        self.fleet.look()
        self.load_s = time.monotonic() - self._start
        self._tell()

    # -- events

    async def _at(self, share: float, chance: random.Random) -> None:
        share += chance.uniform(-JITTER, JITTER)
        await asyncio.sleep(self._start + share * self.options.duration_s - time.monotonic())

    def _event(self, name: str) -> Event:
        self._phase = name
        event = Event(name=name, at_s=time.monotonic() - self._start, in_flight=self.clients.in_flight)
        self.events.append(event)
        self._tell()
        return event

    async def _join(self, name: str) -> None:
        event = self._event(name)
        member = await self.fleet.join()
        up_s = time.monotonic() - self._start - event.at_s
        await self.fleet.owns(member)
        owns_s = time.monotonic() - self._start - event.at_s
        event.note = f"{member.name} serves after {up_s:.1f} s, owns partitions after {owns_s:.1f} s"

    async def _kill(self, chance: random.Random) -> None:
        """Kill one of the two with the most LLM calls: a third that has just joined may have none yet."""
        event = self._event("kill -9")
        calls = {member: await self.fleet.calls_open(member) for member in self.fleet.up}
        member = chance.choice(sorted(calls, key=lambda member: calls[member])[-2:])
        self.fleet.kill(member)
        event.note = f"{member.name}, with {calls[member]} LLM calls"

    async def _restart_kafka(self) -> None:
        event = self._event("Kafka restarts")
        self.outage.began = time.time()
        await asyncio.to_thread(self.broker.stop)
        await asyncio.sleep(self.options.away_s)
        await asyncio.to_thread(self.broker.start)
        self.outage.ended = time.time()
        event.note = f"away for {self.outage.ended - self.outage.began:.1f} s"

    async def _stop(self, member: Member) -> None:
        event = self._event("SIGTERM")
        calls = await self.fleet.calls_open(member)
        await self.fleet.stop(member)
        took_s = time.monotonic() - self._start - event.at_s
        event.note = f"{member.name}, with {calls} LLM calls, ended with {member.exit_code} after {took_s:.1f} s"

    # -- progress

    async def _progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            self._tell()

    def _tell(self) -> None:
        clients, now_s = self.clients, time.monotonic() - self._start
        done = len(clients.seen) - clients.in_flight
        again = sum(len(seen.interruptions) for seen in clients.seen)
        say(
            f"{now_s:6.1f} s  {self._phase:<22} done {done:4}, in flight {clients.in_flight:3}, asked again {again:3}, "
            f"failed {clients.failed}   {self.fleet}"
        )


@asynccontextmanager
async def prepared(options: Options, folder: Path) -> AsyncIterator[Run]:
    """A Kafka, a fleet without workers, and clients without requests; all of it gone at the end."""
    async with AsyncExitStack() as stack:
        aiokafka = logging.getLogger("aiokafka")  # the clients' producer logs a Kafka that goes away
        stack.callback(aiokafka.setLevel, aiokafka.level)
        aiokafka.setLevel(logging.CRITICAL)
        broker = stack.enter_context(contextlib.closing(KafkaBroker()))
        await asyncio.to_thread(broker.start)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=SILENCE_S)
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, connector=connector))
        env = {**WORKER_ENV, "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap}
        fleet = Fleet(env, folder, session, stack)
        producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all")
        await producer.start()
        stack.push_async_callback(producer.stop)
        clients = Clients(fleet, session, producer, seed=options.seed)
        yield Run(options=options, broker=broker, fleet=fleet, clients=clients, session=session)
