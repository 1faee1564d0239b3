"""The faults with their times: a list that follows from the seed. The worker to hit is drawn when the fault comes."""

import random
from dataclasses import dataclass
from enum import StrEnum

from tests.chaos.plan import Options

FIRST_S = 8.0  # the first streams are under way
JITTER = 0.3  # of the time between two faults of a kind
SCALE_S = 240.0  # one time up and down
UP, DOWN = (0.06, 0.2), (0.75, 0.9)  # when workers join and leave, as shares of that


class Kind(StrEnum):
    """The kind of fault."""

    KILL = "kill -9, and start again"
    RESTART = "SIGTERM, and start again"
    PAUSE = "SIGSTOP, SIGCONT"
    JOIN = "one more worker"
    LEAVE = "one worker less"
    KAFKA = "Kafka restarts"
    RABBITMQ = "RabbitMQ restarts"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault."""

    at_s: float
    kind: Kind
    seed: int  # for random choices when it comes


def schedule(options: Options) -> list[Fault]:
    """All faults of a run, by their time."""
    chance = random.Random(f"faults of {options.seed}")
    every = {
        Kind.KILL: options.kill_every_s,
        Kind.RESTART: options.stop_every_s,
        Kind.PAUSE: options.pause_every_s,
        Kind.KAFKA: options.kafka_every_s,
        Kind.RABBITMQ: options.rabbitmq_every_s,
    }
    times = [(at_s, kind) for kind, every_s in every.items() for at_s in _times(every_s, options.seconds, chance)]
    if options.scale:
        times += _scaling(options)
    return [Fault(at_s=at_s, kind=kind, seed=chance.randrange(1 << 30)) for at_s, kind in sorted(times)]


def _times(every_s: float, seconds: float, chance: random.Random) -> list[float]:
    if not every_s:
        return []
    first_s = min(FIRST_S + every_s / 2, seconds / 2)  # rare faults come in a short run, too
    count = max(1, int((seconds - first_s) / every_s))
    jitter_s = JITTER * min(every_s, seconds / 2)
    return [first_s + every_s * n + chance.uniform(-jitter_s, jitter_s) for n in range(count)]


def _scaling(options: Options) -> list[tuple[float, Kind]]:
    """1 -> workers -> 1, again and again."""
    more, times = options.workers - 1, list[tuple[float, Kind]]()
    rounds = max(1, round(options.seconds / SCALE_S))
    length_s = options.seconds / rounds
    for number in range(rounds):
        for n in range(more):
            for kind, (first, last) in ((Kind.JOIN, UP), (Kind.LEAVE, DOWN)):
                share = first + (last - first) * n / max(1, more - 1)
                times.append(((number + share) * length_s, kind))
    return times
