"""The vocabulary of a partitioned log: records, topics, and the client that both brokers offer.

A *log client* appends to and reads from partitions outside any consumer group. Answer tokens go through it, because it
is fast; work that must be shared out between workers goes through Faust's consumer group.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from weir.log.partitioner import partition_for

_TOPIC_NAME: Final = re.compile(r"(?!\.{1,2}\Z)[a-zA-Z0-9._-]{1,249}")  # Kafka's rule

RECORD_OVERHEAD_BYTES: Final = 100  # size of a record in a batch of its own, besides its key, value and headers

Headers = Sequence[tuple[str, bytes]]
Retentions = Mapping[str, float | None]  # by topic: how long it keeps a record, in seconds; None for ever


def header_pairs(headers: Any) -> Headers:
    """Headers as pairs of bytes, from what Faust hands over: none, a mapping, or pairs; values may be str or null."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers or ()
    return tuple((str(name), value.encode() if isinstance(value, str) else value or b"") for name, value in pairs)


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Record(NamedTuple):
    """One record of the log."""

    topic: str
    partition: int
    offset: int
    timestamp: float  # seconds since the epoch, set by the writer
    key: bytes | None
    value: bytes | None  # None is a tombstone
    headers: Headers


class Delivered(Protocol):
    """A record that the consumer group delivered to this worker: what agents hand to the parts (Faust's event)."""

    @property
    def message(self) -> Any:
        """Topic, partition, offset, key, value, headers, timestamp, and the generation that it was delivered in."""

    def ack(self) -> object:
        """Let its offset be committed, once all before it are acknowledged."""


def record_of(message: Any, prefix: str = "") -> Record:
    """The record that a message of Faust was made of; its topic has no prefix, unlike on the brokers."""
    return Record(
        message.topic.removeprefix(prefix),
        message.partition,
        message.offset,
        message.timestamp,
        message.key,
        message.value,
        header_pairs(message.headers),
    )


class Bounds(NamedTuple):
    """Where a partition starts and ends: ``start <= any readable offset < end``."""

    start: int  # the oldest offset that retention has left
    end: int  # the offset that the next record will get; on Kafka, where the oldest open transaction begins, if earlier


class LogOffset(NamedTuple):
    """An offset, and the log that it belongs to."""

    offset: int
    topic_id: str  # see `LogClient.topic_id`


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """What a topic must look like when it is created."""

    name: str
    partitions: int
    retention_s: float | None = None  # None keeps records for ever
    compacted: bool = False


def check_specs(topics: Iterable[TopicSpec]) -> None:
    """Check specs before anything is created.

    Raises:
        LogRefusedError: a name that no topic can have, or a topic without partitions.
    """
    for topic in topics:
        if not _TOPIC_NAME.fullmatch(topic.name):
            raise LogRefusedError(
                f"{topic.name!r} is not a valid topic name: 1 to 249 letters, digits, dots, dashes and underscores"
            )
        if topic.partitions < 1:
            raise LogRefusedError(f"topic {topic.name} needs at least one partition, not {topic.partitions}")


class LogError(Exception):
    """The log could not do what was asked. The message is one line for a person to read, and holds no secret."""


class LogUnavailableError(LogError):
    """The broker cannot be reached or does not answer in time. The same call may succeed later."""


class LogRefusedError(LogError):
    """The broker refused: wrong credentials, too few brokers, no such topic. Asking again will not help."""


class OtherPartitionsError(LogRefusedError):
    """A topic has another number of partitions than it must have: the number decides which partition a key is in."""

    def __init__(self, topic: str, found: int, expected: int) -> None:
        super().__init__(f"topic {topic} has {found} partitions, and not {expected}")
        self.topic, self.found, self.expected = topic, found, expected


class LogReplacedError(LogError):
    """The log ends before a position that it had reached: its topic was deleted and recreated, or truncated.

    Records read before are gone, and saved offsets mean nothing in it. Asking again will not help.
    """


class RecordTooLargeError(LogRefusedError):
    """The record is larger than the client or the topic takes. It is not in the log; a smaller one may be taken."""


