"""Damages a broker's files while it runs, as a disk does."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiokafka.record.util import calc_crc32c

# Offsets of fields in a batch of Kafka's format 2 (https://kafka.apache.org/documentation/#recordbatch).
LENGTH: Final = 8
CHECKSUM: Final = 17
ATTRIBUTES: Final = 21
COUNT: Final = 57
RECORDS: Final = 61


@dataclass(frozen=True, kw_only=True)
class Damage:
    """Bits to flip in a batch."""

    at: int  # the first byte, counted from the batch's start; from its end if negative
    bits: bytes  # which bits of it, and of those that follow
    checksum_fits: bool = False  # whether the checksum is made to fit: then only decoding can find the damage


def damage_batch(partition: Path, number: int, damage: Damage) -> None:
    """Damage a batch, counted from 0, in a partition's folder, which has one segment."""
    (segment,) = partition.glob("*.log")
    data = bytearray(segment.read_bytes())
    start, end = [0, *_ends(data)][number : number + 2]
    for place, bits in enumerate(damage.bits, damage.at + (start if damage.at >= 0 else end)):
        data[place] ^= bits
    if damage.checksum_fits:
        data[start + CHECKSUM : start + ATTRIBUTES] = struct.pack(">I", calc_crc32c(data[start + ATTRIBUTES : end]))
    with segment.open("r+b") as file:
        file.seek(start)
        file.write(data[start:end])


def _ends(data: bytearray) -> list[int]:
    """The end of each batch; zeros follow the last one."""
    ends, end = [], 0
    while end + LENGTH + 4 <= len(data) and (length := struct.unpack_from(">i", data, end + LENGTH)[0]):
        end += LENGTH + 4 + length
        ends.append(end)
    return ends
