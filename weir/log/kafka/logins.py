"""Connections that Kafka refuses: tried again rarely, and told once in a while.

A password that is changed while a worker runs cuts nothing; the next connection is refused. aiokafka takes that for a
broker that is away: each of a worker's clients tries again ten times a second, for ever, and logs each time. On the
broker that is a flood of failed logins, and some lock a user out for less.

Here the connections that a process makes to one broker with one user share a `_Gate`. A refusal shuts it; then one
attempt at a time is let through, seconds apart, while the others fail at once: nobody waits for a broker that is
not asked. A success opens it. What fails is a `KafkaConnectionError`, as if the broker were away, and so nothing that
waits for it gives up: it goes on when the credentials are right again. `refused` tells that whatever else aiokafka
complains about is no news.

Every client of aiokafka, Faust's as well as ours, connects by ``aiokafka.client.create_conn``, a name in a module.
There is no other place for this that all of them pass, so `watch` puts ours there.

It bounds the time of a connection besides. A broker that hangs accepts connections and answers nothing; aiokafka waits
for it as long as for any request (Faust's producer: 20 minutes), and its client connects to no other broker meanwhile.
"""

import asyncio
import logging
import time
from typing import Any, Final

import aiokafka.client
from aiokafka.conn import AIOKafkaConnection
from aiokafka.conn import create_conn as connect
from aiokafka.errors import KafkaConnectionError, KafkaError

from weir.log.kafka.reasons import refusal
from weir.log.kafka.security import KafkaSecurity

__all__ = ["RefusedError", "connect", "refused", "watch"]

logger = logging.getLogger(__name__)

CONNECT_S: Final = 5.0  # for a connection and its login; the broker may be busy, but others can be asked
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 5.0  # how much later than it could a worker goes on, at most
TELL_S: Final = 10.0
FORGET_S: Final = 30.0  # a broker that nobody asks any more is perhaps no part of the cluster any more

_CREDENTIALS: Final = (
    "security_protocol",
    "ssl_context",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
)


class RefusedError(KafkaConnectionError):  # type: ignore[misc] # aiokafka has no types
    """Kafka does not let us in. It may later, so this is retried like any connection that fails."""


class _Gate:
    """What is known of connections to one broker, with the same credentials."""

    def __init__(self) -> None:
        self.refusal: str | None = None
        self._pause_s = FIRST_PAUSE_S
        self._next_try = self._next_told = self._refused_at = 0.0

    @property
    def shut(self) -> bool:
        """Whether a connection was refused a moment ago, and none succeeded since."""
        return self.refusal is not None and time.monotonic() - self._refused_at < FORGET_S

    def enter(self) -> bool:
        """Whether this is another try after a refusal. Raises RefusedError where it is not yet time for one."""
        if self.refusal is None:
            return False
        if (now := time.monotonic()) < self._next_try:
            raise RefusedError(self.refusal)
        self._next_try = now + self._pause_s  # this one tries, and nobody beside it
        return True

    def refuse(self, reason: str, *, again: bool) -> None:
        """A connection was refused."""
        if again:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self.refusal, self._refused_at = reason, time.monotonic()
        self._next_try = self._refused_at + self._pause_s

    def tell(self) -> None:
        """Tell of the refusal, unless that was done a moment ago."""
        if (now := time.monotonic()) >= self._next_told:
            self._next_told = now + TELL_S
            logger.error("%s. Trying again every %g s", self.refusal, LONGEST_PAUSE_S)

    def admit(self, broker: str) -> None:
        """A connection was made."""
        if self.refusal is not None:
            logger.warning("Kafka at %s lets us in again", broker)
        self.refusal, self._pause_s, self._next_told = None, FIRST_PAUSE_S, 0.0


_gates: dict[tuple[str, int], _Gate] = {}
_known: set[int] = set()  # credentials with which some broker has let us in


def refused() -> bool:
    """Whether a broker of a cluster that we are connected to does not let us in any more, and this was told."""
    return any(gate.shut and credentials in _known for (_, credentials), gate in _gates.items())


async def _create_conn(host: str, port: int, **options: Any) -> AIOKafkaConnection:
    """Connect, unless that was refused a moment ago; every client of aiokafka calls this."""
    broker, credentials = f"{host}:{port}", hash(tuple(options.get(name) for name in _CREDENTIALS))
    gate = _gates.setdefault((broker, credentials), _Gate())
    again = gate.enter()
    try:
        async with asyncio.timeout(CONNECT_S):
            connection = await connect(host, port, **options)
    except (KafkaError, OSError) as error:
        told = refusal(error, broker, KafkaSecurity.of(options))
        if told is None:
            raise
        gate.refuse(str(told), again=again)
        if credentials in _known:  # whoever connects for the first time gets the error itself
            gate.tell()
        raise RefusedError(str(told)) from error
    _known.add(credentials)
    gate.admit(broker)
    return connection


def watch() -> None:
    """See to it that every connection of aiokafka's clients from now on is made here."""
    aiokafka.client.create_conn = _create_conn
