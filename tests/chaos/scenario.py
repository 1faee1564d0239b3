"""The run: brokers, workers, clients, and the faults as they come."""

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

from tests.chaos.clients import Clients
from tests.chaos.http import Http
from tests.chaos.mailboxes import Mailboxes
from tests.chaos.plan import Options, plan
from tests.chaos.schedule import Fault, Kind, schedule
from tests.fleet.fleet import Fleet, Member
from tests.fleet.happenings import Event, Span, say
from tests.services.__main__ import start_all
from tests.services.kafka import KafkaBroker
from tests.services.rabbitmq import RabbitBroker

PROGRESS_S = 5.0
LOOK_S = 0.1
BACK_S = (0.2, 3.0)  # before a killed worker is started again
AWAY_S = (0.0, 5.0)  # how long a broker stays away, besides its restart
HANGS_S = (1.0, 4.0)  # how long a paused worker hangs, besides its lease and its session

GROUP = "chaos"
LEASE_S = 3.0
SESSION_S = 3.0
GRACE_S = 8.0
WORKER_ENV = {
    "KAFKA_CONSUMER_GROUP": GROUP,
    "KAFKA_REPLICATION_FACTOR": "1",
    "KAFKA_SESSION_TIMEOUT_S": f"{SESSION_S:g}",
    "LEASE_S": f"{LEASE_S:g}",
    # Shorter than most answers: a stop hands its calls over.
    "DRAIN_S": "2",
    "OPENAI_CONTINUATION": "prefill",
    # With one worker left, which is killed and stopped again and again, an answer of 20 s needs more than usual.
    "ATTEMPTS_MAX": "50",
    "DISCONNECT_GRACE_S": f"{GRACE_S:g}",
    # A client soon takes a silent worker for dead, so a worker sends heartbeats sooner.
    "SSE_HEARTBEAT_S": "2",
    # A worker that starts while Kafka restarts waits for it.
    "KAFKA_START_WAIT_S": "60",
}


