"""Finds the RabbitMQ orders of submissions in chat-deliveries: the queue for the answer of each."""

from collections.abc import Collection
from dataclasses import replace

from weir import topics
from weir.envelope import MalformedRecordError
from weir.log.log import LogClient, Partition
from weir.rabbitmq import orders
from weir.rabbitmq.orders import Order
from weir.ranges.offset_ranges import each, since
from weir.replay.dead_letters.outcomes import Sent


async def orders_of(log: LogClient, submissions: Collection[str], since_s: float) -> dict[str, Order]:
    """The orders of submissions, by submission; without those that retention has taken.

    Args:
        log: the log with the orders.
        submissions: event ids of requests.
        since_s: when the first of them was accepted, in seconds since the epoch.

    Raises:
        LogError: the log cannot be read.
    """
    found: dict[str, Order] = {}
    topic = topics.CHAT_DELIVERIES.name
    for number in range(log.partitions(topic)) if submissions else ():
        async for record in each(log, await since(log, Partition(topic, number), since_s)):
            try:
                order = orders.decode(record.value)
            except MalformedRecordError:
                continue
            if order.submission in submissions:
                found[order.submission] = order
    return found


def order_again(order: Order, sent: Sent) -> Order:
    """The order for a request that was sent again, to the same queue."""
    return replace(
        order,
        submission=sent.submission,
        chunks_from=sent.chunks_from,
        chunks_topic_id=sent.chunks_topic_id,
        again=False,
        redriven=True,
    )
