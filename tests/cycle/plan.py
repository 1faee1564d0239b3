"""The requests, with their times and doors. All of it follows from one seed."""

import random
from dataclasses import dataclass

from tests.fleet.asks import Ask, Door

CALL_S = (1.0, 15.0)  # length of an LLM call
TOKENS = (12, 40)  # of an answer
NAMELESS = 0.3  # share of HTTP requests that leave it to the worker to name them; others bring a uid
PONDERS = 0.2  # share of calls without a token for the first half of their time: only heartbeats show that they live


SHARES = {Door.STREAM: 55, Door.WHOLE: 30, Door.KAFKA: 15}


@dataclass(frozen=True, kw_only=True)
class Options:
    """One run."""

    requests: int = 1500
    duration_s: float = 60.0  # in which they come in
    seed: int = 0
    away_s: float = 0.0  # how much longer than its restart Kafka stays away

    @property
    def density(self) -> float:
        """Requests in flight at any time, if all goes well."""
        return self.requests / self.duration_s * sum(CALL_S) / 2


def plan(options: Options) -> list[Ask]:
    """All requests, in the order in which they come in: evenly, with a random bit."""
    chance = random.Random(options.seed)
    apart_s = options.duration_s / options.requests
    return [_ask(n, apart_s, options.seed, chance) for n in range(options.requests)]


def _ask(n: int, apart_s: float, seed: int, chance: random.Random) -> Ask:
    tokens, call_ms = chance.randint(*TOKENS), 1000 * chance.uniform(*CALL_S)
    first_ms = call_ms / 2 if chance.random() < PONDERS else 0.0
    model = f"demo:tokens={tokens},first_ms={first_ms:.0f},delay_ms={(call_ms - first_ms) / tokens:.1f}"
    door = chance.choices(list(SHARES), list(SHARES.values()))[0]
    return Ask(
        name=f"cycle-{seed}-{n}",
        door=door,
        named=door is Door.KAFKA or chance.random() >= NAMELESS,
        at_s=(n + chance.random()) * apart_s,
        body={"model": model, "messages": [{"role": "user", "content": f"request {n} of cycle {seed}"}]},
    )