@dataclass(kw_only=True)
class Run:
    """One run, with its faults."""

    options: Options
    kafka: KafkaBroker
    rabbitmq: RabbitBroker
    fleet: Fleet
    clients: Clients
    mailboxes: Mailboxes
    session: aiohttp.ClientSession
    events: list[Event] = field(default_factory=list)
    outages: list[Span] = field(default_factory=list)  # of Kafka
    held: int = 0  # LLM calls in flight on workers that were killed, stopped or paused
    load_s: float = 0.0  # from the first request to the last answer
    _start: float = 0.0

    @property
    def logs(self) -> list[Path]:
        """The log files of the brokers."""
        return [self.kafka.log, self.rabbitmq.log]

    async def go(self) -> None:
        """Run it; returns when every client has its answer."""
        options = self.options
        asks, faults = plan(options), schedule(options)
        say(f"seed {options.seed}: {len(asks)} requests and {len(faults)} faults within {options.seconds:g} s")
        await asyncio.gather(*(self.fleet.join() for _ in range(1 if options.scale else options.workers)))
        await self.fleet.owns(self.fleet.members[0])
        self._start = time.monotonic()
        progress = asyncio.create_task(self._progress())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.clients.run(asks, options.seconds))
                for fault in faults:
                    await asyncio.sleep(self._start + fault.at_s - time.monotonic())
                    group.create_task(self._do(fault))
        finally:
            progress.cancel()
            await asyncio.gather(progress, return_exceptions=True)
        self.fleet.look()
        self.load_s = time.monotonic() - self._start
        self._tell("the end")

    # -- faults

    async def _do(self, fault: Fault) -> None:
        does = {
            Kind.KILL: self._kill,
            Kind.RESTART: self._restart,
            Kind.PAUSE: self._pause,
            Kind.JOIN: self._join,
            Kind.LEAVE: self._leave,
            Kind.KAFKA: self._restart_kafka,
            Kind.RABBITMQ: self._restart_rabbitmq,
        }
        await does[fault.kind](fault, random.Random(fault.seed))

    def _event(self, fault: Fault, note: str = "") -> Event:
        now_s = time.monotonic() - self._start
        event = Event(name=fault.kind, at_s=now_s, in_flight=self.clients.in_flight, note=note)
        self.events.append(event)
        self._tell(f"{fault.kind}: {note}")
        return event

    async def _victim(self, fault: Fault, chance: random.Random) -> tuple[Member, Event]:
        """One of the workers that serve; waits for one, if there is none."""
        while True:
            while not self.fleet.up:
                await asyncio.sleep(LOOK_S)
            member = chance.choice(self.fleet.up)
            calls = await self.fleet.calls_open(member)
            if member in self.fleet.up:  # no other fault has hit it meanwhile
                self.held += calls
                return member, self._event(fault, f"{member.name}, with {calls} LLM calls")

    async def _kill(self, fault: Fault, chance: random.Random) -> None:
        member, _ = await self._victim(fault, chance)
        self.fleet.kill(member)
        await asyncio.sleep(chance.uniform(*BACK_S))
        await self.fleet.join(port=member.worker.port)

    async def _restart(self, fault: Fault, chance: random.Random) -> None:
        await self.fleet.join(port=(await self._stop(fault, chance)).worker.port)

    async def _leave(self, fault: Fault, chance: random.Random) -> None:
        await self._stop(fault, chance)

    async def _stop(self, fault: Fault, chance: random.Random) -> Member:
        member, event = await self._victim(fault, chance)
        began = time.monotonic()
        await self.fleet.stop(member)
        event.note += f", ended with {member.exit_code} after {time.monotonic() - began:.1f} s"
        return member

    async def _pause(self, fault: Fault, chance: random.Random) -> None:
        member, event = await self._victim(fault, chance)
        hangs_s = LEASE_S + SESSION_S + chance.uniform(*HANGS_S)
        self.fleet.pause(member)
        event.note += f", for {hangs_s:.1f} s"
        await asyncio.sleep(hangs_s)
        self.fleet.go_on(member)

    async def _join(self, fault: Fault, _: random.Random) -> None:
        event = self._event(fault)
        began = time.monotonic()
        member = await self.fleet.join()
        event.note = f"{member.name} serves after {time.monotonic() - began:.1f} s"

    async def _restart_kafka(self, fault: Fault, chance: random.Random) -> None:
        outage, event = Span(began=time.time()), self._event(fault)
        self.outages.append(outage)
        await asyncio.to_thread(self.kafka.stop)
        await asyncio.sleep(chance.uniform(*AWAY_S))
        await asyncio.to_thread(self.kafka.start)
        outage.ended = time.time()
        event.note = f"away for {outage.ended - outage.began:.1f} s"

    async def _restart_rabbitmq(self, fault: Fault, chance: random.Random) -> None:
        event, began = self._event(fault), time.monotonic()
        await self.mailboxes.quiet()
        await asyncio.to_thread(self.rabbitmq.stop)
        await asyncio.sleep(chance.uniform(*AWAY_S))
        await asyncio.to_thread(self.rabbitmq.start)
        event.note = f"away for {time.monotonic() - began:.1f} s"

    # -- progress

    async def _progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            self._tell("")

    def _tell(self, what: str) -> None:
        clients, now_s = self.clients, time.monotonic() - self._start
        done = len(clients.seen) - clients.in_flight
        say(
            f"{now_s:6.1f} s  done {done:4}, in flight {clients.in_flight:3}, "
            f"asked again {clients.interruptions.total():4}, failed {clients.failed}   {self.fleet}   {what}".rstrip()
        )


@asynccontextmanager
async def prepared(options: Options, folder: Path) -> AsyncIterator[Run]:
    """Brokers, a fleet without workers, and clients without requests; all of it gone at the end."""
    async with AsyncExitStack() as stack:
        # Log lines of the clients' libraries about brokers that go away, and of the LLMs' server about workers that do.
        for name in ("aiokafka", "aio_pika", "aiormq", "aiohttp.server"):
            logger = logging.getLogger(name)
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.CRITICAL)
        kafka = stack.enter_context(contextlib.closing(KafkaBroker()))
        rabbitmq = stack.enter_context(contextlib.closing(RabbitBroker()))
        await asyncio.to_thread(start_all, [kafka, rabbitmq])
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        await stack.enter_async_context(session)
        env = {**WORKER_ENV, "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap, "RABBITMQ_URL": rabbitmq.url}
        fleet = Fleet(env, folder, session, stack)
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all", enable_idempotence=True)
        await producer.start()
        stack.push_async_callback(producer.stop)
        mailboxes = Mailboxes(rabbitmq.url)
        await mailboxes.start()
        stack.push_async_callback(mailboxes.stop)
        http = Http(fleet, session, random.Random(f"workers of {options.seed}"))
        yield Run(
            options=options,
            kafka=kafka,
            rabbitmq=rabbitmq,
            fleet=fleet,
            clients=Clients(http, producer, mailboxes, seed=options.seed),
            mailboxes=mailboxes,
            session=session,
        )
