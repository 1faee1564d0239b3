"""The log file behind the transport: opened on first use, shared by consumer and producer, and the topics in it."""

import asyncio
import random
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from faust.exceptions import ImproperlyConfigured, ProducerSendError
from faust.transport import base
from mode.utils.times import want_seconds

from weir.log.embedded.file import LogFile
from weir.log.embedded.schema import Synchronous
from weir.log.log import LogError, TopicSpec
from weir.log.partitioner import partition_for

SYNC: Final[Mapping[str, Synchronous]] = {"normal": "NORMAL", "full": "FULL"}


class FileTransport(base.Transport):
    """Opens the file, and answers the questions that consumer and producer share."""

    default_port = 0
    driver_version = f"sqlite={sqlite3.sqlite_version}"

    _file: LogFile | None = None
    torn = False  # a table change failed to reach the log: nothing may be committed any more

    @property
    def file(self) -> LogFile:
        """The log file, opened on first use.

        Raises:
            ImproperlyConfigured: the URL names no absolute path or an unknown ``sync``, or the file is not a log.
        """
        if self._file is None:
            url = self.url[0]
            sync = url.query.get("sync", "normal").lower()
            if not Path(url.path).is_absolute() or url.path == "/" or url.host:
                raise ImproperlyConfigured(f"broker {url}: expected sqlite:///absolute/path.db")
            if sync not in SYNC:
                raise ImproperlyConfigured(f"broker {url}: sync is {' or '.join(SYNC)}, not {sync}")
            try:
                self._file = LogFile.open(url.path, SYNC[sync])
            except LogError as exc:
                raise ImproperlyConfigured(str(exc)) from exc
        return self._file

    async def close_file(self) -> None:
        """Close the file; the next use opens it again."""
        file, self._file, self.torn = self._file, None, False
        if file is not None:
            await asyncio.to_thread(file.close)

    async def create_topic(
        self,
        topic: str,
        partitions: int,
        replication: int,  # noqa: ARG002  # one copy, on this disk
        *,
        config: Mapping[str, Any] | None = None,
        retention: Any = None,
        compacting: bool | None = None,
        **_: Any,
    ) -> None:
        """Create a topic as Faust declares it, unless one of that name exists, with however many partitions."""
        if self.file.partitions(topic) is not None:
            return
        config = config or {}
        retention_s = want_seconds(retention) if retention else None
        if retention_s is None and int(config.get("retention.ms", -1)) >= 0:
            retention_s = int(config["retention.ms"]) / 1000
        compacted = bool(compacting) or "compact" in str(config.get("cleanup.policy", ""))
        spec = TopicSpec(name=topic, partitions=partitions, retention_s=retention_s, compacted=compacted)
        await self.file.create_topics([spec])

    def partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int:
        """The partition for a record: the one asked for, else the key's, else any.

        Raises:
            ProducerSendError: no such topic or partition.
        """
        count = self.file.partitions(topic)
        if count is None:
            raise ProducerSendError(f"there is no topic {topic}")
        if partition is not None:
            if not 0 <= partition < count:
                raise ProducerSendError(f"topic {topic} has {count} partitions, and no partition {partition}")
            return partition
        conf: Any = self.app.conf  # a function as a setting: mypy takes it for a method
        partitioner = conf.producer_partitioner
        if partitioner is not None:
            return int(partitioner(key, list(range(count)), list(range(count))))
        return random.randrange(count) if key is None else partition_for(key, count)  # noqa: S311  # no secret
