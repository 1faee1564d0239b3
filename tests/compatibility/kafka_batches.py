"""Records in Kafka: compressed by different programs, and sometimes damaged by a disk."""

from dataclasses import dataclass
from typing import Final

from tests.compatibility.cases import Case, Sheet
from tests.services.segments import ATTRIBUTES, CHECKSUM, COUNT, RECORDS, Damage

READ: Final = "the records are read, on every path"
PASSED_OVER: Final = "the batch is skipped, with an error in the log and a dead letter; later batches are read"


@dataclass(frozen=True, kw_only=True)
class BatchCase(Case):
    """Three batches are written; the one in the middle is damaged, if the case says so."""

    producer: str | None = None  # the program's compression.type
    topic: str = "producer"  # the topic's compression.type
    damage: Damage | None = None


def _written(codec: str) -> BatchCase:
    return BatchCase(
        id=f"kafka-producer-{codec}",
        peer="any Kafka producer",
        does=f"writes with `compression.type={codec}`",
        gets=READ,
        producer=codec,
    )


def _stored(codec: str, producer: str | None = None) -> BatchCase:
    by = f", and the producer with {producer}" if producer else ""
    return BatchCase(
        id=f"kafka-topic-{codec}" + (f"-from-{producer}" if producer else ""),
        peer="Kafka",
        does=f"compresses a topic's records with `compression.type={codec}`{by}",
        gets=READ,
        producer=producer,
        topic=codec,
    )


def _damaged(name: str, does: str, damage: Damage, producer: str | None = None) -> BatchCase:
    return BatchCase(
        id=f"kafka-disk-{name}", peer="Kafka", does=does, gets=PASSED_OVER, producer=producer, damage=damage
    )


CODECS: Final = ("gzip", "snappy", "lz4", "zstd")
UNKNOWN: Final = b"\x00\x05"  # attributes: an unknown kind of compression

SHEET = Sheet(
    title="Batches in Kafka",
    about="Every compression of Kafka is read, also one that the broker chose. A batch that cannot be read never stops "
    "a worker: it is fetched once more, then skipped. Tested by reading pages, following and consuming in a group.",
    cases=(
        BatchCase(id="kafka-producer-plain", peer="any Kafka producer", does="writes without compression", gets=READ),
        *(_written(codec) for codec in CODECS),
        *(_stored(codec) for codec in CODECS),
        _stored("zstd", "snappy"),
        _stored("uncompressed", "lz4"),
        _damaged("checksum", "has lost a bit of a checksum", Damage(at=CHECKSUM, bits=b"\x01")),
        _damaged("value", "has lost a bit of a record", Damage(at=-2, bits=b"\x10")),
        _damaged("count", "has lost a bit of a batch's number of records", Damage(at=COUNT + 3, bits=b"\x04")),
        _damaged("attributes", "has lost a bit of a batch's attributes", Damage(at=ATTRIBUTES, bits=UNKNOWN)),
        _damaged(
            "codec",
            "has a batch that is compressed in an unknown way",
            Damage(at=ATTRIBUTES, bits=UNKNOWN, checksum_fits=True),
        ),
        _damaged(
            "structure",
            "has a record whose length is wrong, under a checksum that fits",
            Damage(at=RECORDS, bits=b"\x40", checksum_fits=True),
        ),
        *(
            _damaged(
                f"compressed-{codec}",
                f"has a {codec} stream that cannot be decompressed, under a checksum that fits",
                Damage(at=RECORDS + 2, bits=b"\xff" * 24, checksum_fits=True),
                codec,
            )
            for codec in CODECS
        ),
    ),
)
