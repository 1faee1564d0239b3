"""Rebuilds the prompts table, from chat-prompts."""

from collections.abc import Mapping
from typing import ClassVar

from weir import envelope
from weir.chat.prompts import key_of
from weir.envelope import Json, MalformedRecordError
from weir.feedback import retries
from weir.feedback.retries import after
from weir.log.log import Record
from weir.log.partitioner import partition_for
from weir.replay.verify.folds.base import JsonRows, before


class PromptsFold(JsonRows):
    """Rebuilds one partition of the prompts table.

    Args:
        oldest_s: time of the oldest record that is left; 0 if none is gone.
        window_s: how long a prompt counts as asked again.
        partitions: the number of partitions of chat-prompts.
    """

    ASIDE: ClassVar[Mapping[str, str]] = {}

    def __init__(self, oldest_s: float, window_s: float, partitions: int) -> None:
        self._oldest_s, self._window_s, self._partitions = oldest_s, window_s, partitions
        super().__init__()

    async def take(self, record: Record) -> None:
        """Take an event of a user."""
        try:
            event = envelope.decode(record.value)
            key = key_of(event).encode()
            step = after(retries.prompts(self.known.get(key)), event, window_s=self._window_s)
        except MalformedRecordError:
            return  # skipped by the agent, too
        if partition_for(key, self._partitions) != record.partition:
            return
        self._put(key, retries.row_of(step.kept) if step.kept else None)

    def whole(self, key: bytes, live: Json) -> bool:
        """Whether the log still has all prompts of a row, and those that they were compared with."""
        del key
        return not any(before(one["at"] - self._window_s, self._oldest_s) for one in live.get("prompts", ()))
