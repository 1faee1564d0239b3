"""The requests, with their times, doors and manners. All of it follows from one seed."""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tests.fleet.asks import Ask, Door

PER_SECOND = 3.0  # requests, unless the options say how many
DELAY_MS = (50.0, 150.0)  # between two tokens
PONDERS = 0.15  # share of calls without a token for the first half of their time: only heartbeats show that they live
SHARES = {Door.STREAM: 500, Door.WHOLE: 60, Door.RABBITMQ: 100, Door.KAFKA: 60}

# Of HTTP requests.
NAMELESS = 0.3  # the worker names them; never JSON requests, for a client needs the name to repeat one
KEYED = 0.2  # bring an Idempotency-Key instead of a uid

# Of all requests.
CANCELLED = 0.08
BOUNDED = 0.06  # have a deadline
SHARED = 0.25  # have more readers
CONFLICTED = 0.03  # another client sends another body with the same name

# Of streams by HTTP.
LEAVES = 0.25  # hang up and come back
LEAVES_FOR_GOOD = 0.03  # and want the request cancelled then
ON_DISCONNECT_CANCEL = 0.1

PATIENCE_S = ((5.0, 8.0), (30.0, 60.0))  # silence after which a client takes its worker for dead: most, and some
PATIENT = 0.3
JSON_PATIENCE_S = (25.0, 60.0)


@dataclass(frozen=True, kw_only=True)
class Options:
    """One run."""

    seed: int = 0
    seconds: float = 240.0  # over which requests and faults come
    requests: int = 0  # 0: three a second
    streams_s: tuple[float, float] = (5.0, 20.0)  # length of an answer
    workers: int = 3
    kill_every_s: float = 10.0  # 0: never; likewise below
    stop_every_s: float = 15.0
    pause_every_s: float = 40.0
    kafka_every_s: float = 120.0
    rabbitmq_every_s: float = 90.0
    scale: bool = True  # 1 -> workers -> 1; else all of the time all of them

    @property
    def count(self) -> int:
        """The number of requests."""
        return self.requests or round(self.seconds * PER_SECOND)


class Way(StrEnum):
    """How another client uses a request that has its reader."""

    AGAIN = "sends it again"
    START = "reads from the start"
    MIDDLE = "reads from an event on"
    CONFLICT = "sends something else under its name"


@dataclass(frozen=True, kw_only=True)
class Other:
    """Another client of a request."""

    way: Way
    after_s: float  # since the request was asked


@dataclass(frozen=True, kw_only=True)
class Leave:
    """A client hangs up."""

    events: int  # when it has received so many
    away_s: float | None  # None: for good


@dataclass(frozen=True, kw_only=True)
class Manner(Ask):
    """One request, with the behaviour of its client."""

    keyed: bool = False  # its name is an Idempotency-Key
    streams: bool = True  # tokens as they come
    deadline_s: float | None = None
    cancel_s: float | None = None  # cancelled so long after it was asked
    on_disconnect: str | None = None
    patience_s: float = 60.0
    leaves: tuple[Leave, ...] = ()
    others: tuple[Other, ...] = ()

    @property
    def extra(self) -> dict[str, Any]:
        """Weir's own fields of the body."""
        given = {"deadline_s": self.deadline_s, "on_disconnect": self.on_disconnect}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def leaves_for_good(self) -> bool:
        """Whether the client does not come back."""
        return any(leave.away_s is None for leave in self.leaves)

    @property
    def may_be_cancelled(self) -> bool:
        """Whether its behaviour can lead to a cancel."""
        return self.cancel_s is not None or self.on_disconnect is not None or not self.named


def plan(options: Options) -> list[Manner]:
    """All requests, in the order in which they come in: evenly, with a random bit."""
    chance = random.Random(options.seed)
    apart_s = options.seconds / options.count
    weights = sum(SHARES.values())
    doors = [door for door, share in SHARES.items() for _ in range(round(options.count * share / weights))]
    doors += [Door.STREAM] * (options.count - len(doors))
    chance.shuffle(doors)
    return [_manner(n, door, apart_s, options, chance) for n, door in enumerate(doors[: options.count])]


def _manner(n: int, door: Door, apart_s: float, options: Options, chance: random.Random) -> Manner:
    call_s = chance.uniform(*options.streams_s)
    ponders_s = call_s / 2 if chance.random() < PONDERS else 0.0
    delay_ms = chance.uniform(*DELAY_MS)
    tokens = max(1, round((call_s - ponders_s) * 1000 / delay_ms))
    by_http = door in {Door.STREAM, Door.WHOLE}
    keyed = by_http and chance.random() < KEYED
    named = not by_http or keyed or door is Door.WHOLE or chance.random() >= NAMELESS
    leaves, on_disconnect = _leaves(tokens, chance) if door is Door.STREAM else ((), None)
    return Manner(
        name=f"chaos-{options.seed}-{n}",
        door=door,
        named=named,
        keyed=keyed,
        at_s=(n + chance.random()) * apart_s,
        body={
            "model": f"demo:tokens={tokens},first_ms={1000 * ponders_s:.0f},delay_ms={delay_ms:.1f}",
            "messages": [{"role": "user", "content": f"request {n} of chaos {options.seed}"}],
        },
        streams=door is Door.STREAM or (door is Door.RABBITMQ and chance.random() < 0.8),
        deadline_s=chance.uniform(0.1, call_s) if chance.random() < BOUNDED else None,
        cancel_s=chance.uniform(0.0, call_s) if chance.random() < CANCELLED else None,
        on_disconnect=on_disconnect,
        patience_s=_patience_s(door, chance),
        leaves=leaves,
        others=_others(door, call_s, chance, named=named) if on_disconnect is None else (),
    )


def _patience_s(door: Door, chance: random.Random) -> float:
    if door is Door.WHOLE:
        return chance.uniform(*JSON_PATIENCE_S)
    return chance.uniform(*PATIENCE_S[chance.random() < PATIENT])


def _leaves(tokens: int, chance: random.Random) -> tuple[tuple[Leave, ...], str | None]:
    """When a client hangs up, and its on_disconnect."""
    if chance.random() < LEAVES_FOR_GOOD:
        return (Leave(events=chance.randint(1, tokens), away_s=None),), "cancel"
    cancel = "cancel" if chance.random() < ON_DISCONNECT_CANCEL else None
    if chance.random() >= LEAVES:
        return (), cancel
    places = sorted(chance.sample(range(1, tokens + 1), min(tokens, chance.randint(1, 3))))
    return tuple(Leave(events=events, away_s=chance.uniform(0.0, 3.0)) for events in places), cancel


def _others(door: Door, call_s: float, chance: random.Random, *, named: bool) -> tuple[Other, ...]:
    ways: list[Way] = []
    if chance.random() < SHARED:
        ways += chance.choices([Way.START, Way.MIDDLE, *([Way.AGAIN] * 2 if named else [])], k=chance.randint(1, 3))
    # For the others the time of their record is not known, and the first of two bodies counts.
    if named and door in {Door.STREAM, Door.KAFKA} and chance.random() < CONFLICTED:
        ways.append(Way.CONFLICT)
    # Clients that send it again come within the same instant, or late.
    return tuple(Other(way=way, after_s=chance.choice([0.0, chance.uniform(0.0, 1.3 * call_s)])) for way in ways)