class LogClient(Protocol):
    """Appends and reads, outside any consumer group. All times are seconds; every call has a time limit.

    These promises hold on both brokers; ``tests/contracts/test_log*.py`` prove them on each.

    * Offsets of a partition only rise, and no record has two of them. They may have holes, where compaction removed
      records (never the last of a partition), and the log may start late, where retention removed its beginning.
    * An acknowledged record survives the writer's death, and every client in every process can read it at once; on
      Kafka, once every transaction that another client has open before it in the partition is over.
    * Records of an aborted transaction are in no log: they are skipped, and so are Kafka's control records.
    * Removal is not an event: a record that retention or compaction may remove can be read until it is removed. A
      reader that retention has overtaken goes on at the log's start; it can tell by the offset of the next record.
    * A call about a topic or partition that does not exist is refused; a topic that another client has created
      meanwhile is found.
    * Before ``start`` and after ``stop`` every call raises LogUnavailableError.
    """

    async def start(self) -> None:
        """Connect; does nothing when already started. Raises LogUnavailableError or LogRefusedError."""

    async def stop(self) -> None:
        """Flush pending appends and release every resource. Never raises."""

    async def create_topics(self, topics: Sequence[TopicSpec], *, replication: int) -> Retentions:
        """Create the missing topics, with partitions, retention and compaction.

        An existing topic keeps its compaction, and on Kafka its retention, which operators set there with their own
        tools. An embedded log has no other tool: there the retention of the spec holds from now on.

        A topic with both is compacted, and also loses its old records. Several clients may create topics at the same
        time.

        Returns:
            How long each topic keeps its records, as far as the client may ask.

        Raises:
            OtherPartitionsError: an existing topic has another number of partitions than its spec says. Nothing was
                created, unless another client created that topic at this very moment.
            LogRefusedError: a spec that no log can have (`check_specs`). Nothing was created.
            LogUnavailableError: fewer brokers are up than ``replication`` asks for, or a partition has no leader.
        """

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has. Known after ``start`` (and ``create_topics``), so it does not wait.

        For a topic that this client has created or checked (`create_topics`) it is the number found then, even if
        partitions are added later: the number decides which partition a key is in. For a topic that another client has
        created since, a client that must ask over the network may answer only after another call about that topic.

        Raises:
            LogRefusedError: no such topic, according to the latest metadata.
        """

    async def topic_id(self, topic: str) -> str:
        """The identity of a topic, asked of the broker: another one after the topic was deleted and recreated.

        Empty where there is none: on the embedded log, whose topics are all in one file, and on a Kafka before 2.8.

        Raises:
            LogRefusedError: no such topic.
        """

    def record_max_bytes(self, topic: str) -> int:
        """The largest record that a topic takes: key, value and headers, and ``RECORD_OVERHEAD_BYTES``.

        For a topic whose limit is not known it is the client's own. Known after ``create_topics``; a limit that is
        changed later is known after the next start, or once a record was refused.
        """

    def append(
        self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> Awaitable[int]:
        """Enqueue one record at once, in call order per partition; await the result for its durable offset.

        Cancelling the result keeps the record out of the log if it was not sent yet (Kafka: while the broker is away).

        Raises (when awaited):
            RecordTooLargeError: the record, with its key and headers, is larger than the client's limit or the topic's.
                It is not in the log, and no other record fails with it.
            LogRefusedError: there is no such topic or partition. It is not in the log, and no other record fails with
                it.
            LogUnavailableError: too many bytes wait to be written already; raised at once, and not in the log.
            LogError: the record may or may not be in the log; read to know. A record without a key in a compacted topic
                ends like this, too.
        """

    async def bounds(self, at: Partition) -> Bounds:
        """Start and end of a partition, asked of the broker."""

    async def offset_at(self, at: Partition, timestamp: float) -> int:
        """The first offset whose record is not older than ``timestamp``; the end when there is none.

        Logs keep milliseconds at least, so a timestamp that was read from a record finds that record.
        """

    async def read(self, at: Partition, position: int, *, limit: int = 500) -> list[Record]:
        """Records from ``position`` on (or from the log's start, if later): at most ``limit``, empty at the end.

        A page may be shorter than ``limit`` before the end, but never empty; a position behind the end is empty. Holes
        left by compaction are skipped; the caller goes on at the last record's offset + 1.
        """

    async def follow(
        self, at: Partition, position: int, deliver: "Deliver", on_replaced: Callable[[], None] = lambda: None
    ) -> None:
        """Call ``deliver`` with every record from ``position`` on, as it is written, until ``unfollow``.

        ``position`` may lie before the log's start, and then the feed begins at the start, or behind its end, and then
        records below the position are not delivered. One follower per partition and client: this is the feed under
        ``weir.log.tails.Tails``, which fans out. A follower that raises is logged, loses that batch and goes on.

        ``on_replaced`` is called once if the log turns out to be another one than that which was followed, or shorter
        than the part delivered (`LogReplacedError`). The partition is not followed any more then.

        Raises:
            LogRefusedError: no such partition, or it is followed already.
        """

    async def unfollow(self, at: Partition) -> None:
        """Stop the feed of a partition, if there is one; nothing is delivered after the call."""


def partition_of(log: LogClient, topic: str, key: bytes) -> Partition:
    """The partition of a topic that a key belongs to.

    Raises:
        LogRefusedError: no such topic.
    """
    return Partition(topic, partition_for(key, log.partitions(topic)))


async def record_at(log: LogClient, at: Partition, offset: int) -> Record | None:
    """The record at an offset; None if there is none, any more or yet.

    Raises:
        LogError: the log cannot be read.
    """
    found = await log.read(at, offset, limit=1)
    return found[0] if found and found[0].offset == offset else None


def value_max_bytes(log: LogClient, topic: str, key: bytes) -> int:
    """The largest value that a topic takes under a key, without headers."""
    return log.record_max_bytes(topic) - len(key) - RECORD_OVERHEAD_BYTES


class Deliver(Protocol):
    """Takes a batch of records of one partition, in offset order. Must not block and must not raise."""

    def __call__(self, records: Sequence[Record], /) -> None:
        """Take the next records."""
