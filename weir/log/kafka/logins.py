"""Limits how often a refused connection to Kafka is tried again, and how often the refusal is logged.

A password that is changed while a worker runs cuts no connection; the next connection is refused. aiokafka treats that
like a broker that is away: each of a worker's clients tries again ten times a second, for ever, and logs each time. On
the broker that is a flood of failed logins, and some brokers lock a user out for less.

Here the connections that a process makes to one broker with one user share a `_Gate`. A refusal shuts the gate; then
one attempt at a time is let through, seconds apart, while the others fail at once instead of waiting for a broker that
is not asked. A success opens the gate. A refused attempt raises `KafkaConnectionError`, as if the broker were away, so
its caller retries, and goes on when the credentials are right again. While `refused` is true, other complaints of
aiokafka need not be logged.

Every client of aiokafka, Faust's as well as Weir's, connects by ``aiokafka.client.create_conn``, a name in a module. No
other place is passed by all of them, so `watch` replaces that function.

It also limits the time of a connection. A broker that hangs accepts connections and answers nothing; aiokafka waits for
it as long as for any request (Faust's producer: 20 minutes), and its client connects to no other broker meanwhile.
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

__all__ = ["LoginRefusedError", "connect", "refused", "watch"]

logger = logging.getLogger(__name__)

CONNECT_S: Final = 5.0  # for a connection and its login; a busy broker may take longer, but other brokers can be asked
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 5.0  # the longest delay, after a refusal ends, until a worker connects again
LOG_S: Final = 10.0
FORGET_S: Final = 30.0  # a broker that no client asked for this long may have left the cluster

_CREDENTIALS: Final = (
    "security_protocol",
    "ssl_context",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
)


class LoginRefusedError(KafkaConnectionError):  # type: ignore[misc] # aiokafka has no types
    """Kafka refuses the credentials. It may accept them later, so this is retried like any failed connection."""


class _Gate:
    """The state of connections to one broker, with the same credentials."""

    def __init__(self) -> None:
        self.refusal: str | None = None
        self._pause_s = FIRST_PAUSE_S
        self._next_try = self._next_log = self._refused_at = 0.0

    @property
    def shut(self) -> bool:
        """Whether a connection was refused a moment ago, and none succeeded since."""
        return self.refusal is not None and time.monotonic() - self._refused_at < FORGET_S

    def enter(self) -> bool:
        """Whether this attempt follows a refusal. Raises RefusedError while it is too early for another attempt."""
        if self.refusal is None:
            return False
        if (now := time.monotonic()) < self._next_try:
            raise LoginRefusedError(self.refusal)
        self._next_try = now + self._pause_s  # this attempt is let through, and no other beside it
        return True

    def refuse(self, reason: str, *, again: bool) -> None:
        """Note that a connection was refused."""
        if again:
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self.refusal, self._refused_at = reason, time.monotonic()
        self._next_try = self._refused_at + self._pause_s

    def log(self) -> None:
        """Log the refusal, unless that was done a moment ago."""
        if (now := time.monotonic()) >= self._next_log:
            self._next_log = now + LOG_S
            logger.error("%s. Trying again every %g s", self.refusal, LONGEST_PAUSE_S)

    def admit(self, broker: str) -> None:
        """Note that a connection was accepted, and log it after a refusal."""
        if self.refusal is not None:
            logger.warning("Kafka at %s accepts connections again", broker)
        self.refusal, self._pause_s, self._next_log = None, FIRST_PAUSE_S, 0.0


_gates: dict[tuple[str, int], _Gate] = {}
_known: set[int] = set()  # credentials that some broker has accepted


def refused() -> bool:
    """Whether a broker of a connected cluster refuses the credentials now, and that was logged."""
    return any(gate.shut and credentials in _known for (_, credentials), gate in _gates.items())


async def _create_conn(host: str, port: int, **options: Any) -> AIOKafkaConnection:
    """Connect, unless the broker refused a moment ago; every client of aiokafka calls this."""
    broker, credentials = f"{host}:{port}", hash(tuple(options.get(name) for name in _CREDENTIALS))
    gate = _gates.setdefault((broker, credentials), _Gate())
    again = gate.enter()
    try:
        async with asyncio.timeout(CONNECT_S):
            connection = await connect(host, port, **options)
    except (KafkaError, OSError) as error:
        reason = refusal(error, broker, KafkaSecurity.of(options))
        if reason is None:
            raise
        gate.refuse(str(reason), again=again)
        if credentials in _known:  # a first connection raises the error to its caller instead
            gate.log()
        raise LoginRefusedError(str(reason)) from error
    _known.add(credentials)
    gate.admit(broker)
    return connection


def watch() -> None:
    """Make every connection of aiokafka's clients from now on pass the gates."""
    aiokafka.client.create_conn = _create_conn
