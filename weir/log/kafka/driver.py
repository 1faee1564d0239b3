"""The Faust transport ``kafka-atleastonce://``: Faust's aiokafka driver with the repairs of `weir.log.kafka.repairs`.

It is found by its URL scheme through the entry point ``faust.transports`` in ``pyproject.toml``. The repairs reach into
private methods of Faust's consumer, so Faust is pinned to ``>=0.15.3,<0.16``.

Agents must read ``stream.noack()`` and acknowledge by hand when the work is settled: other streams acknowledge
cancelled events, too.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final

from faust.transport.drivers import aiokafka

from weir.log.kafka import repairs
from weir.log.kafka.logins import watch
from weir.log.kafka.readable import Readable, TakeUnreadable
from weir.log.kafka.repairs import (
    GroupRefusals,
    KnownTopics,
    OnlyWanted,
    SeekAgain,
    SeekToStart,
    Settlement,
    ShortPolls,
    TablesFirst,
    WatchOwn,
)
from weir.log.recovery import TableManager

SCHEME: Final = "kafka-atleastonce"

ENGINE_SETTINGS: Final[Mapping[str, Any]] = {
    # Waiting for calls in flight at each rebalance stalls the whole group for the longest of them. Calls in flight
    # are not committed, so the next owner of the partition gets their requests.
    "stream_wait_empty": False,
    # A worker that does not poll for this long (all partitions back-pressured, or none assigned) leaves the group and
    # never rejoins (faust-streaming 138). A week: liveness is judged by Weir's own check.
    "broker_max_poll_interval": 7 * 86400.0,
    # With "latest", records written before the first assignment are never read.
    "consumer_auto_offset_reset": "earliest",
    "TableManager": TableManager,
}
"""Arguments of ``faust.App`` without which the repairs do not hold."""


LEAVE_S: Final = 5.0  # for a last commit, and for the group to hear that a worker leaves


class Consumer(
    KnownTopics,
    GroupRefusals,
    Settlement,
    SeekToStart,
    SeekAgain,
    WatchOwn,
    TablesFirst,
    OnlyWanted,
    ShortPolls,
    Readable,
    aiokafka.Consumer,
):
    """Delivers each message at least once, whichever process dies in between."""

    async def leave(self) -> None:
        """Leave the group for good, before the worker stops: other workers take its partitions now. Never raises.

        Requests in flight are not committed, so the next owner of their partition gets them.
        """
        consumer: Any = self._thread._consumer  # noqa: SLF001
        if consumer is None:  # not connected: the start failed, or was interrupted
            return
        self.stop_flow()
        try:
            async with asyncio.timeout(LEAVE_S):
                await self.commit()
                consumer._subscription.unsubscribe()  # noqa: SLF001 -- its unsubscribe() does not wait for the group
                await consumer._coordinator.maybe_leave_group()  # noqa: SLF001
        except Exception as error:  # noqa: BLE001 - then the group notices when the worker's session times out
            self.log.warning("could not leave the consumer group before the stop: %r", error)


class Transport(aiokafka.Transport):
    """Faust's Kafka transport with `Consumer` and the producer that it needs.

    Args:
        unreadable: takes what cannot be read; None: it is only logged.
        is_made: whether a topic of Faust's own is there already.
    """

    Consumer = Consumer
    Producer = repairs.Producer

    def __init__(
        self,
        *args: Any,
        unreadable: TakeUnreadable | None = None,
        is_made: Callable[[str], bool] = lambda _: False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.unreadable, self._is_made = unreadable, is_made
        watch()

    async def _really_create_topic(self, owner: Any, client: Any, topic: str, *args: Any, **kwargs: Any) -> None:
        """Create a topic that Faust needs, unless it exists.

        Faust asks one broker for the controller, and the worker ends if that broker has just died; it also creates
        topics without asking whether a write must reach two copies.
        """
        if not self._is_made(topic):
            await super()._really_create_topic(owner, client, topic, *args, **kwargs)


def broker_url(bootstrap_servers: str) -> str:
    """The ``broker`` argument of ``faust.App`` for a Kafka bootstrap list.

    Faust splits it at ``;`` or ``,`` and hands every host to aiokafka, which tries them in turn.

    Args:
        bootstrap_servers: ``host:port`` or several, separated by commas; IPv6 addresses in brackets.

    Raises:
        ValueError: the list names no server.
    """
    servers = [server.strip() for server in bootstrap_servers.split(",") if server.strip()]
    if not servers:
        raise ValueError("no Kafka server is named: expected host:port, or several separated by commas")
    return ";".join(f"{SCHEME}://{server}" for server in servers)
