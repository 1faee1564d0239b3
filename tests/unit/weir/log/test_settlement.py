"""The commit follows the lowest delivered offset that is not acknowledged, in whatever order work ends."""

import random

import pytest

from weir.log.partitioner import partition_for
from weir.log.settlement import Outstanding


def delivered(*offsets: int) -> Outstanding:
    outstanding = Outstanding()
    for offset in offsets:
        outstanding.delivered(offset)
    return outstanding


def test_nothing_is_committed_before_something_is_settled() -> None:
    outstanding = delivered(0, 1, 2)
    assert outstanding.advance() is None
    outstanding.acked(1)
    outstanding.acked(2)
    assert outstanding.advance() is None
    outstanding.acked(0)
    assert outstanding.advance() == 3


def test_the_commit_stops_at_the_first_unacknowledged_offset() -> None:
    outstanding = delivered(5, 6, 7, 8)
    for offset in (5, 7, 8):
        outstanding.acked(offset)
    assert outstanding.advance() == 6
    assert len(outstanding) == 1


def test_holes_in_the_log_hold_nothing_back() -> None:
    outstanding = delivered(3, 9, 40)
    outstanding.acked(3)
    assert outstanding.advance() == 9
    outstanding.acked(9)
    outstanding.acked(40)
    assert outstanding.advance() == 41


def test_the_answer_is_repeated_so_a_failed_commit_is_tried_again() -> None:
    outstanding = delivered(0)
    outstanding.acked(0)
    assert outstanding.advance() == outstanding.advance() == 1


def test_an_acknowledgement_of_something_never_delivered_is_ignored() -> None:
    outstanding = delivered(4)
    outstanding.acked(3)
    outstanding.acked(99)
    assert outstanding.advance() is None


def test_a_record_delivered_again_after_a_seek_must_be_acknowledged_again() -> None:
    outstanding = delivered(4, 5)
    outstanding.acked(4)
    assert outstanding.advance() == 5
    outstanding.delivered(4)
    outstanding.acked(5)
    assert outstanding.advance() == 5  # 4 is in flight once more
    outstanding.acked(4)
    assert outstanding.advance() == 6


@pytest.mark.parametrize("seed", range(20))
def test_in_any_order_nothing_unacknowledged_lies_below_the_commit(seed: int) -> None:
    dice = random.Random(seed)
    offsets = sorted(dice.sample(range(1000), 200))
    outstanding, unacked, waiting = Outstanding(), set[int](), list(offsets)
    level = -1
    while waiting or unacked:
        if waiting and (not unacked or dice.random() < 0.5):
            offset = waiting.pop(0)
            outstanding.delivered(offset)
            unacked.add(offset)
        else:
            offset = dice.choice(sorted(unacked))
            outstanding.acked(offset)
            unacked.remove(offset)
        answer = outstanding.advance()
        if answer is not None:
            assert answer >= level, "the commit never goes back"
            assert all(o >= answer for o in unacked)
            level = answer
    assert level == offsets[-1] + 1


@pytest.mark.parametrize(
    ("key", "murmur2"),
    [  # Apache Kafka, UtilsTest.testMurmur2
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_a_key_has_the_partition_that_kafkas_java_client_gives_it(key: str, murmur2: int) -> None:
    for partitions in (1, 3, 6, 12):
        assert partition_for(key.encode(), partitions) == (murmur2 & 0x7FFFFFFF) % partitions
