"""Ranges of a topic: spans of offsets, times, conditions, several partitions read in one order."""
