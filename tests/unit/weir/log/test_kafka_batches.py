"""Batches of Kafka, fed as a broker sends them."""

import struct

import aiokafka.codec
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from weir.log.kafka.batches import REMEMBERED, Batches, UnreadableBatch, check_codecs
from weir.log.log import LogRefusedError, Partition

AT = Partition("chat-chunks", 3)
LAST_DELTA = 23


def batch(first: int, count: int = 2) -> bytearray:
    """Records that are their own offsets."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=1 << 20,
    )  # fmt: skip
    for delta in range(count):
        builder.append(delta, timestamp=0, key=None, value=b"%d" % (first + delta), headers=[])
    data = bytearray(builder.build())
    data[:8] = struct.pack(">q", first)
    return data


def read(batches: Batches, position: int, *data: bytearray) -> list[int]:
    decoded = batches.decoded(AT, position, MemoryRecords(b"".join(data)))
    return [int(record.value) for one in decoded for record in one.records]


@pytest.mark.parametrize(
    ("delta", "last"),
    [(b"\x00\x00\x00\x09", 13), (b"\x7f\xff\xff\xff", 4), (b"\xff\xff\xff\xf0", 4)],
    ids=["of some records", "of more than a batch has", "of records that were before"],
)
def test_a_damaged_header_leads_ahead_and_not_far(delta: bytes, last: int) -> None:
    damaged, told = batch(4), list[UnreadableBatch]()
    damaged[LAST_DELTA : LAST_DELTA + 4] = delta
    batches = Batches(told.append)
    assert read(batches, 4, damaged) == []
    assert told == [], "it is fetched once more"
    assert read(batches, 4, damaged) == []
    assert [(one.first, one.last) for one in told] == [(4, last)]


def test_a_batch_that_was_damaged_on_its_way_is_read_the_second_time() -> None:
    damaged, told = batch(2), list[UnreadableBatch]()
    damaged[-1] ^= 1
    batches = Batches(told.append)
    assert read(batches, 0, batch(0), damaged, batch(4)) == [0, 1]
    assert read(batches, 2, batch(2), batch(4)) == [2, 3, 4, 5]
    assert told == []


def test_readers_at_other_places_do_not_keep_a_batch_from_being_skipped() -> None:
    one, other = batch(2), batch(8)
    one[-1] ^= 1
    other[-1] ^= 1
    told: list[UnreadableBatch] = []
    batches = Batches(told.append)
    for _ in range(2):
        read(batches, 2, one)
        read(batches, 8, other)
    assert [batch.first for batch in told] == [2, 8]


def test_what_is_remembered_is_bounded() -> None:
    told: list[UnreadableBatch] = []
    batches = Batches(told.append)
    for number in range(REMEMBERED + 1):
        damaged = batch(2 * number)
        damaged[-1] ^= 1
        read(batches, 2 * number, damaged)
    assert len(batches._met) == 1


def test_a_client_without_the_codecs_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    check_codecs()
    monkeypatch.setattr(aiokafka.codec, "cramjam", None)
    with pytest.raises(LogRefusedError, match="aiokafka\\[lz4,snappy,zstd\\]"):
        check_codecs()
