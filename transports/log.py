"""The vocabulary of a partitioned log: records, topics, and the client that both brokers offer.

A *log client* appends to and reads from partitions outside any consumer group. Everything that is fast (answer
tokens) goes through it; everything that must be shared out between workers goes through Faust's consumer group.
"""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

Headers = Sequence[tuple[str, bytes]]


def header_pairs(headers: Any) -> Headers:
    """Headers as Faust hands them over (none, a mapping, or pairs; values may be str or null) as pairs of bytes."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return tuple((str(name), value.encode() if isinstance(value, str) else value or b"") for name, value in pairs)


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Record(NamedTuple):
    """One record as it stands in the log."""

    topic: str
    partition: int
    offset: int
    timestamp: float  # seconds since the epoch, set by the writer
    key: bytes | None
    value: bytes | None  # None is a tombstone
    headers: Headers


class Bounds(NamedTuple):
    """Where a partition starts and ends: ``start <= any readable offset < end``."""

    start: int  # the oldest offset that retention has left
    end: int  # the offset that the next record will get


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """What a topic must look like when it is created."""

    name: str
    partitions: int
    retention_s: float | None = None  # None keeps records for ever
    compacted: bool = False


class LogError(Exception):
    """The log could not do what was asked. The message is one line, fit for a person, and holds no secret."""


class LogUnavailableError(LogError):
    """The broker cannot be reached or does not answer in time. The same call may succeed later."""


class LogRefusedError(LogError):
    """The broker answered no: wrong credentials, too few brokers, no such topic. Asking again will not help."""


class LogClient(Protocol):
    """Appends and reads, outside any consumer group. All times are seconds; every call has a time limit."""

    async def start(self) -> None:
        """Connect. Raises LogUnavailableError or LogRefusedError."""

    async def stop(self) -> None:
        """Flush what was appended and let go of every resource. Never raises."""

    async def create_topics(self, topics: Sequence[TopicSpec], *, replication: int) -> None:
        """Create what is missing, with partitions and retention; leave what exists as it is.

        Raises:
            LogRefusedError: fewer brokers than ``replication``, or an existing topic has another number of
                partitions than its spec says.
        """

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Known after ``start`` (and ``create_topics``), so it does not wait."""

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Awaitable[int]:
        """Enqueue one record at once, in call order per partition; await the result for its durable offset.

        Cancelling the result keeps the record out of the log if it has not left yet (Kafka: while the broker is away).

        Raises (when awaited):
            LogError: the record may or may not be in the log; read to know.
        """

    async def bounds(self, at: Partition) -> Bounds:
        """Start and end of a partition, asked of the broker."""

    async def offset_at(self, at: Partition, timestamp: float) -> int:
        """The first offset whose record is not older than ``timestamp``; the end when there is none."""

    async def read(self, at: Partition, position: int, *, limit: int = 500) -> list[Record]:
        """Records from ``position`` on (or from the log's start, if later): at most ``limit``, empty at the end.

        Holes left by compaction are skipped; the caller goes on at the last record's offset + 1.
        """

    async def follow(self, at: Partition, position: int, deliver: "Deliver") -> None:
        """Call ``deliver`` with every record from ``position`` on, as it is written, until ``unfollow``.

        One follower per partition: this is the feed under ``transports.tails.Tails``, which fans out.
        """

    async def unfollow(self, at: Partition) -> None:
        """Stop the feed of a partition."""


class Deliver(Protocol):
    """Takes a batch of records of one partition, in offset order. Must not block and must not raise."""

    def __call__(self, records: Sequence[Record], /) -> None:
        """Take the next records."""
