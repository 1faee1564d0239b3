"""Computes the partition of a key: the same on both brokers, and for every Kafka client in any language."""

from aiokafka.partitioner import murmur2


def partition_for(key: bytes, partitions: int) -> int:
    """The partition of ``key``, as Kafka's Java client computes it (murmur2, sign bit dropped, modulo).

    Args:
        key: the record's key, serialized.
        partitions: how many partitions the topic has, at least 1.
    """
    return int(murmur2(key) & 0x7FFFFFFF) % partitions
