"""Knows how large a record each topic takes (``max.message.bytes``), so that a larger one is refused before it is sent.

A broker refuses a whole batch for its size, and does not say which record is too large. So no batch is filled beyond
the limit of its topic, and a record that could never be written is refused at once.
"""

import logging
from collections.abc import Collection
from typing import Any, Final

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, NoError, for_code

__all__ = ["RecordLimits"]

logger = logging.getLogger(__name__)

SETTING: Final = "max.message.bytes"


class RecordLimits:
    """Bytes of the largest record of each topic, with its key, its headers and the batch around it.

    Args:
        most: the largest record that this client writes, even where a topic takes more or its limit is unknown.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._records: dict[str, int] = {}
        self._batches: dict[str, int] = {}

    def of_record(self, topic: str) -> int:
        """The largest record."""
        return self._records.get(topic, self._most)

    def of_batch(self, topic: str) -> int:
        """The largest batch of several records."""
        return min(self.of_record(topic), self._batches.get(topic, self._most))

    async def read(self, admin: Any, topics: Collection[str]) -> None:
        """Ask for the limits of topics. Without the right to (DescribeConfigs), a limit is learned from a refusal."""
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic, configs={SETTING: None}) for topic in set(topics)]
        for answer in await admin.describe_configs(resources):
            for code, message, _, topic, entries in answer.resources:
                if (kind := for_code(code)) is not NoError:
                    self._log_unknown(topic, kind(message))
                    continue
                limits = [int(entry[1]) for entry in entries if entry[0] == SETTING and entry[1] is not None]
                self._records[topic] = min([self._most, *limits])

    def refused(self, topic: str, size_bytes: int, records: int) -> None:
        """Learn the limit of a topic from a batch that the broker refused for its size."""
        if records == 1:
            self._records[topic] = min(self.of_record(topic), size_bytes - 1)
        else:
            self._batches[topic] = size_bytes // 2

    @staticmethod
    def _log_unknown(topic: str, error: KafkaError) -> None:
        logger.info("%s of topic %s is not known: %s", SETTING, topic, error)
